//! Whether a source that waits for receipts gets them sooner by delivery or from the disk.
//!
//! Receipts from the disk let a source send faster than the cluster takes. Its records then wait in the lane and on the way, and
//! by the time that they take the disk would seem the faster one for ever, at the cost of a write and a read for each. So what
//! counts is the least time from a hand-over to a delivery, as long as what waits is delivered within a second.

use std::time::{Duration, Instant};

/// A cluster that has taken less than this is prompt; of one that takes longer, the disk is faster, and worth a write.
const PROMPT: Duration = Duration::from_millis(50);
/// So long a source waits for a prompt cluster: others are before it. A broker with a short queue has room for that.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// A lane that has more to send than it delivers in this time is behind: its sources do not wait for deliveries.
const BEHIND: Duration = Duration::from_secs(1);
/// The least time is taken to grow by this share of what a longer one is above it.
const FORGETS: u32 = 64;

#[derive(Debug, Default)]
pub(super) struct Promptness {
    /// One record at a time is measured: its token, and when it was handed over.
    measured: Option<(u64, Instant)>,
    least: Duration,
    last: Duration,
    /// Deliveries a second while records are on their way.
    rate: u64,
    /// Since the measured one was handed over: with it came the others of its request.
    delivered: u64,
    /// The disk had to stand in since the last measure.
    missed: bool,
}

impl Promptness {
    /// Whether a record is likely to be delivered soon. `waiting` records are before it and not under way.
    pub(super) fn is_prompt(&self, waiting: u64) -> bool {
        let behind = self.rate > 0 && waiting > self.rate * BEHIND.as_secs();
        self.least < PROMPT && self.last < PATIENCE && !self.missed && !behind
    }

    pub(super) fn handed_over(&mut self, token: u64, now: Instant) {
        if self.measured.is_some() {
            return;
        }
        if self.delivered > 0 {
            let millis = u64::try_from(self.last.as_millis()).unwrap_or(u64::MAX);
            self.rate = (self.rate * 3 + self.delivered * 1000 / millis.max(1)) / 4;
        }
        self.measured = Some((token, now));
        self.delivered = 0;
    }

    pub(super) fn delivered(&mut self, token: u64, now: Instant) {
        self.delivered += 1;
        let Some((_, at)) = self.measured.take_if(|(measured, _)| *measured <= token) else {
            return;
        };
        let took = now.saturating_duration_since(at);
        self.least = if took < self.least || self.least.is_zero() {
            took
        } else {
            self.least + took.saturating_sub(self.least) / FORGETS
        };
        (self.last, self.missed) = (took, false);
    }

    /// The disk had to stand in: that goes on until a delivery is prompt.
    pub(super) fn missed(&mut self) {
        self.missed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over `records`, one after another. Each takes `took` milliseconds, in which `per_ms` records a millisecond are delivered
    /// before it.
    fn runs(one: &mut Promptness, from: Instant, took: u64, per_ms: u64, records: u64) -> Instant {
        let mut now = from;
        for _ in 0..records {
            let before = took * per_ms - 1;
            one.handed_over(before, now);
            now += Duration::from_millis(took);
            (0..=before).for_each(|token| one.delivered(token, now));
        }
        now
    }

    #[test]
    fn a_cluster_is_prompt_by_its_least_time_while_the_lane_is_not_behind() {
        // Milliseconds of each delivery, deliveries a millisecond, how many wait; whether a source waits for its delivery.
        for (took, per_ms, waiting, prompt) in [
            (5, 1, 0, true),
            (5, 1, 900, true),
            (5, 1, 1_100, false),
            (60, 1, 0, false),
            (60, 40, 0, false),
        ] {
            let mut one = Promptness::default();
            assert!(one.is_prompt(1_000_000), "nothing is known yet");
            runs(&mut one, Instant::now(), took, per_ms, 40);
            assert_eq!(
                one.is_prompt(waiting),
                prompt,
                "{took} ms, {per_ms} a ms, {waiting} wait"
            );
        }
    }

    #[test]
    fn what_is_delivered_with_the_first_of_a_bunch_counts() {
        let (mut one, begun) = (Promptness::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        for round in 0..40 {
            let first = round * 300;
            (first..first + 300).for_each(|token| one.handed_over(token, at(round * 10)));
            (first..first + 300).for_each(|token| one.delivered(token, at(round * 10 + 6)));
        }
        assert!(one.is_prompt(40_000), "of 50,000 a second");
        assert!(!one.is_prompt(60_000));
    }

    #[test]
    fn a_queue_on_the_way_does_not_make_a_prompt_cluster_slow_and_a_miss_lasts_until_the_next_delivery()
     {
        let mut one = Promptness::default();
        let then = runs(&mut one, Instant::now(), 10, 10, 10);
        let then = runs(&mut one, then, 120, 40, 3);
        assert!(one.is_prompt(1000), "others are before it");
        one.missed();
        assert!(!one.is_prompt(0));
        let then = runs(&mut one, then, 120, 40, 1);
        assert!(one.is_prompt(1000));
        let then = runs(&mut one, then, 300, 40, 1);
        assert!(!one.is_prompt(0), "it takes too long");
        runs(&mut one, then, 120, 40, 200);
        assert!(!one.is_prompt(0), "it is no queue: it always takes so long");
    }
}
