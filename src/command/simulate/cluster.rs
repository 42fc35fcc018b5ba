//! A cluster that serves one request after the other, at a fixed rate.

use std::time::{Duration, Instant};

/// A request that waits for longer is given up by its client and sent again: `request.timeout.ms`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// There and back, besides what a request waits for.
const ROUND_TRIP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Cluster {
    /// Bytes a second.
    rate: f64,
    /// When it has served all that it was given.
    free: Instant,
}

impl Cluster {
    pub(super) fn new(rate: f64, now: Instant) -> Cluster {
        Cluster { rate, free: now }
    }

    /// What a request that arrives now waits.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.free.saturating_duration_since(now)
    }

    /// Takes a request. Returns when the client knows what became of it, and whether it was served.
    pub(super) fn take(&mut self, bytes: f64, now: Instant) -> (Instant, bool) {
        if self.wait(now) > TIMEOUT {
            return (now + TIMEOUT, false);
        }
        self.free = self.free.max(now) + Duration::from_secs_f64(bytes / self.rate);
        (self.free + ROUND_TRIP, true)
    }
}
