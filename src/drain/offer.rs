//! Whether a record leaves: not while its topic is held, nor when the time has passed for which it says that it is of use.

use std::time::Instant;

use buffer::{LaneId, Next};

use super::Drain;
use super::address::Expired;
use super::backlog::Leave;
use crate::ingest::Record;
use crate::uplink::{Delivery, Unsent};

/// What became of a record that was to leave.
pub(super) enum Offered {
    /// With the bytes that it takes in a request.
    Sent(usize),
    /// The client library knows at once what would become of it.
    Failed(Delivery),
    /// Its topic is held, and what is behind it may pass.
    MakesWay,
    /// It is of no use any more, and its lane drops such events.
    Expired,
    /// It stays where it is.
    Waits,
}

impl Drain {
    /// Hands a record over if its topic allows it.
    pub(super) fn offer(
        &mut self,
        lane: LaneId,
        next: &Next<'_, Record>,
        replay: bool,
        now: Instant,
    ) -> Offered {
        if self.has_expired(lane, &next.placed.record) && self.drops_expired(lane) {
            return Offered::Expired;
        }
        let address = self.addresses.of(lane, &next.placed.record.origin);
        match self.leave(lane, &address.topic, now) {
            Leave::Waits { .. } => return Offered::Waits,
            Leave::MakesWay => return Offered::MakesWay,
            Leave::AsProbe => self.topics.probes(&address.topic),
            Leave::Now => {}
        }
        match self.hand_over(lane, next, replay, &address, now) {
            Ok(bytes) => Offered::Sent(bytes),
            Err(Unsent::Full) => Offered::Waits,
            Err(Unsent::Failed(outcome)) => Offered::Failed(outcome),
        }
    }

    /// Whether the time has passed for which the record says that it is of use, in whole seconds, as it says it. One of which it
    /// cannot be said has not expired.
    pub(super) fn has_expired(&self, lane: LaneId, record: &Record) -> bool {
        let properties = record.properties.as_deref();
        properties
            .and_then(|properties| properties.expiry_s)
            .is_some_and(|expiry_s| {
                let address = self.addresses.lanes().get(lane.index());
                let lingers_s = address.map_or(0, |address| address.lingers_s);
                let age = self.clock.age(record.stamp);
                age.is_some_and(|age| age.as_secs() > lingers_s + u64::from(expiry_s))
            })
    }

    fn drops_expired(&self, lane: LaneId) -> bool {
        let address = self.addresses.lanes().get(lane.index());
        address.is_some_and(|address| address.expired == Expired::Drop)
    }
}
