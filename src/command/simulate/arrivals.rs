//! What arrives at the cluster, over time.

use std::time::Instant;

use crate::pace::number;

/// Curves have a point for so many seconds.
pub(super) const BIN_S: u32 = 10;

/// Events that arrived in each [`BIN_S`] seconds.
#[derive(Debug)]
pub(super) struct Arrivals {
    since: Instant,
    bins: Vec<f64>,
}

impl Arrivals {
    pub(super) fn new(since: Instant) -> Arrivals {
        Arrivals {
            since,
            bins: Vec::new(),
        }
    }

    /// Events in each [`BIN_S`] seconds since the beginning.
    pub(super) fn bins(&self) -> &[f64] {
        &self.bins
    }

    /// `events` arrived from `at` on, evenly over so many seconds.
    pub(super) fn add(&mut self, events: f64, at: Instant, over_s: f64) {
        let bin = f64::from(BIN_S);
        let begin = at.saturating_duration_since(self.since).as_secs_f64();
        let end = begin + over_s.max(1e-3);
        let mut from = begin;
        while from < end {
            let index = number::bytes(from / bin);
            let to = ((from / bin).floor() + 1.0) * bin;
            if index >= self.bins.len() {
                self.bins.resize(index + 1, 0.0);
            }
            self.bins[index] += events * (to.min(end) - from) / (end - begin);
            from = to;
        }
    }
}
