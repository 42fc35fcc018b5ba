//! What a lane asks of the disk, and what it makes of the answers.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Lane;
use super::promptness::PATIENCE;
use crate::block::Placed;
use crate::lanes::Pace;
use crate::marks::{LaneMark, runs_out};
use crate::ranges::Ranges;
use crate::settings::{DropReason, Order};
use crate::values::{Cleared, LaneOnDisk, ReadBack, Written};
use crate::window::Entry;
use crate::{Claim, Kept, Record};

/// Records in one write of a lane, so that a commit takes a bounded time and memory.
const WRITE_RECORDS_MAX: usize = 4096;
/// The shortest interval of commits while the flash is spared.
const SPARED: Duration = Duration::from_millis(500);
/// Bytes read ahead of the window: a large request, so that the disk reads while the wire is busy. One block is always read, also
/// if it is a record that is larger.
const AHEAD_BYTES: usize = 256 * 1024;

impl<R: Record, T: Claim> Lane<R, T> {
    /// When the lane must be written; `None` when all of it is stored or delivered.
    pub(crate) fn due(&self, pace: &Pace) -> Option<Instant> {
        let unstored = self.first_unstored()?;
        let (oldest, awaited) = (unstored.arrived, unstored.placed.sequence < self.awaited_to);
        let prompt = self.is_prompt(pace.outage);
        let is_short =
            self.held() > self.enough(prompt) || self.held() + self.wanted > self.memory_limit();
        if is_short || self.window.has_deferred() {
            return Some(oldest.max(self.retry_at.unwrap_or(oldest)));
        }
        let mut wait = self.settings.persist_after;
        if pace.outage {
            wait = wait.min(self.settings.commit_every);
        }
        if awaited {
            // What comes while the disk is busy gathers for its next commit.
            wait = wait.min(if prompt { PATIENCE } else { Duration::ZERO });
        }
        if self.settings.bulk && pace.spare > 1.0 {
            wait = wait.max(SPARED).mul_f64(pace.spare);
        }
        let due = oldest + wait;
        Some(self.retry_at.map_or(due, |retry| due.max(retry)))
    }

    fn is_prompt(&self, outage: bool) -> bool {
        let waiting = self.waiting() - self.in_flight() as u64;
        !outage && self.promptness.is_prompt(waiting)
    }

    /// Bytes that the lane holds without asking the disk for room. What a prompt cluster is about to take is not worth a write and
    /// a read: the receipts of that write would let its source fill the memory again, for as long as the load lasts.
    fn enough(&self, prompt: bool) -> usize {
        if prompt {
            self.memory_limit()
        } else {
            self.settings.memory
        }
    }

    pub(crate) fn oldest_unstored(&self) -> Option<Instant> {
        self.first_unstored().map(|entry| entry.arrived)
    }

    /// Whether a source waits for the receipt of something that is not stored.
    pub(crate) fn is_awaited(&self) -> bool {
        let first = self.first_unstored();
        first.is_some_and(|entry| entry.placed.sequence < self.awaited_to)
    }

    /// Sources have said that they wait: those of what is here, or, with `all`, of anything.
    pub(crate) fn urge(&mut self, all: bool) {
        let is_awaited = |entry: &Entry<R, T>| entry.claim.as_ref().is_some_and(Claim::is_awaited);
        let unstored = || self.unstored_sent().chain(self.unstored_front());
        if all || unstored().any(is_awaited) {
            self.awaited_to = self.next;
        }
    }

    /// Nothing before this is to linger.
    pub(crate) fn awaited_to(&self) -> u64 {
        self.awaited_to
    }

    fn first_unstored(&self) -> Option<&Entry<R, T>> {
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
                .to_store(self.settings.keeps)
                .find(|entry| entry.placed.sequence >= self.stored_to),
        };
        let in_ahead = || {
            self.ahead
                .iter()
                .find(|entry| entry.placed.sequence >= self.stored_to)
        };
        in_window
            .or_else(in_ahead)
            .or_else(|| self.unstored_front().next())
    }

    /// What is not stored yet of what was handed over once.
    fn unstored_sent(&self) -> impl Iterator<Item = &Entry<R, T>> {
        let is_fresh = |entry: &&Entry<R, T>| entry.placed.sequence >= self.stored_to;
        let window = self.window.to_store(self.settings.keeps);
        window.chain(self.ahead.iter()).filter(is_fresh)
    }

    /// And of the rest, in order.
    fn unstored_front(&self) -> impl Iterator<Item = &Entry<R, T>> {
        let is_stored = |entry: &Entry<R, T>| entry.placed.sequence < self.stored_to;
        self.front.range(self.front.partition_point(is_stored)..)
    }

    /// A source waited for receipts, and the disk has to give them.
    pub(crate) fn missed(&mut self) {
        self.promptness.missed();
    }

    /// What is not stored yet, in order.
    pub(crate) fn unstored(&self) -> Vec<Placed<R>> {
        let mut sent: Vec<&Entry<R, T>> = self.unstored_sent().collect();
        sent.sort_by_key(|entry| entry.placed.sequence);
        let limit = self.write_limit();
        let mut bytes = 0;
        sent.into_iter()
            .chain(self.unstored_front())
            .take(WRITE_RECORDS_MAX)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.bytes as u64 <= limit;
                bytes += entry.bytes as u64;
                fits
            })
            .map(|entry| entry.placed.clone())
            .collect()
    }

    /// What is in memory only and not delivered, in order.
    pub(crate) fn into_unstored(mut self) -> Vec<R> {
        self.take_back();
        let held = self.ahead.into_iter().chain(self.front);
        let mut records: Vec<Placed<R>> = held
            .map(|entry| entry.placed)
            .filter(|placed| placed.sequence >= self.stored_to)
            .collect();
        records.sort_by_key(|placed| placed.sequence);
        records.into_iter().map(|placed| placed.record).collect()
    }

    pub(crate) fn written(&mut self, written: &Written, retry_at: Instant, outage: bool) {
        self.on_disk = written.bytes;
        self.wanted = 0;
        if written.outcome.is_ok() {
            self.counts.stored_bytes += written.stored_bytes;
            self.counts.stored += written.stored;
        }
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
                if let Some(claim) = entry.claim.take() {
                    claim.resolve(Kept::Stored);
                }
            }
            self.moved = true;
            self.settle();
        }
        self.evict(outage, 0);
    }

    /// Gives memory back that the disk can stand in for, until there are `room` bytes left. Without that, what is stored
    /// would make each record that comes due at once.
    pub(super) fn evict(&mut self, outage: bool, room: usize) {
        let all = outage && self.settings.order == Order::LiveFirst;
        let enough = self.enough(room == 0 && self.is_prompt(outage));
        while (all || self.held() + room > enough)
            && let Some(entry) = self
                .front
                .pop_front_if(|entry| entry.placed.sequence < self.stored_to)
        {
            self.memory -= entry.bytes;
        }
    }

    pub(crate) fn cleared(&mut self, cleared: &Cleared) {
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
        dropped.remove_all(&cleared.kept);
        let held = dropped.common(&in_flight);
        dropped.remove_all(&held);
        self.note_unbacked(cleared.reason, &held);
        self.drop_waiting(cleared.reason, &dropped);
    }

    /// `held` is in memory, and no longer on disk: if it has to be read again, this is why it is not there.
    fn note_unbacked(&mut self, reason: DropReason, held: &Ranges) {
        let waiting = &self.waiting;
        for noted in self.unbacked.values_mut() {
            *noted = noted.common(waiting);
        }
        self.unbacked.retain(|_, noted| !noted.is_empty());
        if !held.is_empty() {
            let noted = self.unbacked.entry(reason).or_default();
            held.iter().for_each(|run| noted.insert(run));
        }
    }

    /// What is in the window, also if it is done, or read ahead.
    fn in_memory(&self) -> Ranges {
        let held = self.window.to_store(true).chain(self.ahead.iter());
        let mut sequences: Vec<u64> = held.map(|entry| entry.placed.sequence).collect();
        sequences.sort_unstable();
        sequences
            .into_iter()
            .map(|sequence| sequence..sequence + 1)
            .collect()
    }

    /// Where to read on, if there is room and something to read. The caller must do it.
    pub(crate) fn begin_read(&mut self, now: Instant) -> Option<Range<u64>> {
        let from = self.wants_to_read()?;
        if self.read_again.is_some_and(|at| at > now) {
            return None;
        }
        self.read_again = None;
        let front = self
            .front
            .front()
            .map_or(self.next, |entry| entry.placed.sequence);
        self.reading = true;
        Some(from..front)
    }

    /// Where a read would begin, if there is room for what it gives.
    fn wants_to_read(&self) -> Option<u64> {
        if self.reading || self.ahead_bytes >= AHEAD_BYTES {
            return None;
        }
        self.unread()
    }

    /// When [`Lane::begin_read`] is to be called for a read that failed before.
    pub(crate) fn read_due(&self) -> Option<Instant> {
        self.read_again.filter(|_| self.wants_to_read().is_some())
    }

    pub(crate) fn read_failed(&mut self, again: Instant) {
        self.reading = false;
        self.read_again = Some(again);
    }

    pub(crate) fn read_back(&mut self, back: ReadBack<R>, now: Instant) {
        self.reading = false;
        if back.covers.start < self.cursor {
            return; // asked before the cursor moved on; what it covers is in memory
        }
        let mut missing: Ranges = self.waiting.within(back.covers.clone()).collect();
        missing.remove_all(&self.in_memory());
        for placed in back.records {
            if missing.remove(placed.sequence..placed.sequence + 1) == 0 {
                continue;
            }
            let encoded = super::encoded_length(&placed.record);
            let bytes = encoded + placed.record.surplus() + super::ENTRY_BYTES;
            self.memory += bytes;
            self.ahead_bytes += bytes;
            self.ahead.push_back(Entry {
                placed,
                claim: None,
                bytes,
                arrived: now,
                replay: true,
            });
        }
        self.cursor = back.covers.end.max(self.cursor);
        for (reason, noted) in std::mem::take(&mut self.unbacked) {
            let dropped = missing.common(&noted);
            missing.remove_all(&dropped);
            self.drop_waiting(reason, &dropped);
            self.note_unbacked(reason, &noted);
        }
        self.drop_waiting(DropReason::Damage, &missing);
    }

    pub(crate) fn set_marked(&mut self, on_disk: &LaneOnDisk) {
        self.frees_at = on_disk.frees_at;
        self.reserved = self.reserved.map(|_| on_disk.reserved);
        self.oldest_on_disk = on_disk.oldest;
    }

    pub(crate) fn oldest(&self) -> Option<Instant> {
        let held = [
            self.window.open().next(),
            self.ahead.front(),
            self.front.front(),
        ];
        let held = held.into_iter().flatten().map(|entry| entry.arrived);
        let waits = self.waiting() > 0;
        held.chain(self.oldest_on_disk).min().filter(|_| waits)
    }

    /// A mark would give room back on disk.
    pub(crate) fn gives_back(&self) -> bool {
        let first = self.waiting.first_from(0).unwrap_or(self.next);
        !self.settings.keeps && first >= self.frees_at
    }

    /// The marks are to allow for more sequences.
    pub(crate) fn wants_numbers(&self) -> bool {
        self.reserved
            .is_some_and(|reserved| runs_out(self.next, reserved))
    }

    pub(crate) fn mark(&self) -> LaneMark {
        LaneMark {
            stored_to: self.stored_to,
            waiting: self.waiting.within(0..self.stored_to).collect(),
            next: self.next,
            ends: false,
            unreported: self.unreported(),
        }
    }
}
