//! When and how fast this gateway replays, of all in its fleet.

use std::time::Duration;

use adapters::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lane::LanePace;

/// Events a second that a lane may always replay: what comes seldom is no load.
const LEAST: f64 = 0.5;

/// `[replay]`: how a backlog is sent after an outage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplaySection {
    /// The start is delayed by a hash of the gateway's id over this time, so that a fleet does not
    /// return as one. Default: `"30s"`.
    pub spread: Span,
    /// From the start the rate rises over this time. Default: `"30s"`.
    pub ramp: Span,
    /// Events of backlog a second, all lanes together; 0 is no limit. Default: 10000.
    pub events_per_s: u32,
    /// Bytes of backlog a second, all lanes together. Default: `"4 MiB"`.
    pub bytes_per_s: Size,
    /// After an outage each intent sends what it usually takes in, and this share of it more, until it has caught up:
    /// with 0.4, a fleet that returns brings the cluster 1.4 times its usual load, and an outage of an hour is made up
    /// for in two and a half. 0 is no such limit. Default: 0.4.
    pub catch_up: f64,
}

impl Default for ReplaySection {
    fn default() -> Self {
        ReplaySection {
            spread: Span(Duration::from_secs(30)),
            ramp: Span(Duration::from_secs(30)),
            events_per_s: 10_000,
            bytes_per_s: Size(4 << 20),
            catch_up: 0.4,
        }
    }
}

/// `[replay]`, as meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub spread: Duration,
    /// This gateway's share of `spread`.
    pub delay: Duration,
    pub ramp: Duration,
    pub events_per_s: Option<u32>,
    pub bytes_per_s: Option<u64>,
    pub catch_up: Option<f64>,
}

impl Shape {
    /// Gateway `id` starts its replay at a moment of its own within `spread`.
    #[must_use]
    pub(crate) fn new(replay: &ReplaySection, id: &str) -> Shape {
        Shape {
            spread: replay.spread.0,
            delay: delay(replay.spread.0, id),
            ramp: replay.ramp.0,
            events_per_s: Some(replay.events_per_s).filter(|rate| *rate > 0),
            bytes_per_s: Some(replay.bytes_per_s.0).filter(|rate| *rate > 0),
            catch_up: Some(replay.catch_up).filter(|share| *share > 0.0),
        }
    }

    /// The same for another gateway.
    #[cfg(feature = "simulate")]
    #[must_use]
    pub(crate) fn of_gateway(&self, id: &str) -> Shape {
        Shape {
            delay: delay(self.spread, id),
            ..self.clone()
        }
    }

    /// What a lane may replay while it catches up, times what it usually takes in. In order, its live records are
    /// behind the backlog and part of that; live first, they come on top.
    #[must_use]
    pub(crate) fn factor(&self, lane: &LanePace) -> Option<f64> {
        self.catch_up.map(|share| share + live_behind(lane))
    }
}

fn delay(spread: Duration, id: &str) -> Duration {
    let place = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
    #[expect(
        clippy::cast_precision_loss,
        reason = "a place within a duration needs no more than 53 bits"
    )]
    spread.mul_f64(place as f64 / u64::MAX as f64)
}

/// The share of what comes in that is behind the backlog of its lane.
#[must_use]
pub(crate) fn live_behind(lane: &LanePace) -> f64 {
    if lane.in_order { 1.0 } else { 0.0 }
}

/// Events a second that a lane may replay while it catches up at `factor` times the `usual` ones.
#[must_use]
pub(crate) fn catch_up_rate(factor: f64, usual: f64) -> f64 {
    (factor * usual).max(LEAST)
}
