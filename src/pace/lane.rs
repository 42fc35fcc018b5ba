//! What pacing has to know of a lane.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LanePace {
    pub name: String,
    /// Before all others, on a connection of its own.
    pub urgent: bool,
    pub in_order: bool,
    /// How long a record may wait for others to leave with.
    pub linger: Duration,
    /// Share of the rate among lanes that are not urgent.
    pub weight: u32,
    /// Limits of the replay of this lane alone.
    pub events_per_s: Option<u32>,
    pub bytes_per_s: Option<u64>,
}
