//! The part of a lane that is on disk: generations, oldest first, the last of them being written.

mod merge;

mod read;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use read::Reader;

use crate::block::Owner;
use crate::codec::Encoded;
use crate::database::DiskError;
use crate::files;
use crate::generation::Generation;
use crate::keys::Keys;
use crate::layout;
use crate::log;
use crate::ranges::Ranges;
use crate::setaside;
use crate::values::{Finding, LaneDisk};
use crate::writer::{Entry, Handle, Writer};

/// Blocks of this many bytes make a generation, or an eighth of the lane's budget if that is less. sled keeps all of
/// the open one in memory.
const GENERATION_BYTES: u64 = 4 * 1024 * 1024;
/// A generation smaller than this would mostly be sled's own overhead.
const GENERATION_BYTES_MIN: u64 = 128 * 1024;
/// What an empty generation takes on disk; counted before one is begun.
pub(crate) const GENERATION_OVERHEAD: u64 = 24 * 1024;
/// A head whose records are all delivered is deleted when it has rested this long, in milliseconds.
const HEAD_REST: u64 = 30_000;

pub(crate) struct Tail {
    /// Marks the lane's blocks, so that none is ever taken for another lane's, or another buffer's.
    pub(crate) owner: Owner,
    pub(crate) directory: PathBuf,
    set_aside: PathBuf,
    pub(crate) settings: LaneDisk,
    pub(crate) generations: VecDeque<Generation>,
    /// Where the block that was written last ends.
    pub(crate) last_end: u64,
    /// Generations that begin before it cannot be merged with the one before them.
    pub(crate) merged_to: u64,
    /// Open while the last generation is being written.
    head: Option<Head>,
    reader: Option<Reader>,
    /// Reads that have failed since the last that did not.
    failures: u32,
    writer: Writer,
    /// A head that could not be begun, whose directory could not be removed.
    failed: Option<PathBuf>,
    /// Something of what was removed is still there.
    left_over: bool,
}

struct Head {
    database: Handle,
    stored: u64,
}

impl Tail {
    /// Takes stock of the generations of a lane in the state directory `root`.
    pub(crate) fn open(
        root: &Path,
        settings: LaneDisk,
        owner: Owner,
        keys: &Keys,
        writer: &Writer,
        findings: &mut Vec<Finding>,
    ) -> Result<Tail, DiskError> {
        let directory = layout::lane(root, &settings.name);
        files::make_directory(&directory).map_err(DiskError::io(&directory))?;
        let mut tail = Tail {
            owner,
            set_aside: layout::set_aside(root),
            settings,
            generations: VecDeque::new(),
            last_end: 0,
            merged_to: 0,
            head: None,
            reader: None,
            failures: 0,
            writer: writer.clone(),
            failed: None,
            left_over: false,
            directory,
        };
        layout::finish_removals(&tail.directory).map_err(DiskError::io(&tail.directory))?;
        for path in layout::generations(&tail.directory).map_err(DiskError::io(&tail.directory))? {
            let mut found = Generation::found(path, tail.owner, keys)?;
            if found.torn && found.missing.is_empty() {
                findings.push(Finding::Torn {
                    generation: found.path.clone(),
                });
            }
            if found.foreign > 0 {
                findings.push(tail.refuse(&found)?);
                if !found.path.exists() {
                    continue;
                }
            }
            let back = tail.generations.back();
            let covered = back.is_some_and(|before| before.stands_for(&found));
            if found.present.is_empty() {
                tail.remove_empty(&found)?;
            } else if covered {
                found.remove()?;
            } else {
                if !found.sealed
                    && let Err(error) = found.seal()
                {
                    // It can be read all the same, and is searched again by the next start.
                    tracing::debug!(path = %found.path.display(), %error, "a generation is left unsealed");
                }
                tail.last_end = found.end();
                tail.generations.push_back(found);
            }
        }
        Ok(tail)
    }

    /// Keeps what is foreign in a generation for a person to look at: all of it where nothing in it is ours.
    fn refuse(&self, found: &Generation) -> Result<Finding, DiskError> {
        let path = if found.present.is_empty() {
            found.path.clone()
        } else {
            found.path.join(log::FILE)
        };
        Ok(Finding::Foreign {
            generation: found.path.clone(),
            blocks: found.foreign,
            kept_at: setaside::keep(&path, &self.set_aside)?,
        })
    }

    /// What blocks say of where they belong that are written next, of which the first begins at `first`.
    pub(crate) fn bound_for(&self, first: u64) -> u64 {
        let head = self.generations.back().filter(|_| self.head.is_some());
        let generation = head.and_then(|head| log::generation_of(&head.path));
        self.owner.bound(generation.unwrap_or(first))
    }

    /// A generation without a block: one just begun, or one of which nothing is left, which is kept for inspection.
    fn remove_empty(&self, found: &Generation) -> Result<(), DiskError> {
        if found.bytes > 2 * GENERATION_OVERHEAD {
            let log = found.path.join(log::FILE);
            if log.exists() {
                setaside::keep(&log, &self.set_aside)?;
            }
        }
        found.remove()
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

    /// Sequences from `from` on between two generations that were written and are no longer there, as the blocks tell.
    pub(crate) fn missing_between(&self, from: u64) -> Ranges {
        let pairs = self.generations.iter().zip(self.generations.iter().skip(1));
        let all: Ranges = pairs
            .map(|(g, next)| g.end()..next.before.max(g.end()))
            .collect();
        all.within(from..u64::MAX).collect()
    }

    /// Writes `blocks` to the head and makes them durable. They are bound as [`Tail::bound_for`] says.
    ///
    /// After an error the head is abandoned: sled's ENOSPC is sticky, and what was committed to it
    /// before is read from its file.
    pub(crate) fn write(&mut self, blocks: &[Encoded]) -> Result<(), DiskError> {
        let outcome = self.append(blocks);
        if outcome.is_err() {
            self.abandon_head();
        }
        outcome
    }

    fn abandon_head(&mut self) {
        if self.head.take().is_none() {
            return;
        }
        if let Some(head) = self.generations.back_mut() {
            head.sealed = true;
        }
        let begun = |g: &mut Generation| g.present.is_empty();
        if let Some(empty) = self.generations.pop_back_if(begun)
            && let Err(error) = files::remove_if_there(&empty.path)
        {
            tracing::debug!(%error, path = %empty.path.display(), "the next write or the next start removes it");
            self.failed = Some(empty.path);
        }
    }

    fn append(&mut self, blocks: &[Encoded]) -> Result<(), DiskError> {
        let Some(first) = blocks.first().map(|block| block.header.first) else {
            return Ok(());
        };
        if self.head.is_none() {
            self.begin_head(first)?;
        }
        let (Some(head), Some(generation)) = (self.head.as_mut(), self.generations.back_mut())
        else {
            return Ok(());
        };
        head.database.commit(blocks.iter().map(Entry::block))?;
        // From here on they are durable, whatever else fails.
        for block in blocks {
            head.stored += block.bytes.len() as u64;
            generation.holds(block);
        }
        self.last_end = generation.end();
        if let Err(error) = generation.measure() {
            tracing::debug!(path = %generation.path.display(), %error, "what a generation takes on disk is estimated");
            generation.bytes = GENERATION_OVERHEAD + head.stored + head.stored / 8;
        }
        if head.stored >= generation_bytes(self.settings.budget)
            && let Err(error) = self.seal_head()
        {
            tracing::debug!(%error, "a generation is left unsealed; the next start searches it");
        }
        Ok(())
    }

    fn begin_head(&mut self, first: u64) -> Result<(), DiskError> {
        if let Some(failed) = self.failed.take()
            && let Err(error) = files::remove_if_there(&failed)
        {
            // One such directory at most: a disk that fails for long must not fill with them.
            self.failed = Some(failed.clone());
            return Err(DiskError::io(&failed)(error));
        }
        let generation = Generation::empty(Generation::path_of(&self.directory, first));
        self.head = Some(Head {
            database: Handle::new(&self.writer, &generation.path),
            stored: 0,
        });
        self.generations.push_back(generation);
        Ok(())
    }

    pub(crate) fn seal_head(&mut self) -> Result<(), DiskError> {
        match (self.head.take(), self.generations.back_mut()) {
            (Some(_), Some(generation)) => generation.seal(),
            _ => Ok(()),
        }
    }

    /// When the first block of the head was written, on the buffer's clock.
    pub(crate) fn head_since(&self) -> Option<u64> {
        self.head.as_ref()?;
        self.generations.back().map(|head| head.oldest)
    }

    /// Deletes the generation at `index`, which is not being written.
    pub(crate) fn remove(&mut self, index: usize) -> Result<(), DiskError> {
        let Some(generation) = self.generations.get(index) else {
            return Ok(());
        };
        self.reader = self
            .reader
            .take()
            .filter(|reader| reader.path != generation.path);
        let path = generation.path.clone();
        self.remove_directory(&path)?;
        self.generations.remove(index);
        Ok(())
    }

    /// After an error it is all there; else it is gone by name, and what cannot be removed of it yet is left for later.
    fn remove_directory(&mut self, path: &Path) -> Result<(), DiskError> {
        let doomed = files::doom(path).map_err(DiskError::io(path))?;
        if let Err(error) = files::finish_removal(&doomed) {
            tracing::debug!(%error, path = %doomed.display(), "what is left of it is removed later");
            self.left_over = true;
        }
        Ok(())
    }

    /// The first sequence after the oldest generation, if that is given up as soon as it is delivered.
    pub(crate) fn frees_at(&self) -> u64 {
        let oldest = self.generations.front();
        let oldest = oldest.filter(|oldest| oldest.sealed || self.is_worth_it(oldest));
        oldest.map_or(u64::MAX, Generation::end)
    }

    /// A head that has grown is worth its bytes at once, another only when it rests.
    fn is_worth_it(&self, head: &Generation) -> bool {
        head.bytes >= generation_bytes(self.settings.budget) / 2
    }

    /// Deletes what no reader needs, except what is kept for replay. `now` is the buffer's clock.
    pub(crate) fn release(
        &mut self,
        needed: impl Fn(&Generation) -> bool,
        now: u64,
    ) -> Result<(), DiskError> {
        if self.left_over {
            self.left_over = layout::finish_removals(&self.directory).is_err();
        }
        let spent = |head: &Generation| {
            !needed(head) && (now > head.newest + HEAD_REST || self.is_worth_it(head))
        };
        if self.head.is_some() && self.generations.back().is_some_and(spent) {
            self.seal_head()?;
        }
        let mut kept = 0;
        for index in (0..self.generations.len()).rev() {
            let Some(generation) = self.generations.get(index) else {
                break;
            };
            if !generation.sealed || needed(generation) {
                continue;
            }
            let keep = self.settings.keep.as_ref().is_some_and(|keep| {
                millis(keep.age) >= now.saturating_sub(generation.newest)
                    && kept + generation.bytes <= keep.bytes
            });
            if keep {
                kept += generation.bytes;
            } else {
                self.remove(index)?;
            }
        }
        Ok(())
    }
}

/// Bytes of blocks that make a generation in a lane of this budget; also what one write may hold.
pub(crate) fn generation_bytes(budget: u64) -> u64 {
    GENERATION_BYTES.min(budget / 8).max(GENERATION_BYTES_MIN)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
