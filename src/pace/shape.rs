//! When and how fast this gateway replays, of all in its fleet.

use std::time::Duration;

use adapters::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lane::LanePace;

/// Events a second that a gateway may always replay: what comes seldom is no load.
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
    /// After an outage the gateway sends what it usually takes in, and this share of it more, until it has caught up, the backlog of urgent
    /// intents first:
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

    /// When its replay begins after a return from an outage: one of seconds brings no fleet back at once, so `spread` is no more
    /// than a tenth of it.
    #[must_use]
    pub(crate) fn delay_after(&self, outage: Duration) -> Duration {
        let spread = self.spread.min(outage / 10);
        let share = spread.as_secs_f64() / self.spread.as_secs_f64().max(f64::MIN_POSITIVE);
        self.delay.mul_f64(share.min(1.0))
    }

    /// How long a return takes at most.
    #[must_use]
    pub(crate) fn returning(&self) -> Duration {
        self.delay + self.ramp
    }

    /// Over how long its rate rises then.
    #[must_use]
    pub(crate) fn ramp_after(&self, outage: Duration) -> Duration {
        self.ramp.min(outage / 10)
    }
}

/// The moment within `spread` that is `id`'s own: always the same, and even over many ids.
#[must_use]
pub(crate) fn delay(spread: Duration, id: &str) -> Duration {
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

/// Events a second of backlog that a gateway may replay at `catch_up` times the `usual` ones of all its lanes.
#[must_use]
pub(crate) fn catch_up_rate(catch_up: f64, usual: f64) -> f64 {
    (catch_up * usual).max(LEAST)
}
