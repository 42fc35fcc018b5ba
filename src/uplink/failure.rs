//! A producer that can do nothing any more, and when it is rebuilt.
//!
//! librdkafka ends an idempotent producer for good when it can no longer say what a broker has: after a power cut that tore a
//! broker's log, with a cluster that lost its producer state, without the right to write. A new producer begins with a new
//! identity and sends again what was in flight. The first is built at once; where that does not help, the next ones wait.

use std::time::{Duration, Instant};

/// Between one rebuild and the next, if nothing was delivered meanwhile.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// From a fatal error to the next delivery.
#[derive(Debug)]
pub(super) struct Failure {
    reason: String,
    rebuilds: u32,
    /// When the broken producer is to be replaced; none while a new one is tried.
    rebuild_at: Option<Instant>,
    /// No rebuild before it.
    earliest: Instant,
}

impl Failure {
    /// The producer failed now; `before` is what is known of its last failure, if it delivered nothing since.
    pub(super) fn new(reason: String, before: Option<Failure>, now: Instant) -> Failure {
        let (rebuilds, earliest) = before.map_or((0, now), |one| (one.rebuilds, one.earliest));
        Failure {
            reason,
            rebuilds,
            rebuild_at: Some(earliest.max(now)),
            earliest,
        }
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// How often it was rebuilt since the last delivery.
    pub(super) fn rebuilds(&self) -> u32 {
        self.rebuilds
    }

    pub(super) fn rebuild_at(&self) -> Option<Instant> {
        self.rebuild_at
    }

    /// A new producer is tried, or could not be made.
    pub(super) fn rebuilt(&mut self, made: bool, now: Instant) {
        let pause = RETRY_FIRST * 2_u32.saturating_pow(self.rebuilds.min(5));
        self.rebuilds += 1;
        self.earliest = now + pause.min(RETRY_MOST);
        self.rebuild_at = (!made).then_some(self.earliest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rebuild_is_at_once_and_those_that_do_not_help_come_ever_later() {
        let begun = Instant::now();
        let (mut now, mut last, mut pauses) = (begun, begun, Vec::new());
        let mut failure = None;
        for round in 0..8 {
            let mut failed = Failure::new("gone".into(), failure.take(), now);
            let due = failed.rebuild_at().expect("it failed");
            pauses.push((due - last).as_secs());
            // Some rounds the producer cannot even be made.
            failed.rebuilt(round % 3 != 2, due);
            assert_eq!(failed.rebuild_at().is_some(), round % 3 == 2);
            (now, last) = (due + Duration::from_millis(10), due);
            failure = Some(failed);
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(failure.map(|failure| failure.rebuilds()), Some(8));
    }
}
