//! One small sled database, to write to: the blocks of one generation, or the marks.
//!
//! Everything that sled is known to do badly is dealt with here (`docs/decisions/0002-sled.md`): every call is
//! guarded, for it may panic; its `flush` is not durable on Linux, so we call `fdatasync` ourselves; a growing
//! tree is rewritten, so a tree holds only [`BLOCKS_PER_TREE`] blocks. And sled only ever makes new databases:
//! what was written is read from the raw file, see [`crate::log`]. What cannot be dealt with here is that sled's
//! destructors abort the process when the disk fails: that is what [`crate::writer`] is for.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::block;
use crate::files;
use crate::log;

/// More items than this in a tree make sled split and rewrite its leaf.
const BLOCKS_PER_TREE: usize = 8;
/// sled's smallest cache that was measured to be good; resident memory follows the segment size.
const CACHE_BYTES: u64 = 1024 * 1024;
const SEGMENT_BYTES: usize = 512 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{path} cannot be written or read")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    /// What was synced before is in its file; what was not may be there or not.
    #[error("{path} was not written, because the disk writer process ended: {reason}")]
    WriterEnded { path: PathBuf, reason: String },
    #[error(
        "{path} has {free} bytes left; {needed} are needed, {floor} of them kept free for the system"
    )]
    Full {
        path: PathBuf,
        free: u64,
        needed: u64,
        floor: u64,
    },
}

impl DiskError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        let path = path.to_owned();
        move |source| DiskError::Io { path, source }
    }
}

/// Runs a call into sled; a panic inside it becomes an error, as do sled's own.
pub(crate) fn guard<T>(
    path: &Path,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, DiskError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(DiskError::Io {
            path: path.to_owned(),
            source,
        }),
        Ok(Err(error)) => Err(DiskError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
        Err(panic) => Err(DiskError::Damaged {
            path: path.to_owned(),
            reason: panic_text(&*panic),
        }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "sled panicked: {}",
        text.unwrap_or_else(|| "without a message".into())
    )
}

pub(crate) struct Database {
    path: PathBuf,
    sled: sled::Db,
    trees: Vec<sled::Tree>,
    /// Blocks in the last tree.
    in_last: usize,
    /// Made, but its name is not durable yet.
    fresh: bool,
}

impl Database {
    /// Creates the database in the directory `path`, which must not exist.
    pub(crate) fn create(path: &Path) -> Result<Database, DiskError> {
        files::make_one_directory(path).map_err(DiskError::io(path))?;
        let sled = guard(path, || configuration(path).open())?;
        Ok(Database {
            path: path.to_owned(),
            sled,
            trees: Vec::new(),
            in_last: 0,
            fresh: true,
        })
    }

    /// Adds the encoded logical block that starts at sequence `first`, all its pieces to one tree; durable after
    /// [`Database::sync`].
    pub(crate) fn insert(&mut self, first: u64, encoded: &[u8]) -> Result<(), DiskError> {
        let pieces: Vec<(u16, &[u8])> = block::pieces(encoded).collect();
        if self.trees.is_empty() || self.in_last + pieces.len() > BLOCKS_PER_TREE {
            let number = u32::try_from(self.trees.len()).unwrap_or(u32::MAX);
            self.trees.push(guard(&self.path, || {
                self.sled.open_tree(number.to_be_bytes())
            })?);
            self.in_last = 0;
        }
        let tree = self.trees.last().expect("a tree was made above");
        for (part, piece) in &pieces {
            guard(&self.path, || tree.insert(key(first, *part), *piece))?;
        }
        self.in_last += pieces.len();
        Ok(())
    }

    /// Makes all that was inserted durable.
    pub(crate) fn sync(&mut self) -> Result<(), DiskError> {
        guard(&self.path, || self.sled.flush())?;
        let log = self.path.join(log::FILE);
        files::sync_file(&log).map_err(DiskError::io(&log))?;
        if std::mem::take(&mut self.fresh) {
            files::make_private(&self.path).map_err(DiskError::io(&self.path))?;
            files::sync_directory(&self.path).map_err(DiskError::io(&self.path))?;
            let parent = self.path.parent().unwrap_or(&self.path);
            files::sync_directory(parent).map_err(DiskError::io(parent))?;
        }
        Ok(())
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), DiskError> {
        guard(&self.path, || self.sled.insert(key, value)).map(|_| ())
    }
}

/// Of a piece of the logical block that starts at `first`: the first piece is found by the sequence alone.
fn key(first: u64, part: u16) -> Vec<u8> {
    let mut key = first.to_be_bytes().to_vec();
    if part > 0 {
        key.extend_from_slice(&part.to_be_bytes());
    }
    key
}

fn configuration(path: &Path) -> sled::Config {
    sled::Config::default()
        .path(path)
        .flush_every_ms(None)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .mode(sled::Mode::LowSpace)
        .use_compression(false)
}

/// A value of a database of format 1, the one thing that only sled can read.
pub(crate) fn read_format_1(path: &Path, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
    let value = guard(path, || {
        let sled = configuration(path).open()?;
        let value = sled.get(key);
        // Its destructor syncs the file and aborts the process if that fails. This happens once, at the first start of
        // this version, so that the memory does not matter.
        std::mem::forget(sled);
        value
    })?;
    Ok(value.map(|value| value.to_vec()))
}
