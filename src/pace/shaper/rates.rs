//! How fast a lane may replay: rates of the configuration, and what the lane usually takes in.

use std::time::{Duration, Instant};

use crate::pace::number::float;
use crate::pace::pacer::Pacer;
use crate::pace::shape::catch_up_rate;

#[derive(Debug)]
pub(super) struct Buckets {
    events: Option<Pacer>,
    bytes: Option<Pacer>,
}

impl Buckets {
    pub(super) fn new(events: Option<u32>, bytes: Option<u64>) -> Buckets {
        let bytes = bytes.map(|rate| Pacer::new(float(rate)));
        Buckets {
            events: events.map(|rate| Pacer::new(f64::from(rate))),
            bytes,
        }
    }

    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        let turns = [&self.events, &self.bytes]
            .into_iter()
            .flatten()
            .filter_map(|pacer| pacer.next_turn(now));
        turns.max()
    }

    /// Bytes that may leave in one turn, in records of `next` bytes.
    pub(super) fn allows(&self, next: usize, share: f64) -> f64 {
        let events = self.events.as_ref().map(|pacer| pacer.allows(share));
        let events = events.map(|events| events * float(next as u64));
        let bytes = self.bytes.as_ref().map(|pacer| pacer.allows(share));
        events.into_iter().chain(bytes).fold(f64::MAX, f64::min)
    }

    pub(super) fn charge(&mut self, events: usize, bytes: usize, share: f64, now: Instant) {
        if let Some(pacer) = &mut self.events {
            pacer.charge(float(events as u64), share, now);
        }
        if let Some(pacer) = &mut self.bytes {
            pacer.charge(float(bytes as u64), share, now);
        }
    }
}

/// The mean goes over so long a time.
const MEAN: Duration = Duration::from_mins(10);
/// At first over the time since the start, but no less than this: sources that connect offer what they kept.
const MEAN_MIN: Duration = Duration::from_mins(1);

/// Events a second that a lane takes in on average.
#[derive(Debug, Clone)]
pub(super) struct Baseline {
    begun: Instant,
    at: Instant,
    accepted: u64,
    mean: f64,
    /// The mean of the backlog that was there at the start.
    recovered: f64,
}

impl Baseline {
    /// `recovered` events waited at the start, the oldest since then.
    pub(super) fn new(recovered: u64, oldest: Option<Instant>, now: Instant) -> Baseline {
        let age = oldest.map_or(Duration::ZERO, |oldest| {
            now.saturating_duration_since(oldest)
        });
        Baseline {
            begun: now,
            at: now,
            accepted: 0,
            mean: 0.0,
            recovered: float(recovered) / age.max(MEAN_MIN).as_secs_f64(),
        }
    }

    /// The lane has taken in so many since the start.
    pub(super) fn observe(&mut self, accepted: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed.is_zero() {
            return;
        }
        let over = now
            .saturating_duration_since(self.begun)
            .clamp(MEAN_MIN, MEAN);
        let rate = float(accepted.saturating_sub(self.accepted)) / passed.as_secs_f64();
        let weight = (passed.as_secs_f64() / over.as_secs_f64()).min(1.0);
        self.mean += (rate - self.mean) * weight;
        (self.at, self.accepted) = (now, accepted);
    }

    pub(super) fn per_s(&self) -> f64 {
        self.mean.max(self.recovered)
    }
}

/// Keeps the replay of a lane to a share of what it usually takes in, from the return of the link until it has caught
/// up.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) baseline: Baseline,
    /// Times the baseline; none is no limit.
    factor: Option<f64>,
    /// In seconds, since the rate changes.
    pacer: Pacer,
    is_behind: bool,
    /// More waits than arrives in a second.
    waits: bool,
}

impl CatchUp {
    pub(super) fn new(factor: Option<f64>, baseline: Baseline) -> CatchUp {
        CatchUp {
            factor,
            pacer: Pacer::new(1.0),
            is_behind: false,
            waits: baseline.recovered > 0.0,
            baseline,
        }
    }

    /// The link is back.
    pub(super) fn begin(&mut self) {
        self.is_behind = self.waits;
    }

    /// So many have been taken in since the start, and so many wait.
    pub(super) fn observe(&mut self, accepted: u64, waiting: u64, now: Instant) {
        self.baseline.observe(accepted, now);
        // What arrives in a second is on its way.
        self.waits = float(waiting) > self.baseline.per_s().max(1.0);
        self.is_behind &= self.waits;
    }

    /// It has a backlog that is kept to a rate.
    pub(super) fn is_behind(&self) -> bool {
        self.factor.is_some() && self.is_behind
    }

    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.rate().and(self.pacer.next_turn(now))
    }

    /// Bytes that may leave in one turn, in records of `next` bytes.
    pub(super) fn allows(&self, next: usize, share: f64) -> f64 {
        let events = self.rate().map(|rate| self.pacer.allows(rate * share));
        events.map_or(f64::MAX, |events| events * float(next as u64))
    }

    pub(super) fn charge(&mut self, events: usize, share: f64, now: Instant) {
        if let Some(rate) = self.rate() {
            self.pacer.charge(float(events as u64) / rate, share, now);
        }
    }

    /// Events a second, if there is a limit now.
    fn rate(&self) -> Option<f64> {
        let factor = self.factor.filter(|_| self.is_behind)?;
        Some(catch_up_rate(factor, self.baseline.per_s()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_the_mean_of_ten_minutes_or_of_the_backlog_that_was_found() {
        let begun = Instant::now() + Duration::from_hours(1);
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let is_near = |rate: f64, wanted: f64| (rate / wanted - 1.0).abs() < 0.05;
        let mut fresh = Baseline::new(0, None, begun);
        for second in 1..=30 {
            fresh.observe(second * 10, at(second));
        }
        assert!(fresh.per_s() < 6.0, "a burst at the start is not usual");
        for second in 31..=1200 {
            fresh.observe(second * 10, at(second));
        }
        assert!(is_near(fresh.per_s(), 10.0), "{fresh:?}");
        for second in 1201..=3600 {
            fresh.observe(12_000 + (second - 1200) * 2, at(second));
        }
        assert!((2.0..2.5).contains(&fresh.per_s()), "{fresh:?}");
        let hour_old = begun.checked_sub(Duration::from_hours(1));
        let restarted = Baseline::new(36_000, hour_old, begun);
        assert!(is_near(restarted.per_s(), 10.0));
    }

    #[test]
    fn a_lane_is_held_to_its_rate_until_it_has_caught_up() {
        let now = Instant::now() + Duration::from_hours(1);
        let usual = || Baseline::new(36_000, now.checked_sub(Duration::from_hours(1)), now);
        let mut lane = CatchUp::new(Some(0.4), usual());
        lane.charge(400, 1.0, now);
        assert_eq!(lane.next_turn(now), None, "nothing came back yet");
        lane.begin();
        lane.charge(400, 1.0, now);
        let turn = lane.next_turn(now).unwrap() - now;
        assert!(
            (99.0..=100.0).contains(&turn.as_secs_f64()),
            "400 at 4 a second"
        );
        lane.observe(0, 9, now);
        assert_eq!(lane.next_turn(now), None, "it has caught up");
        let mut free = CatchUp::new(None, usual());
        free.begin();
        free.charge(1_000_000, 1.0, now);
        assert_eq!(free.next_turn(now), None);
    }
}
