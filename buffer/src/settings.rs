//! What a lane is told, and what it tells.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::WhenFull;
use crate::block::Placed;
use crate::ranges::Ranges;

/// Which records of a lane go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Strictly by sequence.
    InOrder,
    /// New ones first; what had to wait on disk follows.
    LiveFirst,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSettings {
    pub order: Order,
    pub when_full: WhenFull,
    /// How long a record may wait in memory for its delivery before it is written.
    pub persist_after: Duration,
    /// The same during an outage: the interval of group commits.
    pub commit_every: Duration,
    /// Bytes on disk.
    pub budget: u64,
    /// Bytes in memory. One record is always taken.
    pub memory: usize,
    /// Bytes of the largest record, encoded. It is no more than [`crate::RECORD_BYTES_MAX`], nor than a quarter of the budget.
    pub record: usize,
    /// Bytes beyond that while the disk takes what is there: a source has at most its own window under way, and nothing of
    /// it is to be dropped for a commit of some milliseconds.
    pub burst: usize,
    /// Everything is written, also what is delivered before, to be there for a replay on demand.
    pub keeps: bool,
    /// Its commits may be put off where the flash is to be spared.
    pub bulk: bool,
}

/// Why records were dropped. Written in the marks by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DropReason {
    /// The lane's disk budget was used up, and these were its oldest.
    Budget,
    /// A newer record of the same key took its place when the budget was used up.
    Coalesced,
    /// The disk did not take it, and memory was full.
    Memory,
    /// Its block was damaged.
    Damage,
    /// The cluster will never take it.
    Rejected,
    /// It grew older than its lane keeps, or than it says that it is of use.
    Age,
    /// The lane's disk budget was used up, and it keeps what it has.
    Newest,
    /// It is larger than any record that the lane takes.
    TooLarge,
}

impl DropReason {
    pub const ALL: [DropReason; 8] = [
        Self::Budget,
        Self::Coalesced,
        Self::Memory,
        Self::Damage,
        Self::Rejected,
        Self::Age,
        Self::Newest,
        Self::TooLarge,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Budget => "budget",
            DropReason::Coalesced => "coalesced",
            DropReason::Memory => "memory",
            DropReason::Damage => "damage",
            DropReason::Rejected => "rejected",
            DropReason::Age => "age",
            DropReason::Newest => "newest",
            DropReason::TooLarge => "too_large",
        }
    }
}

/// Records dropped at one time for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub reason: DropReason,
    pub first: u64,
    pub last: u64,
    pub count: u64,
    /// Of those that were too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<Largest>,
}

/// A record that was too large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Largest {
    /// [`crate::Record::name`], or the beginning of it.
    pub name: String,
    /// Bytes, encoded.
    pub bytes: u64,
}

impl Dropped {
    /// All of `sequences`, unless there are none.
    pub(crate) fn all(reason: DropReason, sequences: &Ranges) -> Option<Dropped> {
        let (first, last) = (sequences.first_from(0)?, sequences.iter().last()?.end - 1);
        Some(Dropped {
            reason,
            first,
            last,
            count: sequences.len(),
            largest: None,
        })
    }

    /// Both as one.
    pub(crate) fn join(&mut self, other: Dropped) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count += other.count;
        let both = self.largest.take().into_iter().chain(other.largest);
        self.largest = both.max_by_key(|largest| largest.bytes);
    }
}

/// A lane's account since the start: `recovered + accepted = delivered + dropped + waiting`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub recovered: u64,
    pub accepted: u64,
    pub delivered: u64,
    pub refused: u64,
    /// By [`DropReason`], in the order of `DropReason::ALL`.
    pub dropped: [u64; DropReason::ALL.len()],
    /// Bytes of what was accepted, in memory.
    pub accepted_bytes: u64,
    /// Bytes of blocks written, and the records in them.
    pub stored_bytes: u64,
    pub stored: u64,
}

/// Why a record was not accepted; the claim comes back.
#[derive(Debug)]
pub enum Refusal<T> {
    Full(T),
}

/// The record that is to be sent next.
#[derive(Debug)]
pub struct Next<'a, R> {
    /// Names the record until it is settled.
    pub token: u64,
    pub placed: &'a Placed<R>,
    pub bytes: usize,
    /// It had to wait on disk.
    pub replay: bool,
    /// When it was accepted, or read back from disk.
    pub arrived: Instant,
}
