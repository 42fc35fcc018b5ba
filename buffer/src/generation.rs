//! A generation: a run of blocks in a directory of its own, deleted whole once they are delivered.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::{self, Sound};
use crate::cbor;
use crate::database::{Database, DiskError};
use crate::files;
use crate::ranges::Ranges;

/// Written when a generation is complete. One without it was not closed cleanly.
const SEAL: &str = "sealed";
/// Damaged generations are kept for inspection up to this much; the oldest go first.
const SET_ASIDE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is known of a generation without opening it.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) path: PathBuf,
    /// The sequences that it holds.
    pub(crate) present: Ranges,
    pub(crate) epoch: u32,
    /// Bytes on disk, all of sled's own included.
    pub(crate) bytes: u64,
    pub(crate) sealed: bool,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    present: Ranges,
    epoch: u32,
}

impl Generation {
    pub(crate) fn path_of(lane: &Path, first: u64) -> PathBuf {
        lane.join(format!("{first:020}"))
    }

    pub(crate) fn empty(path: PathBuf) -> Generation {
        Generation {
            path,
            present: Ranges::default(),
            epoch: 0,
            bytes: 0,
            sealed: false,
        }
    }

    /// The first sequence after those it holds.
    pub(crate) fn end(&self) -> u64 {
        self.present.iter().last().map_or(0, |run| run.end)
    }

    pub(crate) fn first(&self) -> u64 {
        self.present.first_from(0).unwrap_or(0)
    }

    pub(crate) fn holds(&mut self, block: &Sound) {
        block
            .sequences
            .iter()
            .for_each(|run| self.present.insert(run));
        self.epoch = self.epoch.max(block.header.epoch);
    }

    pub(crate) fn measure(&mut self) -> Result<(), DiskError> {
        self.bytes = files::disk_usage(&self.path).map_err(DiskError::io(&self.path))?;
        Ok(())
    }

    /// Notes that nothing more will be written to it.
    pub(crate) fn seal(&mut self) -> Result<(), DiskError> {
        let seal = Seal {
            present: self.present.clone(),
            epoch: self.epoch,
        };
        let path = self.path.join(SEAL);
        let encoded = cbor::encode(&seal).map_err(|e| damaged(&path, &e))?;
        files::write_whole(&path, &encoded).map_err(DiskError::io(&path))?;
        self.sealed = true;
        self.measure()
    }

    pub(crate) fn remove(&self) -> Result<(), DiskError> {
        files::remove_directory(&self.path).map_err(DiskError::io(&self.path))
    }

    /// Takes stock of a generation found on disk. `salvaged` says that it was damaged.
    pub(crate) fn found(
        path: PathBuf,
        lane: u8,
        set_aside: &Path,
    ) -> Result<(Generation, Option<Salvage>), DiskError> {
        if let Some(seal) = read_seal(&path) {
            let mut generation = Generation {
                path,
                present: seal.present,
                epoch: seal.epoch,
                bytes: 0,
                sealed: true,
            };
            generation.measure()?;
            return Ok((generation, None));
        }
        recover(path, lane, set_aside)
    }
}

/// What a recovery had to do.
#[derive(Debug)]
pub(crate) struct Salvage {
    pub(crate) reason: String,
    pub(crate) blocks: usize,
    pub(crate) kept_at: PathBuf,
}

fn read_seal(path: &Path) -> Option<Seal> {
    cbor::decode(&fs::read(path.join(SEAL)).ok()?).ok()
}

fn damaged(path: &Path, reason: &dyn ToString) -> DiskError {
    DiskError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Recovers a generation that was not closed cleanly, or that sled cannot read.
///
/// The raw file is searched for our own blocks *before* sled opens it, because sled may panic on
/// damage, shorten the database in silence, and zero sound data beyond the damage.
pub(crate) fn recover(
    path: PathBuf,
    lane: u8,
    set_aside: &Path,
) -> Result<(Generation, Option<Salvage>), DiskError> {
    let scanned = scan(&path, lane)?;
    let reason = match stored(&path, lane) {
        Ok(stored)
            if scanned
                .iter()
                .all(|raw| stored.iter().any(|kept| kept.header == raw.header)) =>
        {
            let mut generation = Generation::empty(path);
            for block in &stored {
                generation.holds(block);
            }
            generation.seal()?;
            return Ok((generation, None));
        }
        Ok(stored) => format!(
            "sled shows {} blocks, its file holds {}",
            stored.len(),
            scanned.len()
        ),
        Err(DiskError::Damaged { reason, .. }) => reason,
        // Out of space or of permission is not damage: nothing is set aside for it.
        Err(other @ (DiskError::Io { .. } | DiskError::Full { .. })) => return Err(other),
    };
    let kept_at = move_aside(&path, set_aside)?;
    let blocks = scanned.len();
    let generation = rebuild(path, &scanned)?;
    Ok((
        generation,
        Some(Salvage {
            reason,
            blocks,
            kept_at,
        }),
    ))
}

/// The sound blocks that a raw search of the log finds, in order, each once.
fn scan(path: &Path, lane: u8) -> Result<Vec<Sound>, DiskError> {
    let log = path.join("db");
    if !log.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(&log).map_err(DiskError::io(&log))?;
    let (mut found, mut at) = (std::collections::BTreeMap::new(), 0);
    while let Some(start) = block::find(&bytes, at) {
        let rest = bytes.get(start..).unwrap_or_default();
        at = start + 1;
        if let Ok(header) = block::check(rest)
            && header.lane == lane
        {
            let length = block::stored_length(&header);
            let encoded = rest.get(..length).unwrap_or_default().to_vec();
            found.extend(Sound::new(encoded).ok().map(|block| (header.first, block)));
            at = start + length;
        }
    }
    Ok(found.into_values().collect())
}

/// The blocks that sled shows; an unsound one is damage.
fn stored(path: &Path, lane: u8) -> Result<Vec<Sound>, DiskError> {
    let blocks = Database::open(path)?.blocks()?;
    let sound = |encoded: sled::IVec| match Sound::new(encoded.to_vec()) {
        Ok(block) if block.header.lane == lane => Ok(block),
        Ok(block) => Err(damaged(
            path,
            &format!("block {} is of another lane", block.header.first),
        )),
        Err(error) => Err(damaged(path, &error)),
    };
    blocks.into_iter().map(sound).collect()
}

/// Writes a whole generation at once.
pub(crate) fn rebuild(path: PathBuf, blocks: &[Sound]) -> Result<Generation, DiskError> {
    let mut generation = Generation::empty(path);
    let mut database = Database::open(&generation.path)?;
    for block in blocks {
        generation.holds(block);
        database.insert(block.header.first, &block.encoded)?;
    }
    database.sync()?;
    generation.seal()?;
    Ok(generation)
}

/// Moves what is damaged out of the way, so that it can be looked at later.
pub(crate) fn move_aside(path: &Path, set_aside: &Path) -> Result<PathBuf, DiskError> {
    fs::create_dir_all(set_aside).map_err(DiskError::io(set_aside))?;
    let parts: Vec<_> = path
        .iter()
        .rev()
        .take(2)
        .map(|part| part.to_string_lossy())
        .collect();
    let name = parts.into_iter().rev().collect::<Vec<_>>().join("-");
    let mut number = 0_u32;
    let kept_at = loop {
        let target = set_aside.join(format!("{name}.{number}"));
        if !target.exists() {
            break target;
        }
        number += 1;
    };
    fs::rename(path, &kept_at).map_err(DiskError::io(path))?;
    bound(set_aside).map_err(DiskError::io(set_aside))?;
    Ok(kept_at)
}

fn bound(set_aside: &Path) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(set_aside)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(|entry| entry.metadata().and_then(|m| m.modified()).ok());
    let mut total = files::disk_usage(set_aside)?;
    // The newest always stays: it is what a person is about to look at.
    for entry in entries.iter().rev().skip(1).rev() {
        if total <= SET_ASIDE_BYTES_MAX {
            break;
        }
        total -= files::disk_usage(&entry.path())?.min(total);
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
