//! The part of a lane that is on disk: generations, oldest first, the last of them being written.

mod merge;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::block::{BufferId, Owner};
use crate::codec::Encoded;
use crate::database::{Database, DiskError};
use crate::files;
use crate::generation::Generation;
use crate::keys::Keys;
use crate::layout;
use crate::log::{self, Log};
use crate::ranges::Ranges;
use crate::setaside;
use crate::values::{Finding, LaneDisk};

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
}

struct Head {
    database: Database,
    stored: u64,
    hint: usize,
    asked: u64,
}

struct Reader {
    path: PathBuf,
    /// `None` when the file is gone.
    log: Option<Log>,
}

impl Reader {
    fn block_from(&self, sequence: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let log = self.log.as_ref();
        let found = log.map_or(Ok(None), |log| log.block_from(sequence));
        found.map_err(DiskError::io(&self.path))
    }
}

impl Tail {
    /// Takes stock of the generations of a lane in the state directory `root`.
    pub(crate) fn open(
        root: &Path,
        settings: LaneDisk,
        buffer: BufferId,
        keys: &Keys,
        findings: &mut Vec<Finding>,
    ) -> Result<Tail, DiskError> {
        let directory = layout::lane(root, &settings.name);
        files::make_directory(&directory).map_err(DiskError::io(&directory))?;
        let mut tail = Tail {
            owner: Owner {
                lane: layout::tag(&settings.name),
                buffer: Some(buffer),
            },
            set_aside: layout::set_aside(root),
            settings,
            generations: VecDeque::new(),
            last_end: 0,
            merged_to: 0,
            head: None,
            reader: None,
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

    /// Sequences from `from` on that were written and are no longer there, as the blocks tell.
    pub(crate) fn missing(&self, from: u64) -> Ranges {
        let within = self.generations.iter().flat_map(|g| g.missing.iter());
        let pairs = self.generations.iter().zip(self.generations.iter().skip(1));
        let between = pairs.map(|(g, next)| g.end()..next.before.max(g.end()));
        let all: Ranges = within.chain(between).collect();
        all.within(from..u64::MAX).collect()
    }

    /// Writes `blocks` to the head and makes them durable; `now` is the buffer's clock.
    ///
    /// After an error the head is abandoned: sled's ENOSPC is sticky, and what was committed to it
    /// before is read from its file.
    pub(crate) fn write(&mut self, blocks: &[Encoded]) -> Result<(), DiskError> {
        let outcome = self.append(blocks);
        if outcome.is_err() && self.head.take().is_some() {
            if let Some(head) = self.generations.back_mut() {
                head.sealed = true;
            }
            let begun = |g: &mut Generation| g.present.is_empty();
            if let Some(empty) = self.generations.pop_back_if(begun)
                && let Err(error) = fs::remove_dir_all(&empty.path)
            {
                tracing::debug!(%error, path = %empty.path.display(), "the next start removes it");
            }
        }
        outcome
    }

    fn append(&mut self, blocks: &[Encoded]) -> Result<(), DiskError> {
        let Some(first) = blocks.first().map(|block| block.header.first) else {
            return Ok(());
        };
        if self.head.is_none() {
            let generation = Generation::empty(Generation::path_of(&self.directory, first));
            let database = Database::create(&generation.path).inspect_err(|_| {
                // Whatever was made of it holds nothing.
                drop(fs::remove_dir_all(&generation.path));
            })?;
            self.head = Some(Head {
                database,
                stored: 0,
                hint: 0,
                asked: 0,
            });
            self.generations.push_back(generation);
        }
        let (Some(head), Some(generation)) = (self.head.as_mut(), self.generations.back_mut())
        else {
            return Ok(());
        };
        for block in blocks {
            head.stored += block.bytes.len() as u64;
            head.database.insert(block.header.first, &block.bytes)?;
        }
        head.database.sync()?;
        for block in blocks {
            generation.holds(block);
        }
        self.last_end = generation.end();
        generation.measure()?;
        if head.stored >= generation_bytes(self.settings.budget) {
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
        generation.remove()?;
        self.generations.remove(index);
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

    /// The first block that ends after `sequence`, as stored. Damage found on the way is told of once.
    pub(crate) fn block_from(
        &mut self,
        sequence: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<u8>>, DiskError> {
        let mut index = self.generations.partition_point(|g| g.end() <= sequence);
        while index < self.generations.len() {
            if let Some(found) = self.block_of(index, sequence, findings)? {
                return Ok(Some(found));
            }
            index += 1;
        }
        Ok(None)
    }

    fn block_of(
        &mut self,
        index: usize,
        sequence: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<u8>>, DiskError> {
        let is_head = index + 1 == self.generations.len();
        if let Some(head) = self.head.as_mut().filter(|_| is_head) {
            if sequence < head.asked {
                head.hint = 0;
            }
            head.asked = sequence;
            let found = head.database.block_from(sequence, &mut head.hint)?;
            return Ok(found);
        }
        let Some(generation) = self.generations.get_mut(index) else {
            return Ok(None);
        };
        let open = self
            .reader
            .take()
            .filter(|reader| reader.path == generation.path);
        let reader = match open {
            Some(open) => open,
            None => open_reader(generation, self.owner, &self.set_aside, findings)?,
        };
        let found = reader.block_from(sequence);
        let went_bad = reader.log.as_ref().is_some_and(|log| log.covers(sequence));
        if matches!(found, Ok(None)) && went_bad {
            let again = open_reader(generation, self.owner, &self.set_aside, findings)?;
            return self.reader.insert(again).block_from(sequence);
        }
        self.reader = Some(reader);
        found
    }
}

fn open_reader(
    generation: &mut Generation,
    owner: Owner,
    set_aside: &Path,
    findings: &mut Vec<Finding>,
) -> Result<Reader, DiskError> {
    let path = generation.path.clone();
    let log = Log::open_if_there(&path, owner).map_err(DiskError::io(&path))?;
    let mut missing = generation.present.clone();
    for header in log.iter().flat_map(Log::headers) {
        missing.remove(header.first..header.end());
    }
    if !missing.is_empty() && !std::mem::replace(&mut generation.told, true) {
        let file = path.join(log::FILE);
        let kept_at = setaside::keep(&file, set_aside);
        findings.push(Finding::Damaged {
            generation: path.clone(),
            records: missing.len(),
            kept_at: kept_at.unwrap_or(file),
        });
    }
    Ok(Reader { path, log })
}

/// Bytes of blocks that make a generation in a lane of this budget; also what one write may hold.
pub(crate) fn generation_bytes(budget: u64) -> u64 {
    GENERATION_BYTES.min(budget / 8).max(GENERATION_BYTES_MIN)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
