//! One lane in memory: its front, what was read ahead from disk, and its window.
//!
//! ```text
//!    window (in flight) │ ahead (read from disk) │ on disk only ... │ front (newest)
//!    ───────────────────┴────────────────────────┴──────────────────┴───────────────▶ sequence
//! ```
//!
//! In an ordered lane records are handed out strictly from left to right. In a live-first lane the
//! front goes first and the rest behind it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::block::{Placed, RECORD_BYTES_MAX};
use crate::disk::{LaneOpened, ReadBack, Written};
use crate::marks::LaneMark;
use crate::ranges::Ranges;
use crate::tail::{Cleared, GENERATION_OVERHEAD};
use crate::window::{Entry, Flight, Window};
use crate::{Kept, Record, Ticket, WhenFull};

/// Records in one write of a lane, so that a commit takes a bounded time and memory.
const WRITE_RECORDS_MAX: usize = 4096;
/// A source that waits gets its receipts by delivery, if those come within this; else the disk is
/// faster, and worth a write.
const PROMPT: Duration = Duration::from_millis(50);
/// What a lane may hold beyond its memory while the disk takes what is there: a source has at most
/// its own window under way, and nothing of it is to be dropped for a commit of some milliseconds.
const BURST: usize = 2 * 1024 * 1024;
/// Bytes read ahead of the window: two blocks, so that the disk reads while the wire is busy.
const AHEAD_BYTES: usize = 128 * 1024;

/// Which records of a lane go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Strictly by sequence.
    InOrder,
    /// New ones first; what had to wait on disk follows.
    LiveFirst,
}

#[derive(Debug, Clone)]
pub struct LaneSettings {
    pub order: Order,
    pub when_full: WhenFull,
    /// How long a record may wait in memory for its delivery before it is written.
    pub persist_after: Duration,
    /// The same during an outage: the interval of group commits.
    pub commit_every: Duration,
    /// Bytes on disk.
    pub budget: u64,
    /// Bytes in memory; up to 2 MiB more while a write is under way.
    pub memory: usize,
}

/// Why records were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

impl DropReason {
    pub const ALL: [DropReason; 5] = [
        Self::Budget,
        Self::Coalesced,
        Self::Memory,
        Self::Damage,
        Self::Rejected,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Budget => "budget",
            DropReason::Coalesced => "coalesced",
            DropReason::Memory => "memory",
            DropReason::Damage => "damage",
            DropReason::Rejected => "rejected",
        }
    }
}

/// Records dropped at one time for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub reason: DropReason,
    pub first: u64,
    pub last: u64,
    pub count: u64,
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
    /// Bytes of blocks written.
    pub stored_bytes: u64,
}

/// Why a record was not accepted; the ticket comes back.
#[derive(Debug)]
pub enum Refusal<T> {
    Full(T),
    TooLarge(T),
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
    reading: bool,
    on_disk: u64,
    pub(crate) retry_at: Option<Instant>,
    /// How long the last delivery took, from being accepted.
    latency: Duration,
    /// Waiting changed since the last mark.
    pub(crate) moved: bool,
    pub(crate) counts: Counts,
    pub(crate) drops: Vec<Dropped>,
}

impl<R: Record, T: Ticket> Lane<R, T> {
    pub(crate) fn new(settings: LaneSettings, epoch: u32, opened: LaneOpened) -> Self {
        let mut lane = Lane {
            settings,
            epoch,
            next: opened.next,
            cursor: opened.waiting.first_from(0).unwrap_or(opened.next),
            counts: Counts {
                recovered: opened.waiting.len() + opened.lost.len(),
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
            reading: false,
            on_disk: opened.bytes,
            retry_at: None,
            latency: Duration::ZERO,
            moved: true,
            drops: Vec::new(),
        };
        lane.note_drop(DropReason::Damage, &opened.lost);
        lane
    }

    /// Takes a record, or gives the ticket back when the lane's policy is to refuse it.
    pub(crate) fn append(&mut self, record: R, ticket: T, now: Instant) -> Result<(), Refusal<T>> {
        let bytes = record.size();
        if bytes > RECORD_BYTES_MAX {
            self.counts.refused += 1;
            return Err(Refusal::TooLarge(ticket));
        }
        if self.memory + bytes > self.settings.memory + BURST {
            self.make_room_in_memory(bytes);
        }
        let refuses = self.settings.when_full == WhenFull::Refuse;
        let full = self.memory + bytes > self.settings.memory + BURST
            || self.disk_need(bytes) > self.settings.budget;
        if refuses && full {
            self.counts.refused += 1;
            return Err(Refusal::Full(ticket));
        }
        let placed = Placed {
            sequence: self.next,
            epoch: self.epoch,
            record,
        };
        self.waiting.insert(self.next..self.next + 1);
        self.next += 1;
        self.counts.accepted += 1;
        self.memory += bytes;
        self.front.push_back(Entry {
            placed,
            ticket: Some(ticket),
            bytes,
            arrived: now,
            replay: false,
        });
        Ok(())
    }

    /// What the disk would hold if all that is not stored were written, uncompressed.
    fn disk_need(&self, bytes: usize) -> u64 {
        self.on_disk + 2 * GENERATION_OVERHEAD + (self.unstored_bytes() + bytes) as u64
    }

    fn unstored_bytes(&self) -> usize {
        if self.next == self.stored_to {
            0
        } else {
            self.memory - self.ahead_bytes
        }
    }

    fn make_room_in_memory(&mut self, needed: usize) {
        let limit = (self.settings.memory + BURST).saturating_sub(needed);
        while self.memory > limit
            && let Some(entry) = self
                .front
                .pop_front_if(|entry| entry.placed.sequence < self.stored_to)
        {
            self.memory -= entry.bytes;
        }
        if self.settings.when_full == WhenFull::Refuse {
            return;
        }
        let mut dropped = Ranges::default();
        while self.memory > limit
            && let Some(entry) = self.front.pop_front()
        {
            self.memory -= entry.bytes;
            dropped.insert(entry.placed.sequence..entry.placed.sequence + 1);
            if let Some(ticket) = entry.ticket {
                ticket.resolve(Kept::Dropped);
            }
        }
        self.drop_waiting(DropReason::Memory, &dropped);
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
            self.window.push(entry, now);
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
        let Some((entry, flight)) = self.window.in_flight(token) else {
            return;
        };
        *flight = Flight::Done;
        self.latency = now.saturating_duration_since(entry.arrived);
        self.counts.delivered += 1;
        if let Some(ticket) = entry.ticket.take() {
            ticket.resolve(Kept::Delivered);
        }
    }

    /// The cluster will never take it. Returns the record, to be set aside.
    pub(crate) fn rejected(&mut self, token: u64) -> Option<Placed<R>> {
        let (entry, flight) = self.window.in_flight(token)?;
        *flight = Flight::Done;
        let placed = entry.placed.clone();
        if let Some(ticket) = entry.ticket.take() {
            ticket.resolve(Kept::Dropped);
        }
        let sequence = placed.sequence;
        self.note_drop(
            DropReason::Rejected,
            &std::iter::once(sequence..sequence + 1).collect(),
        );
        Some(placed)
    }

    /// It cannot be delivered for now: it makes way, and is read again after [`Lane::retry_deferred`].
    pub(crate) fn defer(&mut self, token: u64) {
        if let Some((_, flight)) = self.window.in_flight(token) {
            *flight = Flight::Deferred;
        }
    }

    pub(crate) fn retry_deferred(&mut self) {
        let stored = |entry: &Entry<R, T>| entry.placed.sequence < self.stored_to;
        if self.reading || !self.ahead.iter().all(stored) {
            return; // next time
        }
        if let Some(from) = self.deferred_from.take() {
            self.cursor = self.cursor.min(from);
            self.ahead
                .drain(..)
                .for_each(|entry| self.memory -= entry.bytes);
            self.ahead_bytes = 0;
        }
    }

    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred_from.is_some()
    }

    /// Everything in flight is to be sent again, in order.
    pub(crate) fn resend(&mut self) {
        self.settle();
        let sent: Vec<_> = self.window.take_all().collect();
        for (entry, flight) in sent.into_iter().rev() {
            match flight {
                Flight::Done => self.forget(&entry),
                Flight::Sent | Flight::Deferred => {
                    self.ahead_bytes += entry.bytes;
                    self.ahead.push_front(entry);
                }
            }
        }
    }

    /// Lets go of what is done at the front of the window.
    pub(crate) fn settle(&mut self) {
        let mut run = 0..0;
        while let Some((entry, flight)) = self.window.settle(self.stored_to) {
            let sequence = entry.placed.sequence;
            self.memory -= entry.bytes;
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
    }

    fn forget(&mut self, entry: &Entry<R, T>) {
        self.memory -= entry.bytes;
        self.waiting
            .remove(entry.placed.sequence..entry.placed.sequence + 1);
        self.moved = true;
    }

    /// When the lane must be written; `None` when all of it is stored or delivered.
    pub(crate) fn due(&self, outage: bool, urged: bool) -> Option<Instant> {
        let oldest = self.oldest_unstored()?;
        if self.memory > self.settings.memory || self.deferring() {
            return Some(oldest.max(self.retry_at.unwrap_or(oldest)));
        }
        let mut wait = self.settings.persist_after;
        if outage {
            wait = wait.min(self.settings.commit_every);
        }
        if urged {
            let prompt = !outage && self.latency < PROMPT;
            wait = wait.min(if prompt { PROMPT } else { Duration::ZERO });
        }
        let due = oldest + wait;
        Some(self.retry_at.map_or(due, |retry| due.max(retry)))
    }

    fn deferring(&self) -> bool {
        self.has_deferred() && self.window.len() > 0
    }

    pub(crate) fn oldest_unstored(&self) -> Option<Instant> {
        if self.stored_to == self.next {
            return None;
        }
        let in_window = match self.settings.order {
            Order::InOrder
                if self
                    .window
                    .last_sequence()
                    .is_none_or(|last| last < self.stored_to) =>
            {
                None
            }
            Order::InOrder | Order::LiveFirst => self
                .window
                .open()
                .find(|entry| entry.placed.sequence >= self.stored_to),
        };
        let in_front = self
            .front
            .partition_point(|entry| entry.placed.sequence < self.stored_to);
        let in_ahead = || {
            self.ahead
                .iter()
                .find(|entry| entry.placed.sequence >= self.stored_to)
        };
        in_window
            .or_else(in_ahead)
            .or_else(|| self.front.get(in_front))
            .map(|entry| entry.arrived)
    }

    /// What is not stored yet, in order.
    pub(crate) fn unstored(&self) -> Vec<Placed<R>> {
        let fresh = |entry: &&Entry<R, T>| entry.placed.sequence >= self.stored_to;
        let in_front = self
            .front
            .partition_point(|entry| entry.placed.sequence < self.stored_to);
        let sent = self.window.open().chain(self.ahead.iter()).filter(fresh);
        let mut records: Vec<Placed<R>> = sent.map(|entry| entry.placed.clone()).collect();
        records.sort_by_key(|placed| placed.sequence);
        let room = WRITE_RECORDS_MAX.saturating_sub(records.len());
        records.extend(
            self.front
                .range(in_front..)
                .take(room)
                .map(|entry| entry.placed.clone()),
        );
        records
    }

    pub(crate) fn written(&mut self, written: &Written, retry_at: Instant, outage: bool) {
        self.on_disk = written.bytes;
        self.counts.stored_bytes += if written.outcome.is_ok() {
            written.stored_bytes
        } else {
            0
        };
        written
            .cleared
            .iter()
            .for_each(|cleared| self.cleared(cleared));
        self.retry_at = written.outcome.is_err().then_some(retry_at);
        if written.outcome.is_ok() {
            let from = self
                .front
                .partition_point(|entry| entry.placed.sequence < self.stored_to);
            self.stored_to = self.stored_to.max(written.end);
            let stored_to = self.stored_to;
            let held = self
                .window
                .open_mut()
                .chain(&mut self.ahead)
                .chain(self.front.range_mut(from..));
            for entry in held.filter(|entry| entry.placed.sequence < stored_to) {
                if let Some(ticket) = entry.ticket.take() {
                    ticket.resolve(Kept::Stored);
                }
            }
            self.moved = true;
            self.settle();
        }
        self.evict(outage);
    }

    /// Gives memory back that the disk can stand in for.
    fn evict(&mut self, outage: bool) {
        let all = outage && self.settings.order == Order::LiveFirst;
        while (all || self.memory > self.settings.memory)
            && let Some(entry) = self
                .front
                .pop_front_if(|entry| entry.placed.sequence < self.stored_to)
        {
            self.memory -= entry.bytes;
        }
    }

    fn cleared(&mut self, cleared: &Cleared) {
        let in_flight = self.in_memory();
        let gone = |entry: &Entry<R, T>| {
            cleared.sequences.contains(&entry.placed.sequence)
                && !cleared.kept.contains(entry.placed.sequence)
        };
        let mut freed = 0;
        self.front.retain(|entry| {
            let gone = gone(entry);
            freed += if gone { entry.bytes } else { 0 };
            !gone
        });
        self.memory -= freed;
        let mut dropped: Ranges = self.waiting.within(cleared.sequences.clone()).collect();
        for kept in cleared.kept.iter().chain(in_flight.iter()) {
            dropped.remove(kept);
        }
        let reason = if cleared.coalesced {
            DropReason::Coalesced
        } else {
            DropReason::Budget
        };
        self.drop_waiting(reason, &dropped);
    }

    /// What is in the window or read ahead.
    fn in_memory(&self) -> Ranges {
        let held = self.window.open().chain(self.ahead.iter());
        let mut sequences: Vec<u64> = held.map(|entry| entry.placed.sequence).collect();
        sequences.sort_unstable();
        sequences
            .into_iter()
            .map(|sequence| sequence..sequence + 1)
            .collect()
    }

    fn drop_waiting(&mut self, reason: DropReason, sequences: &Ranges) {
        for run in sequences.iter() {
            self.waiting.remove(run);
        }
        self.note_drop(reason, sequences);
    }

    fn note_drop(&mut self, reason: DropReason, sequences: &Ranges) {
        let (Some(first), Some(last)) = (sequences.first_from(0), sequences.iter().last()) else {
            return;
        };
        let slot = DropReason::ALL.iter().position(|known| *known == reason);
        if let Some(count) = slot.and_then(|slot| self.counts.dropped.get_mut(slot)) {
            *count += sequences.len();
        }
        self.moved = true;
        match self.drops.last_mut() {
            Some(noted) if noted.reason == reason && noted.last < first => {
                noted.last = last.end - 1;
                noted.count += sequences.len();
            }
            _ => self.drops.push(Dropped {
                reason,
                first,
                last: last.end - 1,
                count: sequences.len(),
            }),
        }
    }

    /// Where to read on, if there is room and something to read. The caller must do it.
    pub(crate) fn begin_read(&mut self) -> Option<std::ops::Range<u64>> {
        if self.reading || self.ahead_bytes >= AHEAD_BYTES {
            return None;
        }
        let from = self.unread()?;
        let front = self
            .front
            .front()
            .map_or(self.next, |entry| entry.placed.sequence);
        self.reading = true;
        Some(from..front)
    }

    pub(crate) fn read_failed(&mut self) {
        self.reading = false;
    }

    pub(crate) fn read_back(&mut self, back: ReadBack<R>, now: Instant) {
        self.reading = false;
        if back.covers.start < self.cursor {
            return; // asked before the cursor moved on; what it covers is in memory
        }
        let mut missing: Ranges = self.waiting.within(back.covers.clone()).collect();
        self.in_memory().iter().for_each(|held| {
            missing.remove(held);
        });
        for placed in back.records {
            if missing.remove(placed.sequence..placed.sequence + 1) == 0 {
                continue;
            }
            let bytes = placed.record.size();
            self.memory += bytes;
            self.ahead_bytes += bytes;
            self.ahead.push_back(Entry {
                placed,
                ticket: None,
                bytes,
                arrived: now,
                replay: true,
            });
        }
        self.cursor = back.covers.end.max(self.cursor);
        self.drop_waiting(DropReason::Damage, &missing);
    }

    pub(crate) fn mark(&self) -> LaneMark {
        LaneMark {
            stored_to: self.stored_to,
            waiting: self.waiting.within(0..self.stored_to).collect(),
        }
    }

    pub(crate) fn set_on_disk(&mut self, bytes: u64) {
        self.on_disk = bytes;
    }

    pub(crate) fn on_disk(&self) -> u64 {
        self.on_disk
    }

    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// When the oldest record in flight was handed over.
    pub(crate) fn in_flight_since(&self) -> Option<Instant> {
        self.window.oldest()
    }

    /// When the oldest record in memory arrived.
    pub(crate) fn oldest_in_memory(&self) -> Option<Instant> {
        let held = [
            self.window.open().next(),
            self.ahead.front(),
            self.front.front(),
        ];
        held.into_iter().flatten().map(|entry| entry.arrived).min()
    }
}
