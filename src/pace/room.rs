//! May a lane send now? The one answer that link, allowance, connection and shaper give, each in its turn.

use std::time::{Duration, Instant};

use super::allowance::Period;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Room {
    /// So many bytes.
    Now(usize),
    /// Nothing before then.
    Until(Instant),
    /// Nothing until something that is under way was delivered.
    WhenDelivered,
    /// Nothing before then, for a reason that is not a rate.
    Closed { until: Instant, why: Wait },
}

impl Room {
    /// The same, but no more than `bytes`.
    pub(crate) fn at_most(self, bytes: usize) -> Room {
        match self {
            Room::Now(room) => Room::Now(room.min(bytes)),
            Room::Until(_) | Room::WhenDelivered | Room::Closed { .. } => self,
        }
    }

    /// What both allow.
    pub(crate) fn and(self, other: Room) -> Room {
        match self {
            Room::Now(bytes) => other.at_most(bytes),
            Room::Until(_) | Room::WhenDelivered | Room::Closed { .. } => self,
        }
    }

    /// When to ask again, if that is known.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self {
            Room::Until(until) | Room::Closed { until, .. } => Some(*until),
            Room::Now(_) | Room::WhenDelivered => None,
        }
    }
}

/// Why a lane that has something to send does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wait {
    LinkDown,
    /// The clock is known to be wrong, so that no window of the link is known to be open.
    ClockUnknown,
    /// Its window of the link opens after this.
    Window(Duration),
    /// Its share of the bytes of a period is used up; the next begins after this.
    Budget(Period, Duration),
    /// The cluster does not take its topic: its name, and the reason.
    Topic(String),
    /// Its kafka producer failed for this reason, and is rebuilt.
    ProducerFailed(String),
    /// The cluster's quota is reached.
    Quota,
    /// The link carries no more.
    Link,
    /// Its gateway's turn in the fleet comes after this.
    Spread(Duration),
    /// A rate of its replay is reached.
    Rate(ReplayRate),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayRate {
    /// That of its intent.
    Intent,
    /// `replay.catch_up`.
    CatchUp,
    /// That of all lanes together.
    Gateway,
}
