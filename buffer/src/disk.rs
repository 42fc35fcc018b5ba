//! All lanes on disk: opening with recovery, group commits, reading, and giving room back.
//!
//! Blocking; made to be called from one thread of its own. It is handed what to write and says what
//! became of it. What is waiting, in memory or in flight is known by [`crate::Lanes`] alone.

mod open;

pub(crate) mod room;

use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use room::capacity;

use crate::block::{self, BufferId, Placed};
use crate::clock::DiskClock;
use crate::codec::{self, Encoded, Encoder, Place};
use crate::database::DiskError;
use crate::encode::encode;
use crate::encrypted::Since;
use crate::layout;
use crate::marks::{self, LaneMark, LaneState, MarksFile};
use crate::tail::Tail;
use crate::values::{Cleared, Finding, LaneWrite, Marked, ReadBack, WRITE_BYTES_MAX, Written};
use crate::{LaneId, Record};

/// Bytes that stay free for what sled writes besides blocks.
const SLED_RESERVE: u64 = 2 * 1024 * 1024;

pub struct Disk<R> {
    root: PathBuf,
    tails: Vec<Tail>,
    marks: MarksFile,
    buffer: BufferId,
    encoder: Encoder,
    clock: DiskClock,
    floor: u64,
    /// FORMAT says what is written here.
    format_written: bool,
    /// Since when it is encrypted, where that is still to be written down.
    unmarked: Option<Since>,
    /// Of each lane, what it gave up on a full disk and has not written again.
    given_up: Vec<u64>,
    _lock: layout::Lock,
    _record: PhantomData<R>,
}

impl<R: Record> Disk<R> {
    fn tail(&self, lane: LaneId) -> &Tail {
        self.tails
            .get(lane.index())
            .expect("lane ids are made from the list of lanes")
    }

    fn tail_mut(&mut self, lane: LaneId) -> &mut Tail {
        self.tails
            .get_mut(lane.index())
            .expect("lane ids are made from the list of lanes")
    }

    fn state_mut(&mut self, lane: LaneId) -> &mut LaneState {
        let name = self.tail(lane).settings.name.clone();
        self.marks.marks.lanes.entry(name).or_default()
    }

    fn ids(&self) -> impl Iterator<Item = LaneId> + use<R> {
        (0..self.tails.len())
            .filter_map(|index| u8::try_from(index).ok())
            .map(LaneId)
    }

    /// One group commit. Each lane stands for itself: an error in one does not stop the others. `wall_ms` are milliseconds
    /// since 1970, or 0 where the time is not known.
    pub fn write(&mut self, writes: Vec<LaneWrite<R>>, wall_ms: u64, now: Instant) -> Vec<Written> {
        writes
            .into_iter()
            .map(|write| self.write_lane(&write, wall_ms, now))
            .collect()
    }

    fn write_lane(&mut self, write: &LaneWrite<R>, wall_ms: u64, now: Instant) -> Written {
        let mut cleared = Vec::new();
        let outcome = self.store(write, wall_ms, now, &mut cleared);
        Written {
            lane: write.lane,
            end: write.end(),
            stored_bytes: *outcome.as_ref().unwrap_or(&0),
            stored: write.records.len() as u64,
            outcome: outcome.map(|_| ()),
            cleared,
            bytes: self.tail(write.lane).bytes(),
        }
    }

    /// Deletes what no reader of a lane needs; `at` is the buffer's clock.
    fn release(&mut self, lane: LaneId, at: u64) -> Result<(), DiskError> {
        let state = self.state_mut(lane).clone();
        self.tail_mut(lane).release(|g| state.needs(g), at)
    }

    /// Returns the bytes of the blocks.
    fn store(
        &mut self,
        write: &LaneWrite<R>,
        wall: u64,
        now: Instant,
        cleared: &mut Vec<Cleared>,
    ) -> Result<u64, DiskError> {
        self.write_format()?;
        self.mark_encrypted()?;
        let (lane, stamp) = (write.lane, self.clock.at(now));
        let first = write.records.first().map_or(0, |record| record.sequence);
        let mut place = Place {
            lane: self.tail(lane).owner.lane,
            before: self.tail(lane).last_end,
            stamp,
            wall,
            buffer: self.buffer,
            bound: self.tail(lane).bound_for(first),
        };
        let mut blocks = self.encode(place, &write.records)?;
        let needed = blocks.iter().map(|block| block.bytes.len() as u64).sum();
        self.make_room(lane, needed, cleared)?;
        self.make_room_on_disk(lane, needed, cleared)?;
        // Where only the disk writer has ended, another one begins a new head, once.
        let mut again = true;
        loop {
            let bound = self.tail(lane).bound_for(first);
            if place.bound != bound {
                place.bound = bound;
                blocks = self.encode(place, &write.records)?;
            }
            match self.tail_mut(lane).write(&blocks) {
                Err(DiskError::WriterEnded { .. }) if std::mem::take(&mut again) => {}
                outcome => break outcome?,
            }
        }
        if let Some(given_up) = self.given_up.get_mut(lane.index()) {
            *given_up = given_up.saturating_sub(needed);
        }
        Ok(needed)
    }

    fn encode(&mut self, place: Place, records: &[Placed<R>]) -> Result<Vec<Encoded>, DiskError> {
        encode(&mut self.encoder, place, records).map_err(DiskError::io(&self.root))
    }

    /// Before the first encrypted block is written it is noted which are older.
    fn mark_encrypted(&mut self) -> Result<(), DiskError> {
        if let Some(since) = &self.unmarked {
            since.write(&self.root, self.encoder.keys())?;
            self.unmarked = None;
        }
        Ok(())
    }

    /// From here on no version reads it that does not know what is written.
    fn write_format(&mut self) -> Result<(), DiskError> {
        if !self.format_written {
            layout::write_format(&self.root)?;
            self.format_written = true;
        }
        Ok(())
    }

    /// Reads on from `from`: one block, or the news that there is none before `until`.
    pub fn read(&mut self, lane: LaneId, from: u64, until: u64) -> Result<ReadBack<R>, DiskError> {
        let mut answer = ReadBack {
            lane,
            covers: from..until,
            records: Vec::new(),
            findings: Vec::new(),
        };
        let tail = self.tails.get_mut(lane.index());
        let tail = tail.expect("lane ids are made from the list of lanes");
        let Some(encoded) = tail.block_from(from, &mut answer.findings)? else {
            return Ok(answer);
        };
        match codec::decode::<R>(&encoded, self.encoder.keys()) {
            Ok((header, records)) => {
                answer.covers.end = header.end().min(until);
                answer.records = records
                    .into_iter()
                    .filter(|r| answer.covers.contains(&r.sequence))
                    .collect();
            }
            Err(error) => {
                // Its checksum holds, so it was written so: a record that this version cannot read.
                tracing::error!(lane = tail.settings.name, %error, "a stored block cannot be decoded");
                let header = block::check(&encoded).map(|(header, ..)| header).ok();
                answer.covers.end = header.map_or(until, |header| header.end().min(until));
                answer.findings.push(Finding::Damaged {
                    generation: tail.directory.clone(),
                    records: header.map_or(0, |header| u64::from(header.count)),
                    kept_at: tail.directory.clone(),
                });
            }
        }
        Ok(answer)
    }

    /// Remembers where the lanes stand and deletes what no reader needs. Returns what is on disk then.
    pub fn mark(&mut self, lanes: &[LaneMark], now: Instant) -> Result<Marked, DiskError> {
        for (lane, mark) in self.ids().zip(lanes) {
            // What was cleared since the mark was made is not in it yet, nor what is cleared and in flight.
            let present = self.tail(lane).present();
            let gone = |run: &Range<u64>| {
                let there = present
                    .within(run.clone())
                    .map(|part| part.end - part.start);
                there.sum::<u64>() < run.end - run.start
            };
            let mut cleared = std::mem::take(&mut self.state_mut(lane).cleared);
            cleared.retain(|(from, to, _)| mark.waiting.within(*from..*to).any(|run| gone(&run)));
            let waiting = marks::compact(&mark.waiting, &self.tail(lane).generations, &cleared);
            let state = self.state_mut(lane);
            state.cleared = cleared;
            state.stands(mark.stored_to, waiting);
            state.reserve(mark);
            state.unreported.clone_from(&mark.unreported);
        }
        self.write_marks(now)?;
        let at = self.clock.at(now);
        for lane in self.ids() {
            self.release(lane, at)?;
        }
        let wear = self.marks.marks.wear.clone();
        let lanes = self.tails.iter();
        Ok(Marked {
            lanes: lanes.map(|tail| self.on_disk(tail, now)).collect(),
            day_passed: wear.day_passed(at),
            wear,
        })
    }

    fn write_marks(&mut self, now: Instant) -> Result<(), DiskError> {
        self.write_format()?;
        self.marks.marks.wear.count(self.clock.at(now));
        self.marks.marks.clock = self.clock.written(now);
        self.marks.write()
    }

    /// Whether the disk takes writes: writes the marks anew, and looks for the room of two of the largest writes, so
    /// that it does not say yes and the next write no.
    pub fn probe(&mut self, now: Instant) -> Result<(), DiskError> {
        self.write_marks(now)?;
        layout::check_space(&self.root, 2 * WRITE_BYTES_MAX + SLED_RESERVE, self.floor)
    }

    /// Closes every generation, so that the next start has nothing to recover.
    pub fn close(mut self) -> Result<(), DiskError> {
        let sealed: Vec<_> = self.tails.iter_mut().map(Tail::seal_head).collect();
        sealed.into_iter().collect()
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}
