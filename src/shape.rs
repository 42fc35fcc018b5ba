//! When and how fast this gateway replays, of all in its fleet.

use std::time::Duration;

/// `[replay]`, as meant.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// This gateway's share of `replay.spread`.
    pub delay: Duration,
    pub ramp: Duration,
    pub events_per_s: Option<u32>,
    pub bytes_per_s: Option<u64>,
}

impl Shape {
    /// Gateway `id` starts its replay at a moment of its own within `spread`.
    #[must_use]
    pub(crate) fn new(replay: &crate::config::ReplaySection, id: &str) -> Shape {
        let place = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a place within a duration needs no more than 53 bits"
        )]
        let delay = replay.spread.0.mul_f64(place as f64 / u64::MAX as f64);
        Shape {
            delay,
            ramp: replay.ramp.0,
            events_per_s: Some(replay.events_per_s).filter(|rate| *rate > 0),
            bytes_per_s: Some(replay.bytes_per_s.0).filter(|rate| *rate > 0),
        }
    }
}
