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
    lanes: Vec<LaneMeter>,
}

#[derive(Debug, Clone, Default)]
struct LaneMeter {
    /// When it was measured last.
    accepted: u64,
    delivered: u64,
    /// In the second before that.
    accepted_per_s: f64,
    delivered_per_s: f64,
    /// How much less waits each second, of late.
    less_per_s: f64,
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
        self.lanes.resize(lanes.ids().count(), LaneMeter::default());
        for (lane, slot) in lanes.ids().zip(&mut self.lanes) {
            let counts = lanes.counts(lane);
            let rate = |now: u64, before: u64| {
                seconds
                    .filter(|s| *s > 0.0)
                    .map_or(0.0, |s| (now - before) as f64 / s)
            };
            let accepted_per_s = rate(counts.accepted, slot.accepted);
            let delivered_per_s = rate(counts.delivered, slot.delivered);
            let less = delivered_per_s - accepted_per_s;
            *slot = LaneMeter {
                accepted: counts.accepted,
                delivered: counts.delivered,
                accepted_per_s,
                delivered_per_s,
                less_per_s: slot.less_per_s + (less - slot.less_per_s) * LATELY,
            };
        }
        self.measured = Some(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn drained_in_s(&self, lane: LaneId, waiting: u64) -> Option<f64> {
        let less = self.lanes.get(lane.index())?.less_per_s;
        (waiting > 0 && less > 0.0).then(|| waiting as f64 / less)
    }

    /// Accepted and delivered in the last second.
    pub(crate) fn rates(&self, lane: LaneId) -> (f64, f64) {
        self.lanes.get(lane.index()).map_or((0.0, 0.0), |slot| {
            (slot.accepted_per_s, slot.delivered_per_s)
        })
    }
}
