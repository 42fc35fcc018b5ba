//! When the next pull is. Pure: time comes in as an argument.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use adapters::Backoff;

use crate::config::PullSettings;

/// The first wait after an error is no longer than this, and no wait is shorter than the other.
const FIRST: Duration = Duration::from_secs(5);
const LEAST: Duration = Duration::from_secs(1);
/// A first pull, or one that is overdue, comes within this: a region that has power again does not ask at once.
const SOON: Duration = Duration::from_mins(1);
/// What a server asks for is heeded up to `every`, or this where that is more.
const MOST: Duration = Duration::from_hours(1);

/// The moments of a gateway are `phase` into each `every` of the system's clock, which may be wrong: then they are others, and still
/// apart from those of other gateways.
#[derive(Debug, Clone)]
pub(super) struct Rhythm {
    every: Duration,
    phase: Duration,
    backoff: Backoff,
}

impl Rhythm {
    pub(super) fn new(settings: &PullSettings) -> Rhythm {
        Rhythm {
            every: settings.every,
            phase: settings.phase,
            backoff: Backoff::new(FIRST.min(settings.every), settings.every),
        }
    }

    /// Until the first pull of a process: at its moment if the last one, so long ago by the same clock, is not overdue.
    pub(super) fn first(&self, since: Option<Duration>, now: Duration) -> Duration {
        match since {
            Some(since) if since < self.every => self.next(now),
            Some(_) | None => {
                let share = self.phase.as_secs_f64() / self.every.as_secs_f64();
                SOON.min(self.every).mul_f64(share.clamp(0.0, 1.0))
            }
        }
    }

    /// Until the next, after one that succeeded; `now` is since 1970.
    pub(super) fn after(&mut self, now: Duration) -> Duration {
        self.backoff.reset();
        self.next(now)
    }

    /// After one that failed, where the server asked to `wait`, or did not.
    pub(super) fn after_error(&mut self, wait: Option<Duration>) -> Duration {
        let random = RandomState::new().hash_one(wait);
        let pause = self.backoff.next(random).max(LEAST);
        wait.map_or(pause, |wait| wait.clamp(pause, self.every.max(MOST)))
    }

    fn next(&self, now: Duration) -> Duration {
        let every = self.every.as_millis().max(1);
        let (now, phase) = (now.as_millis() % every, self.phase.as_millis() % every);
        let wait = (phase + every - now) % every;
        // The moment that is now was that of this pull.
        let wait = if wait == 0 { every } else { wait };
        Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pace::delay;

    fn rhythm(every: Duration, id: &str) -> Rhythm {
        Rhythm {
            every,
            phase: delay(every, id),
            backoff: Backoff::new(FIRST.min(every), every),
        }
    }

    const QUARTER: Duration = Duration::from_mins(15);

    #[test]
    fn a_thousand_gateways_that_start_together_ask_evenly() {
        for since in [None, Some(Duration::from_mins(1))] {
            let waits = (0..1000).map(|number| {
                rhythm(QUARTER, &format!("gw-{number}")).first(since, Duration::from_secs(77))
            });
            let mut waits: Vec<f64> = waits.map(|wait| wait.as_secs_f64()).collect();
            waits.sort_by(f64::total_cmp);
            let over = if since.is_some() { 900.0 } else { 60.0 };
            for (place, wait) in (0_u32..).zip(waits) {
                let off = wait / over - f64::from(place) / 1000.0;
                assert!(off.abs() < 0.05, "{place}: {off}");
            }
        }
    }

    #[test]
    fn an_error_is_tried_again_sooner_and_ever_later_and_what_the_server_asks_for_is_heeded_within_bounds()
     {
        let mut one = rhythm(QUARTER, "gw");
        for _ in 0..30 {
            let wait = one.after_error(None);
            assert!((LEAST..=QUARTER).contains(&wait), "{wait:?}");
        }
        let mut one = rhythm(QUARTER, "gw");
        assert_eq!(
            one.after_error(Some(Duration::from_mins(10))),
            Duration::from_mins(10)
        );
        assert!(one.after_error(Some(Duration::ZERO)) >= LEAST);
        assert_eq!(one.after_error(Some(Duration::MAX)), MOST);
    }

    proptest! {
        #[test]
        fn the_next_pull_is_at_the_gateways_moment_and_within_every(every in 10_000_u64..604_800_000, share in 0.0..1.0_f64, now in 0_u64..4_000_000_000_000) {
            let every = Duration::from_millis(every);
            let mut one = rhythm(every, "gw");
            one.phase = every.mul_f64(share);
            let now = Duration::from_millis(now);
            let wait = one.after(now);
            prop_assert!(wait >= LEAST && wait <= every);
            let at = (now + wait).as_millis() % every.as_millis();
            let phase = one.phase.as_millis() % every.as_millis();
            prop_assert!(at == phase || wait == LEAST, "{at} {phase}");
        }
    }
}
