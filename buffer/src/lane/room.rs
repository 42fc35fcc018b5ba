//! What a lane does not take when it is full, and what it lets go of when its memory is: first what the disk has
//! too, then by its policy.

use std::collections::HashSet;

use super::Lane;
use crate::disk::room::with_overhead;
use crate::ranges::Ranges;
use crate::settings::DropReason;
use crate::tail::GENERATION_OVERHEAD;
use crate::{Claim, Kept, Record, WhenFull};

impl<R: Record, T: Claim> Lane<R, T> {
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
        let limit = (self.settings.memory + self.settings.burst).saturating_sub(needed);
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
