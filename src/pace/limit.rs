//! How much may be under way on a connection: what its flow says, or a fixed most where nobody waits for others.

use std::time::Instant;

use super::flow::Flow;
use super::room::Room;

#[derive(Debug, Clone)]
pub(crate) enum Limit {
    Flow(Box<Flow>),
    /// Bytes.
    Fixed {
        most: usize,
        in_flight: usize,
    },
}

impl Limit {
    /// `next` is the size of the record that is to leave.
    pub(crate) fn ask(&mut self, next: usize, now: Instant) -> Room {
        match self {
            Limit::Flow(flow) => flow.ask(next, now),
            Limit::Fixed { most, in_flight } => {
                let room = most.saturating_sub(*in_flight);
                // One record may always be under way, however large it is.
                let room = if *in_flight == 0 {
                    room.max(next)
                } else {
                    room
                };
                if room >= next {
                    Room::Now(room)
                } else {
                    Room::WhenDelivered
                }
            }
        }
    }

    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) {
        match self {
            Limit::Flow(flow) => flow.sent(bytes, now),
            Limit::Fixed { in_flight, .. } => *in_flight += bytes,
        }
    }

    /// `bytes` came back, delivered or not.
    pub(crate) fn landed(&mut self, bytes: usize, delivered: bool, now: Instant) {
        match self {
            Limit::Flow(flow) => flow.landed(bytes, delivered, now),
            Limit::Fixed { in_flight, .. } => *in_flight = in_flight.saturating_sub(bytes),
        }
    }

    /// `bytes` are under way, and no longer count: that says nothing of the link.
    pub(crate) fn forget(&mut self, bytes: usize) {
        match self {
            Limit::Flow(flow) => flow.forget(bytes),
            Limit::Fixed { in_flight, .. } => *in_flight = in_flight.saturating_sub(bytes),
        }
    }

    /// Bytes under way.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Limit::Flow(flow) => flow.in_flight(),
            Limit::Fixed { in_flight, .. } => *in_flight,
        }
    }

    #[must_use]
    pub(crate) fn flow(&self) -> Option<&Flow> {
        match self {
            Limit::Flow(flow) => Some(flow),
            Limit::Fixed { .. } => None,
        }
    }

    pub(crate) fn flow_mut(&mut self) -> Option<&mut Flow> {
        match self {
            Limit::Flow(flow) => Some(flow),
            Limit::Fixed { .. } => None,
        }
    }
}
