//! The rate of a client quota, found from the broker's own throttling.
//!
//! A broker takes what exceeds the quota and then stays silent for so long that the average over its window and
//! the silence is the quota (KIP-219; `QuotaUtils.throttleTime`): of `B` bytes in a window of `W` it makes the
//! throttle time `B / quota - W`. So the quota is `B / (W + throttle time)`, in whatever bytes are counted here. A quota
//! that was just set knows nothing of what went before; then it is what was taken since the first throttling over what
//! that added to the throttle time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::float;

/// The broker's window: `quota.window.num` samples of one second, of which the oldest is on its way out. A burst at its
/// edge is in it or not.
const WINDOW: Duration = Duration::from_millis(10_500);
const WINDOWS: [Duration; 2] = [WINDOW, Duration::from_millis(11_500)];
const SAMPLE: Duration = Duration::from_secs(1);
/// The least rate that is kept to.
const LEAST: f64 = 1024.0;
/// Kept under the quota, for requests sent again.
const SHARE: f64 = 0.98;
/// How much one answer counts beside what was found before: its edges are not those of the broker's window. A silence
/// longer than `LONG` is one of a burst, such as what was on its way when the quota was set, and tells it roughly.
const COUNTS: f64 = 0.5;
const COUNTS_ROUGHLY: f64 = 0.25;
/// What was found is wrong when an answer tells so many times less.
const WRONG: f64 = 2.0;
const LONG: Duration = Duration::from_secs(2);
/// After so long without being throttled the rate grows by this much a second: quotas are raised, too.
const FOUND: (Duration, f64) = (Duration::from_secs(15), 1.003);
const FOUND_ROUGHLY: (Duration, f64) = (Duration::from_secs(5), 1.02);

#[derive(Debug, Clone, Default)]
pub(super) struct Quota {
    /// When each second began, and what was delivered in it.
    samples: VecDeque<(Instant, usize)>,
    first: Option<First>,
    found: Option<Estimate>,
}

/// The first throttling, and the bytes delivered since.
#[derive(Debug, Clone, Copy)]
struct First {
    at: Instant,
    wait: Duration,
    delivered: f64,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    bytes_per_s: f64,
    at: Instant,
    roughly: bool,
}

impl Quota {
    pub(super) fn delivered(&mut self, bytes: usize, now: Instant) {
        if let Some(first) = &mut self.first {
            first.delivered += float(bytes);
        }
        match self.samples.back_mut() {
            Some((since, sum)) if now < *since + SAMPLE => *sum += bytes,
            _ => self.samples.push_back((now, bytes)),
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |(since, _): &mut (Instant, usize)| now > *since + WINDOWS[1] + SAMPLE;
        while self.samples.pop_front_if(is_old).is_some() {}
    }

    /// A broker said that it stays silent for `wait`.
    pub(super) fn throttled(&mut self, wait: Duration, now: Instant) {
        self.forget(now);
        let told = self.told(wait, now) * SHARE;
        let roughly = wait > LONG || self.found.is_none();
        let found = match self.rate(now) {
            Some(kept) if kept < told * WRONG => {
                let counts = if roughly { COUNTS_ROUGHLY } else { COUNTS };
                kept + (told - kept) * counts
            }
            _ => told,
        };
        self.found = Some(Estimate {
            bytes_per_s: found.max(LEAST),
            at: now,
            roughly,
        });
    }

    /// The quota, as one throttling tells it.
    fn told(&mut self, wait: Duration, now: Instant) -> f64 {
        let of_window = |window: Duration| self.within(window, now) / (window + wait).as_secs_f64();
        let told = WINDOWS.map(of_window).into_iter().fold(0.0, f64::max);
        let first = *self.first.get_or_insert(First {
            at: now,
            wait,
            delivered: 0.0,
        });
        let added = wait.saturating_sub(first.wait).as_secs_f64();
        if now < first.at + WINDOW && added > 0.0 {
            return told.min(first.delivered / added);
        }
        told
    }

    /// Bytes delivered in the last `window`; of a sample that is half out of it, so much of its bytes.
    fn within(&self, window: Duration, now: Instant) -> f64 {
        let within = |(since, sum): &(Instant, usize)| {
            let left = (*since + SAMPLE + window).saturating_duration_since(now);
            float(*sum) * left.min(SAMPLE).as_secs_f64() / SAMPLE.as_secs_f64()
        };
        self.samples.iter().map(within).sum()
    }

    /// Bytes a second that are not throttled, as far as is known.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let found = self.found?;
        let (quiet, growth) = if found.roughly { FOUND_ROUGHLY } else { FOUND };
        let grown = now
            .saturating_duration_since(found.at + quiet)
            .as_secs_f64();
        Some(found.bytes_per_s * growth.powf(grown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_found_from_a_burst_and_from_a_trickle_over_it() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let near =
            |found: Option<f64>, bytes: f64| (0.97..1.03).contains(&(found.unwrap() / bytes));
        // 1.5 MB at once under 100 kB/s are answered with 4.5 s.
        let mut quota = Quota::default();
        assert_eq!(quota.rate(begun), None);
        quota.delivered(1_500_000, begun);
        quota.throttled(Duration::from_millis(4500), at(200));
        assert!(near(quota.rate(at(200)), 100_000.0 * SHARE));
        // Nobody objects to more.
        assert!(quota.rate(at(20_000)).unwrap() > 120_000.0);
        // 110 kB/s under it are answered with 1 s, time and again.
        for second in 20..40 {
            quota.delivered(110_000, at(second * 1000));
            if second > 30 {
                quota.throttled(Duration::from_millis(1050), at(second * 1000 + 999));
            }
        }
        assert!(near(quota.rate(at(41_000)), 100_000.0 * SHARE));
        let raised = |seconds: u64| quota.rate(at(40_000 + seconds * 1000)).unwrap() / 98_000.0;
        assert!((0.97..1.03).contains(&raised(15)), "it stays a while");
        assert!((1.3..1.4).contains(&raised(115)), "{}", raised(115));
    }
}
