//! How long a lane's budget holds what its sources give.

use std::time::Duration;

use super::intent::ExpectedSection;
use super::intents::Intent;
use crate::pace::number::float;

/// Memory of a record besides its payload: its texts and our own.
pub(crate) const RECORD: f64 = 200.0;
/// What the sources of a lane give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub events_per_s: f64,
    /// Of a payload.
    pub bytes: f64,
    /// On disk, compressed; none where nothing is known to be compressed away.
    pub stored: Option<f64>,
    pub source: RateSource,
}

/// Where a rate is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateSource {
    Given,
    Measured,
    Expected,
    Unknown,
}

impl Rate {
    /// Bytes of a record in memory.
    pub(crate) fn record(&self) -> f64 {
        self.bytes + RECORD
    }

    /// Bytes of a record on disk.
    pub(crate) fn stored(&self) -> f64 {
        self.stored.unwrap_or_else(|| self.record())
    }
}

/// How long a lane holds what comes.
#[must_use]
pub(crate) fn full_after(intent: &Intent, rate: &Rate) -> Option<Duration> {
    let per_s = rate.events_per_s * rate.stored();
    let seconds = float(buffer::capacity(intent.disk.budget)) / per_s;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Bytes of budget that hold `outage`.
#[must_use]
pub(crate) fn budget_for(outage: Duration, rate: &Rate) -> u64 {
    let needed = rate.events_per_s * rate.stored() * outage.as_secs_f64();
    let mut budget: u64 = 1 << 20;
    while float(buffer::capacity(budget)) < needed && budget < 1 << 50 {
        budget += budget / 16;
    }
    budget.div_ceil(1 << 20) << 20
}

/// What the configuration expects.
#[must_use]
pub(crate) fn expected_rate(expected: &ExpectedSection) -> Rate {
    Rate {
        events_per_s: expected.events_per_s,
        bytes: float(expected.bytes.0),
        stored: expected.stored.map(|size| float(size.0)),
        source: RateSource::Expected,
    }
}
