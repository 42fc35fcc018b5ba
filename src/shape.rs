//! When and how fast this gateway replays, of all in its fleet.

use std::time::Duration;

use buffer::Order;

use crate::intent::Intent;

/// Events a second that a lane may always replay: what comes seldom is no load.
const LEAST: f64 = 0.5;

/// `[replay]`, as meant.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// This gateway's share of `replay.spread`.
    pub delay: Duration,
    pub ramp: Duration,
    pub events_per_s: Option<u32>,
    pub bytes_per_s: Option<u64>,
    pub catch_up: Option<f64>,
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
            catch_up: Some(replay.catch_up).filter(|share| *share > 0.0),
        }
    }

    /// What a lane may replay while it catches up, times what it usually takes in. In order, its live records are
    /// behind the backlog and part of that; live first, they come on top.
    #[must_use]
    pub(crate) fn factor(&self, intent: &Intent) -> Option<f64> {
        self.catch_up.map(|share| share + live_behind(intent))
    }
}

/// The share of what comes in that is behind the backlog of its lane.
#[must_use]
pub(crate) fn live_behind(intent: &Intent) -> f64 {
    match intent.lane.order {
        Order::InOrder => 1.0,
        Order::LiveFirst => 0.0,
    }
}

/// Events a second that a lane may replay while it catches up at `factor` times the `usual` ones.
#[must_use]
pub(crate) fn catch_up_rate(factor: f64, usual: f64) -> f64 {
    (factor * usual).max(LEAST)
}
