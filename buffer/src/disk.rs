//! All lanes on disk: opening with recovery, group commits, reading, and giving room back.
//!
//! Blocking; made to be called from one thread of its own. It is handed what to write and says what
//! became of it. What is waiting, in memory or in flight is known by [`crate::Lanes`] alone.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::block::{self, Encoder, Placed};
use crate::database::DiskError;
use crate::encode::{encode, latest_of_each_key};
use crate::layout::{self, FORMAT};
use crate::marks::{LaneMark, MarksFile};
use crate::ranges::Ranges;
use crate::tail::{Cleared, Tail};
use crate::{LaneId, Record, WhenFull};

/// Bytes of records in one write of a lane, before compression.
pub(crate) const WRITE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes that stay free for what sled writes besides blocks: also a generation that is only to be read is
/// opened with a few writes, and one that cannot be opened cannot be drained.
const SLED_RESERVE: u64 = 2 * 1024 * 1024;

/// A lane's place on disk.
#[derive(Debug, Clone)]
pub struct LaneDisk {
    /// Directory name: letters, digits, `-` and `_`.
    pub name: String,
    /// Bytes on disk, sled's own included.
    pub budget: u64,
    pub when_full: WhenFull,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
    #[error(
        "{path} was written by a newer version (format {found}; this version reads up to {FORMAT})"
    )]
    Newer { path: PathBuf, found: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What opening or reading found that a person should know.
#[derive(Debug)]
pub enum Notice {
    /// A generation was damaged; what could be read was kept in its place.
    Damaged {
        generation: PathBuf,
        reason: String,
        salvaged_blocks: usize,
        kept_at: PathBuf,
    },
    /// The marks were damaged: some delivered records will be sent again.
    MarksLost { kept_at: PathBuf },
    /// A lane on disk that the configuration no longer names.
    Orphan { lane: String, bytes: u64 },
}

/// The state of the disk at start.
#[derive(Debug)]
pub struct Opened {
    /// Rises at each start.
    pub epoch: u32,
    pub lanes: Vec<LaneOpened>,
    pub notices: Vec<Notice>,
}

#[derive(Debug)]
pub struct LaneOpened {
    /// The first sequence that is free.
    pub next: u64,
    /// Stored and neither delivered nor dropped.
    pub waiting: Ranges,
    /// Waiting at the last mark, and no longer on disk.
    pub lost: Ranges,
    pub bytes: u64,
}

/// Records to be written to a lane, in order of sequence.
#[derive(Debug)]
pub struct LaneWrite<R> {
    pub lane: LaneId,
    pub records: Vec<Placed<R>>,
}

/// What became of a [`LaneWrite`].
#[derive(Debug)]
pub struct Written {
    pub lane: LaneId,
    /// The first sequence after those that were to be written.
    pub end: u64,
    pub outcome: Result<(), DiskError>,
    pub cleared: Vec<Cleared>,
    /// Bytes of the lane on disk, and of the blocks just written.
    pub bytes: u64,
    pub stored_bytes: u64,
}

/// An answer to a read.
#[derive(Debug)]
pub struct ReadBack<R> {
    pub lane: LaneId,
    /// The sequences that the answer is about; one that is not in `records` is not on disk.
    pub covers: std::ops::Range<u64>,
    pub records: Vec<Placed<R>>,
    pub notices: Vec<Notice>,
}

pub struct Disk<R> {
    root: PathBuf,
    tails: Vec<Tail>,
    names: Vec<String>,
    marks: MarksFile,
    encoder: Encoder,
    floor: u64,
    _lock: File,
    _record: PhantomData<R>,
}

impl<R: Record> Disk<R> {
    /// Opens the state directory `root`, recovering what was not closed cleanly, and begins an epoch.
    ///
    /// `floor` bytes of the file system are left to others.
    pub fn open(
        root: &Path,
        lanes: &[LaneDisk],
        floor: u64,
    ) -> Result<(Disk<R>, Opened), OpenError> {
        fs::create_dir_all(root.join("lanes")).map_err(DiskError::io(root))?;
        let lock = layout::lock(root)?;
        layout::check_format(root)?;
        let set_aside = root.join("set-aside");
        let mut notices = Vec::new();
        let (marks, kept_at) = MarksFile::open(&root.join("marks"), &set_aside)?;
        notices.extend(kept_at.map(|kept_at| Notice::MarksLost { kept_at }));
        let mut tails = Vec::new();
        for lane in lanes {
            let directory = root.join("lanes").join(&lane.name);
            let tail = Tail::new(
                tag(&lane.name),
                directory,
                set_aside.clone(),
                lane.budget,
                lane.when_full,
            );
            tails.push(Tail::open(tail, &mut notices)?);
        }
        notices.extend(layout::orphans(root, lanes).map_err(DiskError::io(root))?);
        let names = lanes.iter().map(|lane| lane.name.clone()).collect();
        let encoder = Encoder::new().map_err(DiskError::io(root))?;
        let mut disk = Disk {
            root: root.to_owned(),
            tails,
            names,
            marks,
            encoder,
            floor,
            _lock: lock,
            _record: PhantomData,
        };
        let lanes = disk
            .tails
            .iter()
            .zip(&disk.names)
            .map(|(tail, name)| opened(tail, disk.mark_of(name)))
            .collect();
        let newest = disk
            .tails
            .iter()
            .flat_map(|tail| tail.generations.iter().map(|g| g.epoch))
            .max();
        disk.marks.marks.epoch = disk.marks.marks.epoch.max(newest.unwrap_or(0)) + 1;
        let epoch = disk.marks.marks.epoch;
        // A full disk at start must not keep the agent from running from memory.
        if let Err(DiskError::Damaged { path, reason }) = disk.marks.write() {
            return Err(DiskError::Damaged { path, reason }.into());
        }
        Ok((
            disk,
            Opened {
                epoch,
                lanes,
                notices,
            },
        ))
    }

    fn mark_of(&self, name: &str) -> Option<&LaneMark> {
        self.marks.marks.lanes.get(name)
    }

    /// One group commit. Each lane stands for itself: an error in one does not stop the others.
    pub fn write(&mut self, writes: Vec<LaneWrite<R>>, now: Instant) -> Vec<Written> {
        writes
            .into_iter()
            .map(|write| self.write_lane(&write, now))
            .collect()
    }

    fn write_lane(&mut self, write: &LaneWrite<R>, now: Instant) -> Written {
        let mut cleared = Vec::new();
        let mut stored_bytes = 0;
        let outcome = self.store(write, now, &mut cleared, &mut stored_bytes);
        Written {
            lane: write.lane,
            end: write.records.last().map_or(0, |record| record.sequence + 1),
            outcome,
            cleared,
            bytes: self.tails.get(write.lane.index()).map_or(0, Tail::bytes),
            stored_bytes,
        }
    }

    fn store(
        &mut self,
        write: &LaneWrite<R>,
        now: Instant,
        cleared: &mut Vec<Cleared>,
        stored_bytes: &mut u64,
    ) -> Result<(), DiskError> {
        let Some(tail) = self.tails.get_mut(write.lane.index()) else {
            return Ok(());
        };
        let blocks = encode(&mut self.encoder, tail.tag, &write.records)
            .map_err(DiskError::io(&self.root))?;
        let needed = blocks.iter().map(|block| block.encoded.len() as u64).sum();
        *stored_bytes = needed;
        cleared.extend(tail.make_room(needed, &|paths| {
            latest_of_each_key::<R>(tail_tag(write.lane, &self.names), paths)
        })?);
        let needed = needed + SLED_RESERVE;
        while let Err(full) = layout::check_space(&self.root, needed, self.floor) {
            // The policy that a full lane follows is followed on a full disk as well.
            match tail.when_full {
                WhenFull::Refuse => return Err(full),
                WhenFull::DropOldest | WhenFull::CoalesceLatest => {
                    cleared.push(tail.drop_oldest()?.ok_or(full)?);
                }
            }
        }
        tail.write(&blocks, now)
    }

    /// Reads on from `from`: one block, or the news that there is none before `until`.
    pub fn read(&mut self, lane: LaneId, from: u64, until: u64) -> Result<ReadBack<R>, DiskError> {
        let mut answer = ReadBack {
            lane,
            covers: from..until,
            records: Vec::new(),
            notices: Vec::new(),
        };
        let Some(tail) = self.tails.get_mut(lane.index()) else {
            return Ok(answer);
        };
        let Some(encoded) = tail.block_from(from, &mut answer.notices)? else {
            return Ok(answer);
        };
        match block::decode::<R>(&encoded) {
            Ok((header, records)) => {
                answer.covers.end = header.end().min(until);
                answer.records = records
                    .into_iter()
                    .filter(|r| answer.covers.contains(&r.sequence))
                    .collect();
            }
            Err(error) => {
                // Its checksum holds, so it was written so: a record that this version cannot read.
                let end = block::check(&encoded).map_or(until, |header| header.end());
                answer.covers.end = end.min(until);
                answer.notices.push(Notice::Damaged {
                    generation: tail.directory.clone(),
                    reason: error.to_string(),
                    salvaged_blocks: 0,
                    kept_at: tail.directory.clone(),
                });
            }
        }
        Ok(answer)
    }

    /// Remembers where the lanes stand and deletes what no lane waits for. Returns bytes on disk.
    pub fn mark(&mut self, marks: &[LaneMark], now: Instant) -> Result<Vec<u64>, DiskError> {
        for (mark, name) in marks.iter().zip(&self.names) {
            self.marks.marks.lanes.insert(name.clone(), mark.clone());
        }
        self.marks.write()?;
        for (mark, tail) in marks.iter().zip(&mut self.tails) {
            tail.release(&mark.waiting, now)?;
        }
        Ok(self.tails.iter().map(Tail::bytes).collect())
    }

    /// Whether the disk takes writes: writes the marks anew, and looks for the room of two of the largest writes, so
    /// that it does not say yes and the next write no.
    pub fn probe(&mut self) -> Result<(), DiskError> {
        self.marks.write()?;
        layout::check_space(&self.root, 2 * WRITE_BYTES_MAX + SLED_RESERVE, self.floor)
    }

    /// Closes every generation, so that the next start has nothing to recover.
    pub fn close(mut self) -> Result<(), DiskError> {
        self.tails.iter_mut().try_for_each(Tail::seal_head)
    }
}

fn opened(tail: &Tail, mark: Option<&LaneMark>) -> LaneOpened {
    let present = tail.present();
    let mark = mark.cloned().unwrap_or_default();
    let end = present.iter().last().map_or(0, |run| run.end);
    let unmarked = present.within(mark.stored_to..u64::MAX);
    let waiting: Ranges = mark
        .waiting
        .iter()
        .flat_map(|run| present.within(run))
        .chain(unmarked)
        .collect();
    let mut lost = mark.waiting.clone();
    present.iter().for_each(|run| {
        lost.remove(run);
    });
    LaneOpened {
        next: end.max(mark.stored_to),
        waiting,
        lost,
        bytes: tail.bytes(),
    }
}

/// A lane's blocks are told from others' by one byte of its name's checksum.
fn tag(name: &str) -> u8 {
    crc32c::crc32c(name.as_bytes()).to_le_bytes()[0]
}

fn tail_tag(lane: LaneId, names: &[String]) -> u8 {
    names.get(lane.index()).map_or(0, |name| tag(name))
}
