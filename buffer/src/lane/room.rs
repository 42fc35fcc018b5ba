//! What a lane does not take when it is full, and what it lets go of when its memory is: first what the disk has
//! too, then by its policy.

use std::collections::HashSet;

use super::{ENTRY_BYTES, Lane, encoded_length};
use crate::disk::room::with_overhead;
use crate::ranges::Ranges;
use crate::settings::DropReason;
use crate::tail::{GENERATION_OVERHEAD, generation_bytes};
use crate::values::WRITE_BYTES_MAX;
use crate::{Claim, Kept, Record, WhenFull};

impl<R: Record, T: Claim> Lane<R, T> {
    /// As [`Lane::must_wait`], the bytes that are to be waited for. The length of a record is looked at only near the limit.
    pub(crate) fn must_wait_with(&mut self, record: &R) -> Option<usize> {
        let most = self.record_max();
        let surplus = record.surplus();
        if self.held() + most + surplus + ENTRY_BYTES <= self.memory_limit() {
            return None;
        }
        let encoded = encoded_length(record);
        // A larger one is dropped at once, and one is always taken.
        let bytes =
            (encoded <= most && self.held() > 0).then(|| encoded + surplus + ENTRY_BYTES)?;
        self.must_wait(bytes).then_some(bytes)
    }

    /// Whether a record that can wait has to: it has no room in memory, and the disk is about to make some. That it does is
    /// certain enough: something is to be written, and the last write did not fail. A lane that drops its oldest makes room on
    /// disk as well; any other waits only where the next write fits into its budget. The write is due at once.
    pub(crate) fn must_wait(&mut self, bytes: usize) -> bool {
        self.evict(false, bytes);
        let waits = self.held() + bytes > self.memory_limit()
            && self.retry_at.is_none()
            && self.disk_takes_more()
            && self.oldest_unstored().is_some();
        if waits {
            self.wanted = self.wanted.max(bytes);
        }
        waits
    }

    fn disk_takes_more(&self) -> bool {
        match self.settings.when_full {
            WhenFull::DropOldest | WhenFull::CoalesceLatest => true,
            WhenFull::Refuse | WhenFull::DropNewest => {
                let most = self.write_limit();
                let next = (self.unstored_bytes() as u64).min(most);
                self.on_disk + GENERATION_OVERHEAD + with_overhead(next) <= self.settings.budget
            }
        }
    }

    /// Bytes of records in one write.
    pub(super) fn write_limit(&self) -> u64 {
        generation_bytes(self.settings.budget).min(WRITE_BYTES_MAX)
    }

    pub(super) fn memory_limit(&self) -> usize {
        self.settings.memory + self.settings.burst
    }

    /// What the disk would hold if all that is not stored were written, uncompressed.
    pub(super) fn disk_need(&self, bytes: usize) -> u64 {
        self.on_disk + GENERATION_OVERHEAD + with_overhead((self.unstored_bytes() + bytes) as u64)
    }

    fn unstored_bytes(&self) -> usize {
        if self.next == self.stored_to {
            0
        } else {
            self.memory - self.ahead_bytes
        }
    }

    pub(super) fn make_room_in_memory(&mut self, needed: usize) {
        let limit = self.memory_limit().saturating_sub(needed);
        while self.held() > limit
            && let Some(entry) = self
                .front
                .pop_front_if(|entry| entry.placed.sequence < self.stored_to)
        {
            self.memory -= entry.bytes;
        }
        match self.settings.when_full {
            WhenFull::Refuse | WhenFull::DropNewest => return,
            WhenFull::CoalesceLatest => self.coalesce_front(),
            WhenFull::DropOldest => {}
        }
        let mut dropped = Ranges::default();
        while self.held() > limit
            && let Some(entry) = self.front.pop_front()
        {
            self.memory -= entry.bytes;
            dropped.insert(entry.placed.sequence..entry.placed.sequence + 1);
            if let Some(claim) = entry.claim {
                claim.resolve(Kept::Dropped);
            }
        }
        self.drop_waiting(DropReason::Memory, &dropped);
    }

    /// Drops what is in the front and has a newer record of its key behind it.
    fn coalesce_front(&mut self) {
        // Each scan is paid for by as many records that came since the last.
        if self.next < self.coalesced_at + self.front.len() as u64 / 2 {
            return;
        }
        self.coalesced_at = self.next;
        let mut seen = HashSet::new();
        let mut superseded = Vec::new();
        for entry in self.front.iter().rev() {
            if !seen.insert(entry.placed.record.key()) {
                superseded.push(entry.placed.sequence);
            }
        }
        superseded.reverse();
        let dropped = superseded.into_iter().map(|number| number..number + 1);
        let dropped: Ranges = dropped.collect();
        self.front.retain_mut(|entry| {
            let stays = !dropped.contains(entry.placed.sequence);
            if !stays {
                self.memory -= entry.bytes;
                if let Some(claim) = entry.claim.take() {
                    claim.resolve(Kept::Dropped);
                }
            }
            stays
        });
        self.drop_waiting(DropReason::Coalesced, &dropped);
    }
}
