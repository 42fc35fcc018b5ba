//! How large a batch may be, and with it a request: librdkafka sends each batch as one, and fixes their size when a
//! producer is made. So a producer begins with a size that fits most links, and is made anew, while nothing is under
//! way, where the link turns out to be much slower or faster.

use std::time::{Duration, Instant};

use crate::pace::number;

/// A request made to fit keeps the link for so long. It is left alone between `SHORT` and `LONG`: what is measured of a link
/// varies, and another size costs a connection.
const LASTS: Duration = Duration::from_millis(190);
const LONG: Duration = Duration::from_millis(200);
const SHORT: Duration = Duration::from_millis(80);
/// Smaller ones compress too badly to gain anything.
const LEAST: u64 = 16 * 1024;
const FIRST: u64 = 56 * 1024;
/// So long the link has to ask for another size.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Batch {
    most: u64,
    bytes: u64,
    unfit_since: Option<Instant>,
}

impl Batch {
    pub(super) fn new(most: u64) -> Batch {
        Batch {
            most,
            bytes: most.min(FIRST),
            unfit_since: None,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `goodput` is what a link carries that is kept busy, in bytes a second, and none of one that is not. Returns the
    /// size that fits it, if that is another one.
    pub(super) fn fit(&mut self, goodput: Option<f64>, now: Instant) -> Option<u64> {
        let goodput = goodput?;
        let lasting = |time: Duration| {
            number::whole(goodput * time.as_secs_f64()).clamp(LEAST.min(self.most), self.most)
        };
        if (lasting(SHORT)..=lasting(LONG)).contains(&self.bytes) {
            self.unfit_since = None;
            return None;
        }
        let since = *self.unfit_since.get_or_insert(now);
        if now < since + PATIENCE {
            return None;
        }
        self.bytes = lasting(LASTS);
        self.unfit_since = None;
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_lasts_no_longer_than_200_ms_on_a_link_that_stays_slow() {
        let begun = Instant::now();
        let mut batch = Batch::new(256 * 1024);
        let mut seconds = 0..;
        let mut changes = |goodput: Option<f64>, batch: &mut Batch| -> Vec<u64> {
            let half_a_minute = seconds.by_ref().take(30).map(Duration::from_secs);
            half_a_minute
                .filter_map(|second| batch.fit(goodput, begun + second))
                .collect()
        };
        for (goodput, changed) in [
            (None, None),
            (Some(400e3), None),
            (Some(20e6), Some(256 * 1024)),
            (Some(400e3), Some(76_000)),
            (Some(390e3), None),
            (Some(8e3), Some(LEAST)),
            (None, None),
            (Some(20e6), Some(256 * 1024)),
        ] {
            assert_eq!(
                changes(goodput, &mut batch),
                Vec::from_iter(changed),
                "{goodput:?}"
            );
        }
        assert!(changes(Some(1.0), &mut Batch::new(4096)).is_empty());
    }

    #[test]
    fn a_link_that_is_slow_for_a_moment_changes_nothing() {
        let begun = Instant::now();
        let mut batch = Batch::new(256 * 1024);
        for second in 0..60 {
            let goodput = if second % 3 < 2 { 100e3 } else { 300e3 };
            let changed = batch.fit(Some(goodput), begun + Duration::from_secs(second));
            assert_eq!(changed, None, "at {second} s");
        }
    }
}
