//! One lane in memory: its front, what was read ahead from disk, and its window.
//!
//! ```text
//!    window (in flight) │ ahead (read from disk) │ on disk only ... │ front (newest)
//!    ───────────────────┴────────────────────────┴──────────────────┴───────────────▶ sequence
//! ```
//!
//! In an ordered lane records are handed out strictly from left to right. In a live-first lane the
//! front goes first and the rest behind it.

mod drops;

mod promptness;

mod retry;

mod room;

mod storage;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

pub(crate) use drops::UNREPORTED_MAX;
use promptness::Promptness;

use crate::block::Placed;
use crate::cbor;
use crate::ranges::Ranges;
use crate::settings::{Counts, DropReason, Dropped, LaneSettings, Next, Order, Refusal};
use crate::values::LaneOpened;
use crate::window::{Entry, Flight, Window};
use crate::{Claim, Kept, LaneId, Record, WhenFull};

/// What a record takes in memory besides its encoded length, roughly.
const ENTRY_BYTES: usize = 96;

/// Bytes of the record as it is stored. One that cannot be encoded can be kept by nobody, so it counts as endless.
fn encoded_length<R: Record>(record: &R) -> usize {
    cbor::packed_len(record).unwrap_or(usize::MAX)
}

pub(crate) struct Lane<R, T> {
    pub(crate) settings: LaneSettings,
    epoch: u32,
    next: u64,
    /// Accepted, and neither delivered nor dropped.
    waiting: Ranges,
    front: VecDeque<Entry<R, T>>,
    ahead: VecDeque<Entry<R, T>>,
    window: Window<R, T>,
    /// Bytes in `front`, `ahead` and `window`, and in `ahead` alone.
    memory: usize,
    ahead_bytes: usize,
    /// Everything before it that is in memory is on disk too, unless it is done.
    stored_to: u64,
    /// Where the next read begins; what waits before it is in memory or deferred.
    cursor: u64,
    /// The smallest deferred sequence.
    deferred_from: Option<u64>,
    /// Deferred records are to be tried again as soon as nothing is in flight.
    retrying: bool,
    reading: bool,
    /// The last read failed: the next one is not begun before then.
    read_again: Option<Instant>,
    /// In memory, and no longer on disk.
    unbacked: BTreeMap<DropReason, Ranges>,
    on_disk: u64,
    pub(crate) retry_at: Option<Instant>,
    /// Sources wait for receipts of records before this sequence, or did.
    awaited_to: u64,
    /// Bytes of room in memory that a source waits for: until there are so many, the next commit is due at once.
    wanted: usize,
    /// The next sequence when the front was coalesced last.
    coalesced_at: u64,
    /// Records of the window that are done, and still in `waiting`.
    done: u64,
    promptness: Promptness,
    /// Waiting changed since the last mark.
    pub(crate) moved: bool,
    pub(crate) counts: Counts,
    pub(crate) drops: Vec<Dropped>,
    /// Handed out to be reported, with the report's place in its lane once there is one.
    pub(crate) telling: Vec<(Dropped, Option<(LaneId, u64)>)>,
    /// When nothing before it waits any more, a mark gives room back on disk.
    frees_at: u64,
    oldest_on_disk: Option<Instant>,
    /// The marks allow for sequences before this one, if there are marks.
    reserved: Option<u64>,
}

impl<R: Record, T: Claim> Lane<R, T> {
    pub(crate) fn new(settings: LaneSettings, epoch: u32, opened: LaneOpened) -> Self {
        let lost: u64 = opened.lost.iter().map(|(_, ranges)| ranges.len()).sum();
        let mut lane = Lane {
            settings,
            epoch,
            next: opened.next,
            cursor: opened.waiting.first_from(0).unwrap_or(opened.next),
            counts: Counts {
                recovered: opened.waiting.len() + lost,
                ..Counts::default()
            },
            waiting: opened.waiting,
            front: VecDeque::new(),
            ahead: VecDeque::new(),
            window: Window::new(),
            memory: 0,
            ahead_bytes: 0,
            stored_to: opened.next,
            deferred_from: None,
            retrying: false,
            reading: false,
            read_again: None,
            unbacked: BTreeMap::new(),
            on_disk: opened.bytes,
            retry_at: None,
            awaited_to: 0,
            wanted: 0,
            coalesced_at: 0,
            done: 0,
            promptness: Promptness::default(),
            moved: true,
            drops: opened.unreported,
            telling: Vec::new(),
            frees_at: u64::MAX,
            oldest_on_disk: opened.oldest,
            reserved: opened.reserved,
        };
        for (reason, ranges) in &opened.lost {
            lane.note_drop(*reason, ranges);
        }
        lane
    }

    /// Takes a record, or gives the claim back when the lane's policy is to refuse it.
    pub(crate) fn append(&mut self, record: R, claim: T, now: Instant) -> Result<(), Refusal<T>> {
        let encoded = encoded_length(&record);
        if encoded > self.record_max() {
            self.drop_too_large(&record, encoded, claim);
            return Ok(());
        }
        let bytes = encoded + record.surplus() + ENTRY_BYTES;
        self.evict(false, bytes);
        if self.held() + bytes > self.memory_limit() {
            self.make_room_in_memory(bytes);
        }
        let full = || {
            // One record is always taken, however small the lane's memory is.
            let held = self.held();
            (held > 0 && held + bytes > self.memory_limit())
                || self.disk_need(bytes) > self.settings.budget
        };
        match self.settings.when_full {
            WhenFull::Refuse if full() => {
                self.counts.refused += 1;
                return Err(Refusal::Full(claim));
            }
            WhenFull::DropNewest if full() => {
                self.drop_newest(claim);
                return Ok(());
            }
            WhenFull::Refuse
            | WhenFull::DropOldest
            | WhenFull::DropNewest
            | WhenFull::CoalesceLatest => {}
        }
        let placed = Placed {
            sequence: self.next,
            epoch: self.epoch,
            record,
        };
        self.waiting.insert(self.next..self.next + 1);
        self.next += 1;
        if claim.is_awaited() {
            self.awaited_to = self.next;
        }
        self.counts.accepted += 1;
        self.counts.accepted_bytes += bytes as u64;
        self.memory += bytes;
        self.front.push_back(Entry {
            placed,
            claim: Some(claim),
            bytes,
            arrived: now,
            replay: false,
        });
        Ok(())
    }

    /// Bytes in memory that are not in flight: those are bounded by the connection.
    pub(crate) fn held(&self) -> usize {
        self.memory - self.window.bytes()
    }

    /// The next record to send, if it is in memory.
    pub(crate) fn peek(&self) -> Option<Next<'_, R>> {
        let (entry, _) = self.head()?;
        let Entry {
            placed,
            bytes,
            replay,
            arrived,
            ..
        } = entry;
        Some(Next {
            token: self.window.next_token(),
            placed,
            bytes: *bytes,
            replay: *replay,
            arrived: *arrived,
        })
    }

    fn head(&self) -> Option<(&Entry<R, T>, bool)> {
        if self.retrying {
            return None;
        }
        let front = || self.front.front().map(|entry| (entry, true));
        let ahead = || self.ahead.front().map(|entry| (entry, false));
        match self.settings.order {
            Order::LiveFirst => front().or_else(ahead),
            Order::InOrder => ahead().or_else(|| {
                if self.unread().is_some() {
                    None
                } else {
                    front()
                }
            }),
        }
    }

    /// The record that [`Lane::peek`] showed has been handed over.
    pub(crate) fn hand_over(&mut self, now: Instant) {
        let Some((_, from_front)) = self.head() else {
            return;
        };
        self.promptness.handed_over(self.window.next_token(), now);
        let entry = if from_front {
            let caught_up = self.unread().is_none();
            let entry = self.front.pop_front();
            if caught_up {
                self.cursor = entry
                    .as_ref()
                    .map_or(self.cursor, |entry| entry.placed.sequence + 1)
                    .max(self.cursor);
            }
            entry
        } else {
            let entry = self.ahead.pop_front();
            self.ahead_bytes -= entry.as_ref().map_or(0, |entry| entry.bytes);
            entry
        };
        if let Some(entry) = entry {
            self.window.push(entry);
        }
    }

    /// The first waiting sequence that is on disk only.
    fn unread(&self) -> Option<u64> {
        let front = self
            .front
            .front()
            .map_or(self.next, |entry| entry.placed.sequence);
        if self.cursor >= front {
            return None;
        }
        self.waiting
            .first_from(self.cursor)
            .filter(|sequence| *sequence < front)
    }

    pub(crate) fn delivered(&mut self, token: u64, now: Instant) {
        let Some(entry) = self.window.land(token, Flight::Done) else {
            return;
        };
        self.done += 1;
        self.promptness.delivered(token, now);
        self.counts.delivered += 1;
        if let Some(claim) = entry.claim.take() {
            claim.resolve(Kept::Delivered);
        }
    }

    /// What was handed over is dropped. Returns the record, which may be set aside.
    pub(crate) fn give_up(&mut self, token: u64, why: DropReason) -> Option<Placed<R>> {
        let entry = self.window.land(token, Flight::Done)?;
        self.done += 1;
        let placed = entry.placed.clone();
        if let Some(claim) = entry.claim.take() {
            claim.resolve(Kept::Dropped);
        }
        let sequence = placed.sequence;
        let one = std::iter::once(sequence..sequence + 1).collect();
        self.note_drop(why, &one);
        Some(placed)
    }

    /// Lets go of what is done at the front of the window.
    pub(crate) fn settle(&mut self) {
        let mut run = 0..0;
        while let Some((entry, flight)) = self.window.settle(self.stored_to, self.settings.keeps) {
            let sequence = entry.placed.sequence;
            self.memory -= entry.bytes;
            self.done -= u64::from(flight == Flight::Done);
            if flight == Flight::Deferred {
                self.deferred_from = Some(
                    self.deferred_from
                        .map_or(sequence, |from| from.min(sequence)),
                );
            } else if run.end == sequence {
                run.end += 1;
            } else {
                self.waiting.remove(run);
                run = sequence..sequence + 1;
            }
            self.moved = true;
        }
        self.waiting.remove(run);
        self.retry_once_landed();
    }

    fn forget(&mut self, entry: &Entry<R, T>) {
        self.memory -= entry.bytes;
        self.done -= 1;
        self.waiting
            .remove(entry.placed.sequence..entry.placed.sequence + 1);
        self.moved = true;
    }

    pub(crate) fn set_on_disk(&mut self, bytes: u64) {
        self.on_disk = bytes;
    }

    /// The sequence after the last.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// The sequence that was given out last.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Whether the record is here, and would be gone after a crash.
    pub(crate) fn is_only_in_memory(&self, sequence: u64) -> bool {
        sequence >= self.stored_to && self.waiting.contains(sequence)
    }

    pub(crate) fn on_disk(&self) -> u64 {
        self.on_disk
    }

    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() - self.done
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    pub(crate) fn sent(&self, token: u64) -> Option<&Placed<R>> {
        self.window.sent(token).map(|entry| &entry.placed)
    }

    pub(crate) fn next_token(&self) -> u64 {
        self.window.next_token()
    }
}
