//! What is remembered of a lane: where its readers stand, which sequences are given out, what was dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::generation::Generation;
use crate::ranges::Ranges;
use crate::settings::{DropReason, Dropped};

/// The one reader there is so far.
pub(super) const UPLINK: &str = "uplink";
/// Sequences of a lane that the marks allow for in advance, so that none is given out twice and none costs a write. The
/// allowance is renewed when half of it is used, with seconds to go at the highest rate.
pub(crate) const RESERVE: u64 = 1 << 22;

/// What is remembered of a lane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LaneState {
    /// Where each reader stands, by its name. One that this version does not know is kept as it is, and nothing else is kept
    /// for it.
    #[serde(default)]
    pub(super) readers: BTreeMap<String, Cursor>,
    /// No sequence from here on was given out.
    #[serde(default)]
    pub(crate) reserved: u64,
    /// Formats 1 and 2 had one `stored_to` for all readers; format 1 had one reader.
    #[serde(default, skip_serializing)]
    pub(super) stored_to: u64,
    #[serde(default, skip_serializing)]
    pub(super) cursors: BTreeMap<String, Ranges>,
    #[serde(default, skip_serializing)]
    pub(super) waiting: Option<Ranges>,
    /// What was deleted by policy since the cursors were written.
    #[serde(default)]
    pub(crate) cleared: Vec<(u64, u64, DropReason)>,
    /// Drops that the health lane has not yet got for good.
    #[serde(default)]
    pub(crate) unreported: Vec<Dropped>,
}

/// Where a reader stands in a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The first sequence that the cursor knows nothing of.
    pub(super) stored_to: u64,
    /// Of the sequences before it, those that the reader has still to read.
    pub(super) waiting: Ranges,
}

impl LaneState {
    fn uplink(&self) -> Option<&Cursor> {
        self.readers.get(UPLINK)
    }

    /// The first sequence that the uplink's cursor knows nothing of.
    pub(crate) fn stored_to(&self) -> u64 {
        self.uplink().map_or(0, |cursor| cursor.stored_to)
    }

    /// Of the sequences before that, those that the uplink has still to read.
    pub(crate) fn waiting(&self) -> Ranges {
        self.uplink()
            .map(|cursor| cursor.waiting.clone())
            .unwrap_or_default()
    }

    /// The uplink stands here now.
    pub(crate) fn stands(&mut self, stored_to: u64, waiting: Ranges) {
        let cursor = Cursor { stored_to, waiting };
        self.readers.insert(UPLINK.into(), cursor);
    }

    /// The uplink has still to read some of it, or the marks know nothing of some of it yet.
    pub(crate) fn needs(&self, generation: &Generation) -> bool {
        let unread = |cursor: &Cursor| cursor.waiting.within(generation.span()).next().is_some();
        generation.end() > self.stored_to() || self.uplink().is_some_and(unread)
    }

    /// After an orderly stop: nothing of it waits.
    pub(crate) fn is_delivered(&self) -> bool {
        let mut waiting = self.readers.values().map(|cursor| cursor.waiting.len());
        self.stored_to() > 0 && self.stored_to() == self.reserved && waiting.all(|len| len == 0)
    }

    /// Allows for the sequences after those that `mark` says were given out.
    pub(crate) fn reserve(&mut self, mark: &LaneMark) {
        if mark.ends {
            self.reserved = mark.next;
        } else if runs_out(mark.next, self.reserved) {
            self.reserved = mark.next + RESERVE;
        }
    }

    /// What formats 1 and 2 said, as format 3 says it.
    pub(super) fn upgrade(&mut self) {
        let mut cursors = std::mem::take(&mut self.cursors);
        if let Some(waiting) = self.waiting.take() {
            cursors.insert(UPLINK.into(), waiting);
        }
        let stored_to = self.stored_to;
        for (reader, waiting) in cursors {
            let cursor = Cursor { stored_to, waiting };
            self.readers.entry(reader).or_insert(cursor);
        }
    }
}

/// Whether so little is left of a reservation that it is to be renewed.
pub(crate) fn runs_out(next: u64, reserved: u64) -> bool {
    next + RESERVE / 2 > reserved
}

/// Where a lane stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneMark {
    /// The first sequence that the mark knows nothing of.
    pub stored_to: u64,
    /// Of the sequences before it, those neither delivered nor dropped.
    pub waiting: Ranges,
    /// The next sequence to be given out.
    pub next: u64,
    /// None is given out after this mark.
    pub ends: bool,
    /// Drops that the health lane has not yet got for good.
    pub unreported: Vec<Dropped>,
}
