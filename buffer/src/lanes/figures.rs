//! What lanes hold, in figures.

use std::time::Instant;

use super::Lanes;
use crate::block::Placed;
use crate::settings::Counts;
use crate::{Claim, LaneId, Record};

impl<R: Record, T: Claim> Lanes<R, T> {
    #[must_use]
    pub fn counts(&self, lane: LaneId) -> &Counts {
        &self.lane(lane).counts
    }

    /// Records accepted and neither delivered nor dropped.
    #[must_use]
    pub fn waiting(&self, lane: LaneId) -> u64 {
        self.lane(lane).waiting()
    }

    #[must_use]
    pub fn in_flight(&self, lane: LaneId) -> usize {
        self.lane(lane).in_flight()
    }

    /// Bytes of the lane on disk, and in memory.
    #[must_use]
    pub fn bytes(&self, lane: LaneId) -> (u64, usize) {
        (self.lane(lane).on_disk(), self.lane(lane).memory())
    }

    /// When the oldest record that waits arrived; on disk it may be a generation younger.
    #[must_use]
    pub fn oldest(&self, lane: LaneId) -> Option<Instant> {
        self.lane(lane).oldest()
    }

    /// A record that is in flight.
    #[must_use]
    pub fn sent(&self, lane: LaneId, token: u64) -> Option<&Placed<R>> {
        self.lane(lane).sent(token)
    }

    /// The token of the next record that is handed over.
    #[must_use]
    pub fn next_token(&self, lane: LaneId) -> u64 {
        self.lane(lane).next_token()
    }
}
