//! The part of a lane that is on disk: generations, oldest first, the last of them being written.

mod merge;

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::WhenFull;
use crate::block::{self, Sound};
use crate::database::{Database, DiskError};
use crate::disk::Notice;
use crate::files;
use crate::generation::{self, Generation};
use crate::ranges::Ranges;

/// Blocks of this many bytes make a generation, or an eighth of the lane's budget if that is less. sled keeps all of
/// an open one in memory: the writer's and the reader's.
const GENERATION_BYTES: u64 = 4 * 1024 * 1024;
/// A generation smaller than this would mostly be sled's own overhead.
const GENERATION_BYTES_MIN: u64 = 128 * 1024;
/// What an empty generation takes on disk; counted before one is begun.
pub(crate) const GENERATION_OVERHEAD: u64 = 24 * 1024;
/// A head whose records are all delivered is deleted when it has rested this long.
const HEAD_REST: Duration = Duration::from_secs(30);

/// Room that was made on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The sequences whose blocks were deleted ...
    pub sequences: Range<u64>,
    /// ... except these, which were written again.
    pub kept: Ranges,
    /// Whether newer values of the same keys took their place.
    pub coalesced: bool,
}

pub(crate) struct Tail {
    /// Marks the lane's blocks, so that none is ever taken for another lane's.
    pub(crate) tag: u8,
    pub(crate) directory: PathBuf,
    pub(crate) set_aside: PathBuf,
    pub(crate) budget: u64,
    pub(crate) when_full: WhenFull,
    pub(crate) generations: VecDeque<Generation>,
    /// Open while the last generation is being written.
    head: Option<Head>,
    reader: Option<Reader>,
}

struct Head {
    database: Database,
    stored: u64,
    written: Instant,
}

struct Reader {
    path: PathBuf,
    database: Database,
    hint: usize,
    asked: u64,
}

impl Tail {
    /// Takes stock of the generations in `directory`, recovering what was not closed cleanly.
    pub(crate) fn open(mut tail: Tail, notices: &mut Vec<Notice>) -> Result<Tail, DiskError> {
        let directory = tail.directory.clone();
        fs::create_dir_all(&directory).map_err(DiskError::io(&directory))?;
        for path in generations_in(&directory).map_err(DiskError::io(&directory))? {
            let (generation, salvage) = Generation::found(path, tail.tag, &tail.set_aside)?;
            if let Some(salvage) = salvage {
                notices.push(Notice::Damaged {
                    generation: generation.path.clone(),
                    reason: salvage.reason,
                    salvaged_blocks: salvage.blocks,
                    kept_at: salvage.kept_at,
                });
            }
            // A merged generation already holds the one that it was merged from.
            if generation.present.is_empty()
                || tail
                    .generations
                    .back()
                    .is_some_and(|g| g.end() >= generation.end())
            {
                generation.remove()?;
            } else {
                tail.generations.push_back(generation);
            }
        }
        Ok(tail)
    }

    pub(crate) fn new(
        tag: u8,
        directory: PathBuf,
        set_aside: PathBuf,
        budget: u64,
        when_full: WhenFull,
    ) -> Tail {
        Tail {
            tag,
            directory,
            set_aside,
            budget,
            when_full,
            generations: VecDeque::new(),
            head: None,
            reader: None,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.generations
            .iter()
            .map(|generation| generation.bytes)
            .sum()
    }

    pub(crate) fn present(&self) -> Ranges {
        self.generations
            .iter()
            .flat_map(|generation| generation.present.iter())
            .collect()
    }

    /// Writes `blocks` to the head and makes them durable.
    ///
    /// After an error the head is abandoned: sled's ENOSPC is sticky, and what was committed to it
    /// before is found again by recovery.
    pub(crate) fn write(&mut self, blocks: &[Sound], now: Instant) -> Result<(), DiskError> {
        let outcome = self.append(blocks, now);
        if outcome.is_err() {
            self.head = None;
        }
        outcome
    }

    fn append(&mut self, blocks: &[Sound], now: Instant) -> Result<(), DiskError> {
        let Some(first) = blocks.first().map(|block| block.header.first) else {
            return Ok(());
        };
        let fresh = self.head.is_none();
        if fresh {
            let generation = Generation::empty(Generation::path_of(&self.directory, first));
            self.head = Some(Head {
                database: Database::open(&generation.path)?,
                stored: 0,
                written: now,
            });
            self.generations.push_back(generation);
        }
        let (Some(head), Some(generation)) = (self.head.as_mut(), self.generations.back_mut())
        else {
            return Ok(());
        };
        head.written = now;
        for block in blocks {
            head.stored += block.encoded.len() as u64;
            head.database.insert(block.header.first, &block.encoded)?;
        }
        head.database.sync()?;
        if fresh {
            files::sync_directory(&generation.path).map_err(DiskError::io(&generation.path))?;
            files::sync_directory(&self.directory).map_err(DiskError::io(&self.directory))?;
        }
        for block in blocks {
            generation.holds(block);
        }
        generation.measure()?;
        if head.stored >= generation_bytes(self.budget) {
            self.seal_head()
        } else {
            Ok(())
        }
    }

    pub(crate) fn seal_head(&mut self) -> Result<(), DiskError> {
        match (self.head.take(), self.generations.back_mut()) {
            (Some(_), Some(generation)) => generation.seal(),
            _ => Ok(()),
        }
    }

    /// Makes room for `needed` bytes by the lane's policy; a lane that refuses has refused already.
    pub(crate) fn make_room(
        &mut self,
        needed: u64,
        keys: KeysOf<'_>,
    ) -> Result<Vec<Cleared>, DiskError> {
        let needed = needed + GENERATION_OVERHEAD;
        let mut cleared = Vec::new();
        while self.bytes() + needed > self.budget && !self.generations.is_empty() {
            match self.when_full {
                WhenFull::Refuse => break,
                WhenFull::DropOldest => cleared.extend(self.drop_oldest()?),
                WhenFull::CoalesceLatest => match self.merge_oldest(keys)? {
                    Some(merged) => cleared.push(merged),
                    None => cleared.extend(self.drop_oldest()?),
                },
            }
        }
        Ok(cleared)
    }

    /// Deletes the oldest generation, delivered or not.
    pub(crate) fn drop_oldest(&mut self) -> Result<Option<Cleared>, DiskError> {
        if self.generations.len() == 1 {
            self.seal_head()?;
        }
        let Some(oldest) = self.generations.pop_front() else {
            return Ok(None);
        };
        self.reader = self
            .reader
            .take()
            .filter(|reader| reader.path != oldest.path);
        oldest.remove()?;
        Ok(Some(Cleared {
            sequences: oldest.first()..oldest.end(),
            kept: Ranges::default(),
            coalesced: false,
        }))
    }

    /// Deletes every generation that holds nothing of `waiting`.
    pub(crate) fn release(&mut self, waiting: &Ranges, now: Instant) -> Result<(), DiskError> {
        let needed = |g: &Generation| waiting.within(g.first()..g.end()).next().is_some();
        let rested = self
            .head
            .as_ref()
            .is_some_and(|head| now.saturating_duration_since(head.written) > HEAD_REST);
        // One that has grown is worth its bytes at once, another only when it rests.
        let grown = generation_bytes(self.budget) / 2;
        let spent = |head: &Generation| !needed(head) && (rested || head.bytes >= grown);
        if self.head.is_some() && self.generations.back().is_some_and(spent) {
            self.seal_head()?;
        }
        let mut index = 0;
        while let Some(generation) = self.generations.get(index) {
            if !generation.sealed || needed(generation) {
                index += 1;
                continue;
            }
            self.reader = self
                .reader
                .take()
                .filter(|reader| reader.path != generation.path);
            generation.remove()?;
            self.generations.remove(index);
        }
        Ok(())
    }

    /// The first block that ends after `sequence`, as stored. Damage found on the way is recovered from.
    pub(crate) fn block_from(
        &mut self,
        sequence: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<sled::IVec>, DiskError> {
        let mut index = 0;
        while let Some(generation) = self.generations.get(index) {
            if generation.end() <= sequence {
                index += 1;
                continue;
            }
            match self.look(index, sequence) {
                Ok(None) => index += 1,
                Err(DiskError::Damaged { reason, .. }) => self.repair(index, reason, notices)?,
                other => return other,
            }
        }
        Ok(None)
    }

    fn look(&mut self, index: usize, sequence: u64) -> Result<Option<sled::IVec>, DiskError> {
        let Some(generation) = self.generations.get(index) else {
            return Ok(None);
        };
        let is_head = index + 1 == self.generations.len();
        let found = if let Some(head) = self.head.as_ref().filter(|_| is_head) {
            head.database.block_from(sequence, &mut 0)?
        } else {
            let reader = match self.reader.take() {
                Some(open) if open.path == generation.path => open,
                _ => Reader {
                    path: generation.path.clone(),
                    database: Database::open(&generation.path)?,
                    hint: 0,
                    asked: 0,
                },
            };
            let reader = self.reader.insert(reader);
            if sequence < reader.asked {
                reader.hint = 0;
            }
            reader.asked = sequence;
            reader.database.block_from(sequence, &mut reader.hint)?
        };
        if let Some(Err(error)) = found.as_deref().map(block::check) {
            let path = generation.path.clone();
            return Err(DiskError::Damaged {
                path,
                reason: error.to_string(),
            });
        }
        Ok(found)
    }

    /// Sets a damaged generation aside and puts what can be salvaged in its place.
    fn repair(
        &mut self,
        index: usize,
        reason: String,
        notices: &mut Vec<Notice>,
    ) -> Result<(), DiskError> {
        if index + 1 == self.generations.len() {
            self.head = None;
        }
        self.reader = None;
        let Some(damaged) = self.generations.get_mut(index) else {
            return Ok(());
        };
        let (sound, salvage) =
            generation::recover(damaged.path.clone(), self.tag, &self.set_aside)?;
        notices.push(Notice::Damaged {
            generation: damaged.path.clone(),
            reason,
            salvaged_blocks: salvage.as_ref().map_or(0, |salvage| salvage.blocks),
            kept_at: salvage.map_or_else(|| self.set_aside.clone(), |salvage| salvage.kept_at),
        });
        *damaged = sound;
        Ok(())
    }
}

/// Bytes of blocks that make a generation in a lane of this budget; also what one write may hold.
pub(crate) fn generation_bytes(budget: u64) -> u64 {
    GENERATION_BYTES.min(budget / 8).max(GENERATION_BYTES_MIN)
}

/// Reads the generations at the given paths and returns blocks with the latest record of each key.
pub(crate) type KeysOf<'a> = &'a dyn Fn(&[PathBuf]) -> Result<Option<Vec<Sound>>, DiskError>;

/// Generations by age; what was half made or half removed is finished first.
fn generations_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.ends_with(files::REMOVED) || name.ends_with(files::FRESH) {
            fs::remove_dir_all(&path)?;
        } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
