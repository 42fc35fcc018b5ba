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

/// What arrives now is taken over this time.
const RECENT: Duration = Duration::from_secs(10);

/// Events a second that a lane takes in on average.
#[derive(Debug, Clone)]
pub(super) struct Baseline {
    begun: Instant,
    at: Instant,
    accepted: u64,
    mean: f64,
    recent: f64,
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
            recent: 0.0,
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
        let weight = (passed.as_secs_f64() / RECENT.as_secs_f64()).min(1.0);
        self.recent += (rate - self.recent) * weight;
        (self.at, self.accepted) = (now, accepted);
    }

    pub(super) fn per_s(&self) -> f64 {
        self.mean.max(self.recovered)
    }

    /// Events a second that arrive now.
    pub(super) fn arriving(&self) -> f64 {
        if self.at < self.begun + RECENT {
            self.recent.max(self.per_s())
        } else {
            self.recent
        }
    }
}

/// Whether a lane has a backlog from an outage.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) baseline: Baseline,
    yes: bool,
    /// More waits than arrives in a second.
    waits: bool,
}

impl Behind {
    pub(super) fn new(baseline: Baseline) -> Behind {
        Behind {
            yes: false,
            waits: baseline.recovered > 0.0,
            baseline,
        }
    }

    /// The link is back.
    pub(super) fn begin(&mut self) {
        self.yes = self.waits;
    }

    /// So many have been taken in since the start, and so many wait.
    pub(super) fn observe(&mut self, accepted: u64, waiting: u64, now: Instant) {
        self.baseline.observe(accepted, now);
        // What arrives in a second is on its way.
        self.waits = float(waiting) > self.baseline.per_s().max(1.0);
        self.yes &= self.waits;
    }

    pub(super) fn is_behind(&self) -> bool {
        self.yes
    }
}

/// What urgent lanes may take of the budget ahead of its time: alarms of an outage do not wait for it, and the rest waits until it
/// is made up for.
const AHEAD: Duration = Duration::from_secs(1);
/// Each time that the link is lost before the gateway has caught up, its budget is multiplied by `RISE`, up to `RISEN_MAX` in all: a link
/// that flaps has to make up for an outage in the time that it is up.
const RISE: f64 = 1.5;
const RISEN_MAX: f64 = 32.0;
/// The same after an outage that is shorter than this: its backlog is made up for within a minute.
const SHORT: Duration = Duration::from_secs(30);

/// What a gateway may replay until it has caught up: a share of what all its lanes usually take in.
#[derive(Debug)]
pub(super) struct Budget {
    /// None is no limit.
    share: Option<f64>,
    risen: f64,
    /// After a short outage.
    short: f64,
    /// Events a second of the backlog, and of what arrives behind it.
    rate: Option<(f64, f64)>,
    /// In seconds, since the rate changes.
    pacer: Pacer,
    /// Events and bytes that were taken in since the start.
    taken_in: (u64, u64),
}

impl Budget {
    pub(super) fn new(share: Option<f64>) -> Budget {
        Budget {
            share,
            risen: 1.0,
            short: 1.0,
            rate: None,
            pacer: Pacer::new(1.0),
            taken_in: (0, 0),
        }
    }

    /// Another share from now on, whatever the gateway is behind.
    pub(super) fn change(&mut self, share: Option<f64>) {
        self.share = share;
    }

    /// The link is back from an outage; the gateway is still behind from the one before, or is not.
    pub(super) fn returned(&mut self, outage: Duration, still_behind: bool) {
        self.short = if outage < SHORT { RISE } else { 1.0 };
        self.risen = if still_behind {
            (self.risen * RISE).min(RISEN_MAX)
        } else {
            (self.risen / RISE).max(1.0)
        };
    }

    /// So much is usual, and `live` arrives behind the backlog; nothing is where no lane is behind.
    pub(super) fn follow(&mut self, usual: Option<(f64, f64)>) {
        let rate = |(share, (usual, live))| {
            (
                catch_up_rate(share * self.risen.max(self.short), usual),
                live,
            )
        };
        self.rate = self.share.zip(usual).map(rate);
    }

    pub(super) fn took_in(&mut self, events: u64, bytes: u64) {
        self.taken_in = (self.taken_in.0 + events, self.taken_in.1 + bytes);
    }

    pub(super) fn next_turn(&self, urgent: bool, now: Instant) -> Option<Instant> {
        let turn = self.rate.and(self.pacer.next_turn(now))?;
        if !urgent {
            return Some(turn);
        }
        turn.checked_sub(AHEAD).filter(|turn| *turn > now)
    }

    /// Bytes that may leave in one turn, in records of `next` bytes.
    pub(super) fn allows(&self, next: usize, share: f64) -> f64 {
        let events = self
            .rate
            .map(|(replay, live)| self.pacer.allows(replay * share + live));
        events.map_or(f64::MAX, |events| events * float(next as u64))
    }

    pub(super) fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// Records that are larger than usual count as more.
    pub(super) fn charge(&mut self, events: usize, bytes: usize, share: f64, now: Instant) {
        let Some((replay, live)) = self.rate else {
            return;
        };
        let (all, all_bytes) = self.taken_in;
        let usual = float(all_bytes) / float(all.max(1));
        let counted = if usual > 0.0 {
            float(bytes as u64) / usual
        } else {
            0.0
        };
        let counted = counted.max(float(events as u64));
        self.pacer
            .charge(counted / (replay * share + live), 1.0, now);
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
    fn a_lane_is_behind_from_the_return_until_no_more_waits_than_is_usual() {
        let now = Instant::now() + Duration::from_hours(1);
        let usual = Baseline::new(36_000, now.checked_sub(Duration::from_hours(1)), now);
        let mut lane = Behind::new(usual);
        assert!(!lane.is_behind(), "nothing came back yet");
        lane.begin();
        assert!(lane.is_behind());
        lane.observe(0, 9, now);
        assert!(!lane.is_behind(), "it has caught up");
    }

    #[test]
    fn a_budget_is_a_share_of_what_is_usual_counts_bytes_and_lets_alarms_go_ahead() {
        let now = Instant::now();
        let mut budget = Budget::new(Some(0.4));
        budget.charge(400, 0, 1.0, now);
        assert_eq!(budget.next_turn(false, now), None, "nobody is behind");
        budget.follow(Some((10.0, 0.0)));
        budget.charge(400, 0, 1.0, now);
        let seconds = |turn: Option<Instant>| (turn.unwrap() - now).as_secs_f64();
        let turn = seconds(budget.next_turn(false, now));
        assert!((99.0..=100.0).contains(&turn), "400 at 4 a second: {turn}");
        let urgent = seconds(budget.next_turn(true, now));
        assert!((turn - urgent - 1.0).abs() < 0.01, "{urgent}");
        budget.took_in(100, 20_000);
        budget.charge(1, 2_000, 1.0, now);
        let more = seconds(budget.next_turn(false, now)) - turn;
        assert!((more - 2.5).abs() < 0.1, "ten usual ones: {more}");
        for (outage, still_behind, rate) in [
            (40, true, 6.0),
            (40, true, 9.0),
            (20, false, 6.0),
            (20, false, 6.0),
            (40, false, 4.0),
        ] {
            budget.returned(Duration::from_secs(outage), still_behind);
            budget.follow(Some((10.0, 0.0)));
            assert!((budget.rate.unwrap().0 - rate).abs() < 0.01, "{budget:?}");
        }
        let mut free = Budget::new(None);
        free.follow(Some((10.0, 0.0)));
        free.charge(1_000_000, 0, 1.0, now);
        assert_eq!(free.next_turn(false, now), None);
    }
}
