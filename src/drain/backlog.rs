//! What each lane would send next, and whether it may.

use std::time::Instant;

use buffer::{LaneId, Lanes, Next};

use super::Drain;
use super::topics::Verdict;
use crate::ingest::{Claim, Record};
use crate::pace::{Backlog, Gathered, Room, Wait};

/// Whether the next record of a lane may leave, as far as its topic goes.
pub(super) enum Leave {
    Now,
    /// Alone, to find out whether the cluster takes its topic.
    AsProbe,
    /// Its topic is held, and what is behind it may pass: the lane has several topics.
    MakesWay,
    /// Not before then, for this reason, and nothing behind it does.
    Waits {
        until: Instant,
        reason: String,
    },
}

impl Drain {
    /// Records in flight that may be in one batch with those of `lane`.
    fn in_flight(&self, lanes: &Lanes<Record, Claim>, lane: LaneId) -> usize {
        let mates = self
            .lanes
            .iter()
            .filter(|mate| self.holdback.share(lane, **mate));
        mates.map(|mate| lanes.in_flight(*mate)).sum()
    }

    pub(super) fn is_constant(&self, lane: LaneId) -> bool {
        self.constant.get(lane.index()).is_none_or(Option::is_some)
    }

    pub(super) fn backlog(
        &mut self,
        lanes: &Lanes<Record, Claim>,
        lane: LaneId,
        now: Instant,
    ) -> Backlog {
        let waits = self.holdback.is_careful(lane) && self.in_flight(lanes, lane) > 0;
        let next = lanes.peek(lane).filter(|_| !waits);
        let replay = next.as_ref().is_some_and(|next| self.is_replay(next));
        let leave = match &next {
            Some(next) if !self.topics.is_empty() => {
                let address = self.addresses.of(lane, &next.placed.record.origin);
                self.leave(lane, &address.topic, now)
            }
            Some(_) | None => Leave::Now,
        };
        let gathered = next.as_ref().map(|next| Gathered {
            sequence: next.placed.sequence,
            arrived: next.arrived,
            replay,
            bytes: lanes.held(lane),
            end: lanes.end(lane),
        });
        let begins = self.begins(lane, next.as_ref().map(|next| &next.placed.record), now);
        let next = next.map(|next| next.bytes);
        let room = match leave {
            Leave::Now | Leave::MakesWay => {
                let room = self.room(lane, next, now);
                self.bunch(lane, gathered, &room, now).and(begins).and(room)
            }
            Leave::AsProbe => self.room(lane, next, now).at_most(next.unwrap_or(0)),
            Leave::Waits { until, reason } => Room::Closed {
                until,
                why: Wait::Topic(reason),
            },
        };
        let paused = self.holdback.paused(lane);
        Backlog {
            lane,
            next,
            replay,
            room: paused.map_or(room, Room::Until),
            in_flight: lanes.in_flight(lane),
        }
    }

    /// Whether the next record of a lane, which goes to `topic`, may leave as far as that goes.
    pub(super) fn leave(&self, lane: LaneId, topic: &str, now: Instant) -> Leave {
        match self.topics.verdict(topic, now) {
            Verdict::Free => Leave::Now,
            Verdict::Probe => Leave::AsProbe,
            Verdict::Held { stalled, until } if stalled || self.is_constant(lane) => Leave::Waits {
                until,
                reason: self.topics.reason(topic).unwrap_or_default(),
            },
            Verdict::Held { .. } => Leave::MakesWay,
        }
    }

    /// The topic of a lane that is ordered, and writes no other.
    fn ordered(&self, lane: LaneId) -> Option<&str> {
        let in_order = self.in_order.get(lane.index()).is_some_and(|one| *one);
        let topic = self.constant.get(lane.index())?.as_deref();
        topic.filter(|_| in_order)
    }

    /// A record of an ordered lane that may be refused leaves alone: it would be overtaken by what is behind it.
    fn begins(&self, lane: LaneId, record: Option<&Record>, now: Instant) -> Room {
        let Some((topic, record)) = self.ordered(lane).zip(record) else {
            return Room::Now(usize::MAX);
        };
        if self.timestamps.is_in_doubt(lane) {
            return Room::WhenDelivered;
        }
        if !self.is_doubtful(topic, record, now) && !self.uplink.is_fresh(lane, topic) {
            return Room::Now(usize::MAX);
        }
        match self.uplink.under_way(topic) {
            0 => Room::Now(0),
            _ => Room::WhenDelivered,
        }
    }

    /// Its topic has taken no record with a time like it.
    fn is_doubtful(&self, topic: &str, record: &Record, now: Instant) -> bool {
        let own = self.clock.settled(record.stamp).0 / 1000;
        let (ms, _) = self.timestamps.of(topic, own, self.wall, now);
        let doubt = self.timestamps.doubt(topic, ms, self.wall, now);
        doubt.is_some()
    }

    /// Whether a record of an ordered lane must not follow others that are under way.
    pub(super) fn goes_alone(&self, lane: LaneId, record: &Record, now: Instant) -> bool {
        self.ordered(lane)
            .is_some_and(|topic| self.is_doubtful(topic, record, now))
    }

    /// What of a lane leaves together now, where `room` lets it.
    fn bunch(
        &mut self,
        lane: LaneId,
        gathered: Option<Gathered>,
        room: &Room,
        now: Instant,
    ) -> Room {
        let Some(gathered) = gathered.filter(|_| matches!(room, Room::Now(_))) else {
            return Room::Now(usize::MAX);
        };
        let request = self.uplink.request(lane);
        let bunch = self.bunches[lane.index()].room(gathered, request, now);
        if bunch == Room::WhenDelivered && self.bunches[lane.index()].is_behind(gathered, request) {
            self.uplink.filled(lane);
        }
        bunch
    }

    /// `next` is the size of the record that is to leave, if one is in memory.
    fn room(&mut self, lane: LaneId, next: Option<usize>, now: Instant) -> Room {
        match (self.allowance.ask(lane, self.uplink.uncounted(), now), next) {
            (Room::Now(allowed), Some(next)) => self.uplink.ask(lane, next, now).at_most(allowed),
            (Room::Now(_), None) => Room::WhenDelivered,
            (room, _) => room,
        }
    }

    /// It was on disk, or waited in memory for the link to come back.
    pub(super) fn is_replay(&self, next: &Next<'_, Record>) -> bool {
        next.replay || (next.arrived < self.link.since() && self.link.returned_from().is_some())
    }
}
