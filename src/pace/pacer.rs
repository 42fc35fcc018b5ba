//! Rates without a clock.

use std::time::{Duration, Instant};

/// Lets `per_second` units through on average, plus what `BURST` of idle time has saved up.
///
/// Holds one instant instead of a token count: the moment everything sent so far is paid for.
/// There is nothing to refill, so no fraction of a unit is ever lost to rounding.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    per_second: f64,
    paid_until: Option<Instant>,
}

/// Idle time that may be made up for at once: long enough to send in batches, short enough that a
/// broker's quota window (1 s in Kafka) sees the rate and not the burst.
const BURST: Duration = Duration::from_millis(100);

/// Long enough for a batch, short enough that a fleet in step makes no waves.
const TURN: Duration = Duration::from_secs(1);

impl Pacer {
    /// `per_second` must be above zero.
    #[must_use]
    pub(crate) fn new(per_second: f64) -> Pacer {
        Pacer {
            per_second,
            paid_until: None,
        }
    }

    /// The moment the next batch may leave; `None` means now.
    #[must_use]
    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.paid_until.filter(|paid_until| *paid_until > now)
    }

    /// Units that may leave at once, so that what leaves is spread over time: as many as `TURN` brings.
    #[must_use]
    pub(crate) fn allows(&self, share: f64) -> f64 {
        self.per_second * share * TURN.as_secs_f64()
    }

    /// Charges for `units` that left at `now`, at `share` of the rate (above 0, at most 1).
    pub(super) fn charge(&mut self, units: f64, share: f64, now: Instant) {
        let saved = now.checked_sub(BURST).unwrap_or(now);
        let cost = Duration::from_secs_f64(units / (self.per_second * share));
        self.paid_until = Some(self.paid_until.map_or(saved, |paid| paid.max(saved)) + cost);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Never more than rate x time + burst, whatever is asked for when.
        #[test]
        fn a_pacer_keeps_its_rate(rate in 1u32..100_000, asks in prop::collection::vec((0u64..50_000, 1u32..500), 1..200)) {
            let begun = Instant::now();
            let (mut now, mut sent, mut last) = (begun, 0.0, 0.0);
            let mut pacer = Pacer::new(f64::from(rate));
            for (wait_us, units) in asks {
                now += Duration::from_micros(wait_us);
                if pacer.next_turn(now).is_none() {
                    pacer.charge(f64::from(units), 1.0, now);
                    sent += f64::from(units);
                    last = f64::from(units);
                }
                let allowed = f64::from(rate) * ((now - begun) + BURST).as_secs_f64() + last;
                prop_assert!(sent <= allowed + 1.0, "{sent} > {allowed}");
            }
        }
    }
}
