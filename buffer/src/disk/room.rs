//! Making room: by a lane's policy when its budget is used up, by age, and by keeping the latest of each key.

use std::time::Instant;

use super::{Disk, SLED_RESERVE};
use crate::database::DiskError;
use crate::encode::latest_of_each_key;
use crate::generation::Generation;
use crate::layout;
use crate::ranges::Ranges;
use crate::settings::DropReason;
use crate::tail::{GENERATION_OVERHEAD, Tail, generation_bytes, millis};
use crate::values::{Cleared, LaneOnDisk, Tidied};
use crate::{LaneId, Record, WhenFull};

/// A head is closed after an eighth of the lane's age limit, so that it can be dropped in time, but not more often.
const HEAD_AGE_MIN: u64 = 60_000;

/// Bytes on disk that blocks of `stored` bytes take, with what sled adds to them.
pub(crate) fn with_overhead(stored: u64) -> u64 {
    stored + stored / 8 + GENERATION_OVERHEAD
}

/// Bytes of blocks that a lane of this budget holds before it gives up any.
#[must_use]
pub fn capacity(budget: u64) -> u64 {
    let generation = generation_bytes(budget);
    // One is being written, and is counted as full.
    let all = budget.saturating_sub(with_overhead(generation)) / with_overhead(generation);
    all * generation
}

impl<R: Record> Disk<R> {
    /// What is to be known of a lane after a mark.
    pub(super) fn on_disk(&self, tail: &Tail, now: Instant) -> LaneOnDisk {
        let state = self.marks.marks.lanes.get(&tail.settings.name);
        let is_read = |g: &&Generation| state.is_none_or(|state| state.needs(g));
        let oldest = tail.generations.iter().find(is_read).map(|g| g.oldest);
        LaneOnDisk {
            bytes: tail.bytes(),
            reserved: state.map_or(0, |state| state.reserved),
            frees_at: tail.frees_at(),
            oldest: oldest.and_then(|stored| self.clock.when(stored, now)),
        }
    }

    /// Makes room for blocks of `needed` bytes in the lane's budget.
    pub(super) fn make_room(
        &mut self,
        lane: LaneId,
        needed: u64,
        cleared: &mut Vec<Cleared>,
    ) -> Result<(), DiskError> {
        let settings = self.tail(lane).settings.clone();
        let mut needed = with_overhead(needed);
        if settings.when_full == WhenFull::CoalesceLatest {
            needed += generation_bytes(settings.budget); // for merging into
        }
        while self.tail(lane).bytes() + needed > settings.budget
            && !self.tail(lane).generations.is_empty()
        {
            if self.drop_delivered(lane)? {
                continue;
            }
            let freed = match settings.when_full {
                // It has refused already what would not fit.
                WhenFull::Refuse | WhenFull::DropNewest => None,
                WhenFull::DropOldest => self.drop_oldest(lane, DropReason::Budget)?,
                WhenFull::CoalesceLatest => match self.merge(lane, 0)? {
                    None => self.drop_oldest(lane, DropReason::Budget)?,
                    merged => merged,
                },
            };
            match freed {
                Some(freed) => cleared.push(freed),
                None => break,
            }
        }
        Ok(())
    }

    /// Makes room for `needed` bytes on the file system. A lane gives up old records for new ones there too, but
    /// only as many as it writes: on a disk that others fill it would lose all it has and gain nothing.
    pub(super) fn make_room_on_disk(
        &mut self,
        lane: LaneId,
        needed: u64,
        cleared: &mut Vec<Cleared>,
    ) -> Result<(), DiskError> {
        while let Err(full) = layout::check_space(&self.root, needed + SLED_RESERVE, self.floor) {
            if self.drop_delivered(lane)? {
                continue;
            }
            let gives_up = matches!(
                self.tail(lane).settings.when_full,
                WhenFull::DropOldest | WhenFull::CoalesceLatest
            );
            let owes = self
                .given_up
                .get(lane.index())
                .is_some_and(|bytes| *bytes > 0);
            if !gives_up || owes {
                return Err(full);
            }
            let before = self.tail(lane).bytes();
            cleared.push(self.drop_oldest(lane, DropReason::Budget)?.ok_or(full)?);
            let freed = before.saturating_sub(self.tail(lane).bytes());
            if let Some(given_up) = self.given_up.get_mut(lane.index()) {
                *given_up += freed;
            }
        }
        Ok(())
    }

    /// Deletes the oldest generation that is only kept for replay.
    fn drop_delivered(&mut self, lane: LaneId) -> Result<bool, DiskError> {
        let state = self.state_mut(lane).clone();
        let tail = self.tail_mut(lane);
        let kept = tail
            .generations
            .iter()
            .position(|g| g.sealed && !state.needs(g));
        match kept {
            Some(index) => tail.remove(index).map(|()| true),
            None => Ok(false),
        }
    }

    /// Deletes the oldest generation, delivered or not. The reason is written down first.
    fn drop_oldest(
        &mut self,
        lane: LaneId,
        reason: DropReason,
    ) -> Result<Option<Cleared>, DiskError> {
        let tail = self.tail_mut(lane);
        if tail.generations.len() == 1 {
            tail.seal_head()?;
        }
        let Some(sequences) = tail.generations.front().map(Generation::span) else {
            return Ok(None);
        };
        self.note_cleared(lane, sequences.clone(), reason);
        self.tail_mut(lane).remove(0)?;
        Ok(Some(Cleared {
            sequences,
            kept: Ranges::default(),
            reason,
        }))
    }

    /// Keeps only the latest record of each key of the generations at `index` and after it.
    fn merge(&mut self, lane: LaneId, index: usize) -> Result<Option<Cleared>, DiskError> {
        if self.tail(lane).generations.len() == index + 2 {
            self.tail_mut(lane).seal_head()?;
        }
        let Disk {
            tails,
            marks,
            encoder,
            clock,
            ..
        } = self;
        let tail = tails
            .get_mut(lane.index())
            .expect("lane ids are made from the list of lanes");
        let (owner, name) = (tail.owner, tail.settings.name.clone());
        let room = tail.settings.budget.saturating_sub(tail.bytes());
        let merged = tail.merge(
            index,
            room,
            &mut |paths, records| latest_of_each_key::<R>(encoder, owner, paths, records),
            &mut |merged| {
                let state = marks.marks.lanes.entry(name.clone()).or_default();
                state.cleared.push((merged.span.start, merged.span.end, DropReason::Coalesced));
                marks.marks.clock = clock.written(Instant::now());
                if let Err(error) = marks.write() {
                    tracing::debug!(%error, "after a crash, what is merged now will be counted as damage");
                }
            },
        )?;
        Ok(merged.map(|merged| Cleared {
            sequences: merged.span,
            kept: merged.kept,
            reason: DropReason::Coalesced,
        }))
    }

    fn note_cleared(&mut self, lane: LaneId, span: std::ops::Range<u64>, reason: DropReason) {
        self.state_mut(lane)
            .cleared
            .push((span.start, span.end, reason));
        if let Err(error) = self.write_marks(Instant::now()) {
            tracing::debug!(%error, "after a crash, what is dropped now will be counted as damage");
        }
    }

    /// Drops what is too old, and merges where only the latest of each key is to be kept; with `all`, also what is
    /// still being written. Gives back what rests. Writes nothing where there is nothing to do.
    pub fn tidy(&mut self, now: Instant, all: bool) -> Result<Vec<Tidied>, DiskError> {
        let at = self.clock.at(now);
        self.marks.rest(at);
        let (mut tidied, mut failed) = (Vec::new(), None);
        for lane in self.ids() {
            let (mut cleared, before) = (Vec::new(), self.tail(lane).bytes());
            let outcome = self.tidy_lane(lane, at, all, &mut cleared);
            failed = failed.or(outcome.err());
            let bytes = self.tail(lane).bytes();
            if !cleared.is_empty() || bytes != before {
                tidied.push(Tidied {
                    lane,
                    cleared,
                    bytes,
                });
            }
        }
        match failed {
            // What was done is to be known all the same; what was not is tried again, and then told of.
            Some(error) if tidied.is_empty() => Err(error),
            Some(error) => {
                tracing::debug!(%error, "not all could be tidied up");
                Ok(tidied)
            }
            None => Ok(tidied),
        }
    }

    fn tidy_lane(
        &mut self,
        lane: LaneId,
        at: u64,
        all: bool,
        cleared: &mut Vec<Cleared>,
    ) -> Result<(), DiskError> {
        self.expire(lane, at, cleared)?;
        if self.tail(lane).settings.coalesce {
            self.coalesce(lane, all, cleared)?;
        }
        if self.tail(lane).head_since().is_some() {
            self.release(lane, at)?;
        }
        Ok(())
    }

    fn expire(
        &mut self,
        lane: LaneId,
        at: u64,
        cleared: &mut Vec<Cleared>,
    ) -> Result<(), DiskError> {
        let settings = self.tail(lane).settings.clone();
        let ages = [settings.max_age, settings.keep.map(|keep| keep.age)];
        let Some(shortest) = ages.into_iter().flatten().map(millis).min() else {
            return Ok(());
        };
        if self
            .tail(lane)
            .head_since()
            .is_some_and(|since| at > since + (shortest / 8).max(HEAD_AGE_MIN))
        {
            self.tail_mut(lane).seal_head()?;
        }
        if settings.keep.is_some() {
            self.release(lane, at)?;
        }
        let Some(limit) = settings.max_age.map(millis) else {
            return Ok(());
        };
        let old = |tail: &crate::tail::Tail| {
            tail.generations
                .front()
                .is_some_and(|g| g.sealed && at > g.newest + limit)
        };
        while old(self.tail(lane)) {
            cleared.extend(self.drop_oldest(lane, DropReason::Age)?);
        }
        Ok(())
    }

    fn coalesce(
        &mut self,
        lane: LaneId,
        all: bool,
        cleared: &mut Vec<Cleared>,
    ) -> Result<(), DiskError> {
        if all {
            self.tail_mut(lane).seal_head()?;
        }
        // The newest pair that is complete; one that did not get smaller is not tried again.
        loop {
            let tail = self.tail(lane);
            let complete = tail.generations.iter().take_while(|g| g.sealed).count();
            let Some(index) = complete.checked_sub(2) else {
                return Ok(());
            };
            if tail
                .generations
                .get(index + 1)
                .is_none_or(|g| g.first() < tail.merged_to)
            {
                return Ok(());
            }
            let tried = tail.generations.get(index + 1).map_or(0, |g| g.first() + 1);
            match self.merge(lane, index)? {
                Some(merged) => cleared.push(merged),
                None => self.tail_mut(lane).merged_to = tried,
            }
        }
    }
}
