//! Rates of the lanes.

use std::time::Instant;

use buffer::{LaneId, Lanes};

use crate::ingest::{Claim, Record};

/// The weight of the last second in a mean over about a minute.
const LATELY: f64 = 0.05;

/// Rates, from counts a second apart.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    measured: Option<Instant>,
    /// Accepted and delivered at `measured`, their rates before it, and how much less it became a second of late.
    lanes: Vec<(u64, u64, f64, f64, f64)>,
}

impl Meter {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a second's events are far below 2^53"
    )]
    pub(crate) fn measure(&mut self, lanes: &Lanes<Record, Claim>, now: Instant) {
        let seconds = self
            .measured
            .map(|before| now.saturating_duration_since(before).as_secs_f64());
        self.lanes
            .resize(lanes.ids().count(), (0, 0, 0.0, 0.0, 0.0));
        for (lane, slot) in lanes.ids().zip(&mut self.lanes) {
            let counts = lanes.counts(lane);
            let rate = |now: u64, before: u64| {
                seconds
                    .filter(|s| *s > 0.0)
                    .map_or(0.0, |s| (now - before) as f64 / s)
            };
            let rates = (
                rate(counts.accepted, slot.0),
                rate(counts.delivered, slot.1),
            );
            let less = slot.4 + (rates.1 - rates.0 - slot.4) * LATELY;
            *slot = (counts.accepted, counts.delivered, rates.0, rates.1, less);
        }
        self.measured = Some(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn drained_in_s(&self, lane: LaneId, waiting: u64) -> Option<f64> {
        let less = self.lanes.get(lane.index())?.4;
        (waiting > 0 && less > 0.0).then(|| waiting as f64 / less)
    }

    pub(crate) fn rates(&self, lane: LaneId) -> (f64, f64) {
        self.lanes
            .get(lane.index())
            .map_or((0.0, 0.0), |slot| (slot.2, slot.3))
    }
}
