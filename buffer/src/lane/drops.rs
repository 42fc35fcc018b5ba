//! What a lane drops, and what it says of it.

use super::Lane;
use crate::ranges::Ranges;
use crate::settings::{DropReason, Dropped, Largest};
use crate::{Claim, Kept, Record};

/// Drops of a lane that are remembered over a restart until they are reported. Beyond it those of one reason are one.
pub(crate) const UNREPORTED_MAX: usize = 64;
/// Of them, those that name a record, and the bytes of its name: the marks of all lanes have to fit into one value.
const NAMED_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 96;

impl<R: Record, T: Claim> Lane<R, T> {
    /// Bytes of the largest record that the lane takes, encoded.
    pub(super) fn record_max(&self) -> usize {
        let budget = usize::try_from(self.settings.budget / 4).unwrap_or(usize::MAX);
        self.settings
            .record
            .min(crate::RECORD_BYTES_MAX)
            .min(budget)
    }

    /// Its records are counted and named like any others that are dropped, but never kept.
    pub(super) fn drop_newest(&mut self, claim: T) {
        let sequence = self.pass_over(claim);
        let one = std::iter::once(sequence..sequence + 1).collect();
        self.note_drop(DropReason::Newest, &one);
    }

    /// The same for a record of so many `bytes`, which the lane could never hold.
    pub(super) fn drop_too_large(&mut self, record: &R, bytes: usize, claim: T) {
        let sequence = self.pass_over(claim);
        let name = record.name();
        let end = name.floor_char_boundary(NAME_BYTES_MAX);
        self.note(Dropped {
            reason: DropReason::TooLarge,
            first: sequence,
            last: sequence,
            count: 1,
            largest: Some(Largest {
                name: name.get(..end).unwrap_or_default().to_owned(),
                bytes: bytes as u64,
            }),
        });
    }

    /// Accepts a record only to drop it; returns its sequence.
    fn pass_over(&mut self, claim: T) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.counts.accepted += 1;
        if self.stored_to == sequence {
            self.stored_to = self.next; // there is nothing to store
        }
        claim.resolve(Kept::Dropped);
        sequence
    }

    pub(super) fn drop_waiting(&mut self, reason: DropReason, sequences: &Ranges) {
        for run in sequences.iter() {
            self.waiting.remove(run);
        }
        self.note_drop(reason, sequences);
    }

    pub(super) fn note_drop(&mut self, reason: DropReason, sequences: &Ranges) {
        if let Some(drop) = Dropped::all(reason, sequences) {
            self.note(drop);
        }
    }

    fn note(&mut self, drop: Dropped) {
        let all = DropReason::ALL.iter();
        let slot = all.into_iter().position(|known| *known == drop.reason);
        if let Some(count) = slot.and_then(|slot| self.counts.dropped.get_mut(slot)) {
            *count += drop.count;
        }
        self.moved = true;
        let name = |drop: &Dropped| drop.largest.as_ref().map(|largest| largest.name.clone());
        let follows = |last: &&mut Dropped| {
            last.reason == drop.reason && last.last < drop.first && name(last) == name(&drop)
        };
        if let Some(last) = self.drops.last_mut().filter(follows) {
            return last.join(drop);
        }
        let named = self.drops.iter().filter(|noted| noted.largest.is_some());
        let full = self.drops.len() >= UNREPORTED_MAX
            || (drop.largest.is_some() && named.count() >= NAMED_MAX);
        let mut noted = self.drops.iter_mut().rev();
        match noted.find(|noted| full && noted.reason == drop.reason) {
            Some(noted) => noted.join(drop),
            None => self.drops.push(drop),
        }
    }

    /// What the marks are to remember.
    pub(super) fn unreported(&self) -> Vec<Dropped> {
        let telling = self.telling.iter().map(|(drop, _)| drop);
        let mut named = 0;
        let all = telling.chain(&self.drops).take(UNREPORTED_MAX);
        let short = all.map(|drop| {
            named += usize::from(drop.largest.is_some());
            let largest = drop.largest.clone().filter(|_| named <= NAMED_MAX);
            Dropped {
                largest,
                ..drop.clone()
            }
        });
        short.collect()
    }
}
