//! The rate of a client quota, found from the broker's own throttling.
//!
//! A broker takes what exceeds the quota and then stays silent for so long that the average over its window and
//! the silence is the quota (KIP-219; `QuotaUtils.throttleTime`): of `B` bytes in a window of `W` it makes the
//! throttle time `B / quota - W`. So the quota is `B / (W + throttle time)`, in whatever bytes are counted here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::float;

/// The broker's window: `quota.window.num` samples of one second, of which the last has just begun.
const WINDOW: Duration = Duration::from_secs(10);
const SAMPLE: Duration = Duration::from_secs(1);
/// The least rate that is kept to.
const LEAST: f64 = 1024.0;
/// Kept under the quota, for what is not paced: alarms, and requests sent again.
const SHARE: f64 = 0.98;
/// A longer silence is one of a burst, such as what was on its way when the quota was set; a shorter one says how much
/// the rate that is kept is too high.
const BURST: Duration = Duration::from_secs(2);
/// After so long without being throttled the rate grows by this much a second: quotas are raised, too. What was found
/// from a burst is rough, and rather too little, as bytes leave the window meanwhile.
const FOUND: (Duration, f64) = (Duration::from_secs(30), 1.003);
const FOUND_ROUGHLY: (Duration, f64) = (Duration::from_secs(3), 1.08);

#[derive(Debug, Clone, Default)]
pub(super) struct Quota {
    /// When each second began, and what was delivered in it.
    samples: VecDeque<(Instant, usize)>,
    found: Option<Found>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    bytes_per_s: f64,
    at: Instant,
    roughly: bool,
}

impl Quota {
    pub(super) fn delivered(&mut self, bytes: usize, now: Instant) {
        match self.samples.back_mut() {
            Some((since, sum)) if now < *since + SAMPLE => *sum += bytes,
            _ => self.samples.push_back((now, bytes)),
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |(since, _): &mut (Instant, usize)| now > *since + WINDOW + 2 * SAMPLE;
        while self.samples.pop_front_if(is_old).is_some() {}
    }

    /// A broker said that it stays silent for `wait`.
    pub(super) fn throttled(&mut self, wait: Duration, now: Instant) {
        self.forget(now);
        let kept = self.rate(now).unwrap_or(f64::MAX);
        if wait > BURST || self.found.is_none() {
            let found = self.of_burst(wait, now).min(kept);
            self.find(found, true, now);
        } else if self.found.is_some_and(|found| now > found.at + WINDOW) {
            let over = 1.0 + wait.as_secs_f64() / WINDOW.as_secs_f64();
            // A burst from before may be to blame, and the rate be too low then.
            let is_burst = |(_, sum): &(Instant, usize)| float(*sum) > kept * 1.5;
            let roughly = self.samples.iter().any(is_burst);
            self.find(kept / over, roughly, now);
        }
    }

    fn of_burst(&self, wait: Duration, now: Instant) -> f64 {
        let recent = self
            .samples
            .iter()
            .filter(|(since, _)| now <= *since + WINDOW);
        let bytes = recent.map(|(_, sum)| sum).sum();
        float(bytes) / (WINDOW + wait).as_secs_f64()
    }

    fn find(&mut self, bytes_per_s: f64, roughly: bool, now: Instant) {
        self.found = Some(Found {
            bytes_per_s: (bytes_per_s * SHARE).max(LEAST),
            at: now,
            roughly,
        });
    }

    pub(super) fn is_known(&self) -> bool {
        self.found.is_some()
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
        // 1.5 MB at once under 100 kB/s are answered with 5 s.
        let mut quota = Quota::default();
        assert_eq!(quota.rate(begun), None);
        quota.delivered(1_500_000, begun);
        quota.throttled(Duration::from_secs(5), at(200));
        assert_eq!(quota.rate(at(200)), Some(100_000.0 * SHARE));
        assert!(
            quota.rate(at(20_000)).unwrap() > 200_000.0,
            "a burst tells it roughly"
        );
        // What is kept is a twentieth too much.
        let kept = quota.rate(at(20_000)).unwrap();
        quota.throttled(Duration::from_millis(500), at(20_000));
        let found = quota.rate(at(20_000)).unwrap();
        assert!((found - kept / 1.05 * SHARE).abs() < 1.0);
        quota.throttled(Duration::from_millis(500), at(21_000));
        assert_eq!(
            quota.rate(at(21_000)),
            Some(found),
            "the window still holds what was too much"
        );
        let raised = |seconds: u64| quota.rate(at(20_000 + seconds * 1000)).unwrap() / found;
        assert!(
            (0.99..1.01).contains(&raised(30)),
            "it stays for half a minute"
        );
        assert!((1.3..1.4).contains(&raised(130)), "{}", raised(130));
    }
}
