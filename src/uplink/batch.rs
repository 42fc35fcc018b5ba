//! How large a batch may be, and with it a request: librdkafka sends each batch as one, and fixes their size when a
//! producer is made. So a producer begins with a size that fits most links, and is made anew, while nothing is under
//! way, where the link turns out to be much slower or faster.

use std::time::{Duration, Instant};

use crate::number;

/// A request made to fit keeps the link for so long. It is left alone between `SHORT` and `LONG`: what is measured of a link
/// varies, and another size costs a connection.
const LASTS: Duration = Duration::from_millis(140);
const LONG: Duration = Duration::from_millis(200);
const SHORT: Duration = Duration::from_millis(80);
/// So many requests under way at once, at most, as for any idempotent producer; and at least, so that the link has one
/// while another is answered.
const REQUESTS: (u64, u64) = (2, 5);
/// On a slow link they are so many round trips of it together: more would only wait in the link's queue, before alarms; with
/// less a lost packet leaves it idle.
const UNDER_WAY: f64 = 1.4;
/// Smaller ones compress too badly to gain anything.
const LEAST: u64 = 16 * 1024;
const FIRST: u64 = 64 * 1024;
/// So long the link has to ask for another size.
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) bytes: u64,
    /// Under way at once.
    pub(super) requests: u64,
}

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

    /// `goodput` is what a link carries that is kept busy, in bytes a second, and none of one that is not; `round_trip` is
    /// the least of a request. Returns what fits the link, if that is another size.
    pub(super) fn look(
        &mut self,
        goodput: Option<f64>,
        round_trip: Duration,
        now: Instant,
    ) -> Option<Fit> {
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
        let (least, most) = REQUESTS;
        let requests = if self.bytes < self.most {
            let round_trips = goodput * round_trip.as_secs_f64() / number::float(self.bytes);
            number::whole(round_trips * UNDER_WAY + 0.5).clamp(least, most)
        } else {
            most
        };
        Some(Fit {
            bytes: self.bytes,
            requests,
        })
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
        let mut changes = |goodput: Option<f64>, batch: &mut Batch| -> Vec<(u64, u64)> {
            let half_a_minute = seconds.by_ref().take(30).map(Duration::from_secs);
            let round_trip = Duration::from_millis(300);
            half_a_minute
                .filter_map(|second| batch.look(goodput, round_trip, begun + second))
                .map(|fit| (fit.bytes, fit.requests))
                .collect()
        };
        for (goodput, changed) in [
            (None, None),
            (Some(400e3), None),
            (Some(20e6), Some((256 * 1024, 5))),
            (Some(400e3), Some((56_000, 3))),
            (Some(300e3), None),
            (Some(8e3), Some((LEAST, 2))),
            (None, None),
            (Some(20e6), Some((256 * 1024, 5))),
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
            let goodput = if second % 3 < 2 { 100e3 } else { 400e3 };
            let changed = batch.look(
                Some(goodput),
                Duration::ZERO,
                begun + Duration::from_secs(second),
            );
            assert_eq!(changed, None, "at {second} s");
        }
    }
}
