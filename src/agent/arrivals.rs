//! What sources give: taken in turns, and left in a source's queue while its lane has no room and the disk makes some.

use std::time::Instant;

use super::Agent;
use crate::ingest::Moment;

/// Submissions taken in at once.
const BATCH: usize = 256;

impl Agent {
    pub(super) fn take_in(&mut self, now: Instant) {
        let moment = self.moment(now);
        let (ingest, lanes) = (&mut self.ingest, &mut self.lanes);
        self.queues.take(BATCH, now, |submission| {
            ingest.take(lanes, submission, moment)
        });
    }

    /// Sources whose lane has room again have their turn.
    pub(super) fn resume(&mut self, now: Instant) {
        let (moment, lanes) = (self.moment(now), &mut self.lanes);
        self.queues.resume(now, |need| need.is_unmet(lanes, moment));
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment {
            now,
            outage: self.outage(),
            disk_works: self.disk.error.is_none(),
        }
    }

    /// A pause is brief on a disk that is fast enough: a long one is told, once.
    pub(super) fn tell_pauses(&mut self, now: Instant) {
        let intents = &self.intents;
        self.queues.tell(now, |source, need, lasted| {
            let (lane, seconds) = (&intents.get(need.lane).name, lasted.as_secs());
            tracing::warn!(source, lane = %lane, seconds,
                "source paused: its lane has no room in memory until the disk has written; nothing is lost here, but the source's broker or client may drop what it cannot send; find out why the disk is slow, send less, or raise `memory` of the intent and the queue limit of the broker");
        });
    }

    /// Why nothing is taken from a source, or was not within the last second.
    pub(super) fn paused(&self, source: &str) -> Option<String> {
        let mut paused = self.queues.paused().filter(|one| one.source == source);
        let lane = paused.next()?.waits_for.lane;
        Some(format!(
            "lane {} waits for the disk",
            self.intents.get(lane).name
        ))
    }
}
