//! A generation: a run of blocks in a directory of its own, deleted whole once they are delivered.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::{BufferId, Header, Owner};
use crate::cbor;
use crate::codec::{self, Encoded};
use crate::database::DiskError;
use crate::files;
use crate::frame;
use crate::keys::{KeyId, Keys};
use crate::log::{self, Log};
use crate::ranges::Ranges;
use crate::writer::{Entry, Handle, Writer};

/// Written when a generation is complete. One without it was not closed cleanly.
pub(crate) const SEAL: &str = "sealed";

/// A file's bytes on disk come in units of this, nearly everywhere.
const UNIT: u64 = 4096;

/// What is known of a generation without reading its blocks. The seal is this, written down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub(crate) struct Generation {
    #[serde(skip)]
    pub(crate) path: PathBuf,
    /// The sequences that it holds.
    pub(crate) present: Ranges,
    pub(crate) epoch: u32,
    /// Where the block before its first one ended.
    pub(crate) before: u64,
    /// When its first and its last block were written, on the buffer's clock.
    pub(crate) oldest: u64,
    pub(crate) newest: u64,
    /// Keys of its blocks; 0 is "not encrypted".
    pub(crate) keys: BTreeSet<u32>,
    /// It holds the latest of each key of two others.
    #[serde(default)]
    pub(crate) merged: bool,
    /// What its blocks say of the time at which the first and the last of them were written: milliseconds since 1970.
    #[serde(default)]
    pub(crate) wall: Option<(u64, u64)>,
    /// Formats 1 and 2 had none.
    #[serde(default)]
    pub(crate) buffer: Option<BufferId>,
    /// All of its blocks are encrypted for this gateway, lane and generation.
    #[serde(default)]
    pub(crate) bound: bool,
    /// Blocks in it that are refused, where it was searched.
    #[serde(skip)]
    pub(crate) foreign: usize,
    /// Sequences that a block says were written, and that no block holds.
    #[serde(skip)]
    pub(crate) missing: Ranges,
    /// Bytes on disk, all of sled's own included. In the seal, so that a start need not look at every file.
    #[serde(default)]
    pub(crate) bytes: u64,
    /// Nothing more is written to it.
    #[serde(skip)]
    pub(crate) sealed: bool,
    /// A block was begun in it that is not sound.
    #[serde(skip)]
    pub(crate) torn: bool,
    /// Its damage has been told of.
    #[serde(skip)]
    pub(crate) told: bool,
}

impl Generation {
    /// Where a generation goes whose first sequence is `first`. There may be one that was given up before.
    pub(crate) fn path_of(lane: &Path, first: u64) -> PathBuf {
        let path = lane.join(format!("{first:020}"));
        let again = (1..).map(|number: u32| lane.join(format!("{first:020}-{number}")));
        std::iter::once(path)
            .chain(again)
            .find(|path| !path.exists())
            .expect("there is always one more number")
    }

    pub(crate) fn empty(path: PathBuf) -> Generation {
        Generation {
            path,
            ..Generation::default()
        }
    }

    /// The first sequence after those it holds.
    pub(crate) fn end(&self) -> u64 {
        self.present.iter().last().map_or(0, |run| run.end)
    }

    pub(crate) fn first(&self) -> u64 {
        self.present.first_from(0).unwrap_or(0)
    }

    pub(crate) fn span(&self) -> std::ops::Range<u64> {
        self.first()..self.end()
    }

    /// A key that it needs and that is not among `keys`.
    pub(crate) fn needs_other_than(&self, keys: &Keys) -> Option<KeyId> {
        let ids = self.keys.iter().map(|id| KeyId(*id));
        ids.filter(|id| *id != KeyId::NONE)
            .find(|id| !keys.knows(*id))
    }

    /// Whether the generation after it may go: it was merged into this one, or holds nothing that this one has not.
    pub(crate) fn stands_for(&self, after: &Generation) -> bool {
        let has = |run: std::ops::Range<u64>| {
            let length = run.end - run.start;
            self.present
                .within(run)
                .map(|part| part.end - part.start)
                .sum::<u64>()
                == length
        };
        (self.merged && after.end() <= self.end()) || after.present.iter().all(has)
    }

    pub(crate) fn holds(&mut self, block: &Encoded) {
        self.add(&block.header, &block.sequences);
    }

    fn add(&mut self, header: &Header, sequences: &Ranges) {
        if self.present.is_empty() {
            (self.before, self.oldest) = (header.before, header.stamp);
            self.bound = true;
        } else if header.before > self.end() {
            self.missing.insert(self.end()..header.before);
        }
        sequences.iter().for_each(|run| self.present.insert(run));
        self.epoch = self.epoch.max(header.epoch);
        self.newest = self.newest.max(header.stamp);
        self.keys.insert(header.key.0);
        self.bound &= header.bound != 0;
        self.buffer = header.buffer().or(self.buffer);
        if header.wall > 0 {
            let (from, to) = self.wall.unwrap_or((header.wall, header.wall));
            self.wall = Some((from.min(header.wall), to.max(header.wall)));
        }
    }

    pub(crate) fn measure(&mut self) -> Result<(), DiskError> {
        self.bytes = files::disk_usage(&self.path).map_err(DiskError::io(&self.path))?;
        Ok(())
    }

    /// Notes that nothing more will be written to it.
    pub(crate) fn seal(&mut self) -> Result<(), DiskError> {
        self.sealed = true;
        let path = self.path.join(SEAL);
        self.measure()?;
        let length = cbor::encode(self).map_err(DiskError::io(&path))?.len() as u64;
        self.bytes += (length + UNIT / 32).next_multiple_of(UNIT);
        let value = cbor::encode(self).map_err(DiskError::io(&path))?;
        files::replace(&path, &frame::encode(frame::SEAL, 0, &value)).map_err(DiskError::io(&path))
    }

    pub(crate) fn remove(&self) -> Result<(), DiskError> {
        files::remove_directory(&self.path).map_err(DiskError::io(&self.path))
    }

    /// Takes stock of a generation found on disk: by its seal, or by its blocks. Writes nothing.
    pub(crate) fn found(path: PathBuf, owner: Owner, keys: &Keys) -> Result<Generation, DiskError> {
        let ours = |seal: &Generation| {
            let both = seal.buffer.zip(owner.buffer);
            let is_here = log::generation_of(&path).is_none_or(|first| first <= seal.first());
            let is_old = owner.scope.is_none() || seal.end() <= owner.plain_to;
            both.is_none_or(|(one, other)| one == other) && is_here && (seal.bound || is_old)
        };
        let mut generation = match read_seal(&path).filter(ours) {
            Some(seal) => Generation {
                sealed: true,
                path,
                ..seal
            },
            None => Generation::searched(path, owner, keys)?,
        };
        if generation.bytes == 0 {
            generation.measure()?;
        }
        Ok(generation)
    }

    fn searched(path: PathBuf, owner: Owner, keys: &Keys) -> Result<Generation, DiskError> {
        let first = log::generation_of(&path).unwrap_or(0);
        let mut generation = Generation::empty(path);
        let path = &generation.path.clone();
        let Some(log) = Log::open_if_there(path, owner).map_err(DiskError::io(path))? else {
            return Ok(generation); // made, and not yet written to
        };
        (generation.torn, generation.foreign) = (log.torn, log.foreign);
        for (index, header) in log.headers().enumerate() {
            if header.first < first {
                continue; // of another generation: a payload may look like a block
            }
            let sequences = if header.count == header.span {
                std::iter::once(header.first..header.end()).collect()
            } else {
                let bytes = log.read(index).map_err(DiskError::io(path))?;
                codec::sequences(header, &bytes.unwrap_or_default(), keys)
            };
            generation.add(header, &sequences);
        }
        Ok(generation)
    }
}

pub(crate) fn read_seal(path: &Path) -> Option<Generation> {
    let bytes = fs::read(path.join(SEAL)).ok()?;
    let (_, value) = frame::decode(frame::SEAL, &bytes)?;
    cbor::decode(value).ok()
}

/// Writes a whole generation at once; `merged` from two others.
pub(crate) fn write(
    path: PathBuf,
    blocks: &[Encoded],
    merged: bool,
    writer: &Writer,
) -> Result<Generation, DiskError> {
    let mut generation = Generation {
        merged,
        ..Generation::empty(path)
    };
    for block in blocks {
        generation.holds(block);
    }
    Handle::new(writer, &generation.path).commit(blocks.iter().map(Entry::block))?;
    generation.seal()?;
    Ok(generation)
}
