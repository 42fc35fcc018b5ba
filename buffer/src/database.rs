//! One small sled database: the blocks of one generation, or the marks.
//!
//! Everything that sled is known to do badly is dealt with here (see BUFFER notes in
//! `docs/decisions/0002-sled.md`): it may panic on damage, so every call is guarded; its `flush` is
//! not durable on Linux, so we call `fdatasync` ourselves; its lock is released late, so opening is
//! tried again; a growing tree is rewritten, so a tree holds only [`BLOCKS_PER_TREE`] blocks.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::block;
use crate::files;

/// More items than this in a tree make sled split and rewrite its leaf.
const BLOCKS_PER_TREE: usize = 8;
/// sled lets its lock go some time after a handle is dropped or its process has died.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(5);
/// sled's smallest cache that was measured to be good; resident memory follows the segment size.
const CACHE_BYTES: u64 = 1024 * 1024;
const SEGMENT_BYTES: usize = 512 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{path} cannot be written or read")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
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

#[derive(Clone)]
pub(crate) struct Database {
    path: PathBuf,
    sled: sled::Db,
    trees: Vec<sled::Tree>,
    /// Blocks in the last tree.
    in_last: usize,
}

impl Database {
    /// Opens or creates the database in the directory `path`.
    pub(crate) fn open(path: &Path) -> Result<Database, DiskError> {
        let config = sled::Config::default()
            .path(path)
            .flush_every_ms(None)
            .cache_capacity(CACHE_BYTES)
            .segment_size(SEGMENT_BYTES)
            .mode(sled::Mode::LowSpace)
            .use_compression(false);
        let sled = open_patiently(path, &config)?;
        let mut names: Vec<_> = sled
            .tree_names()
            .into_iter()
            .filter(|name| name.len() == 4)
            .collect();
        names.sort();
        let trees: Vec<sled::Tree> = guard(path, || {
            names
                .iter()
                .map(|name| sled.open_tree(name))
                .collect::<sled::Result<_>>()
        })?;
        let in_last = trees.last().map_or(0, sled::Tree::len);
        Ok(Database {
            path: path.to_owned(),
            sled,
            trees,
            in_last,
        })
    }

    /// Adds the encoded block that starts at sequence `first`; durable after [`Database::sync`].
    pub(crate) fn insert(&mut self, first: u64, encoded: &[u8]) -> Result<(), DiskError> {
        if self.trees.is_empty() || self.in_last >= BLOCKS_PER_TREE {
            let number = u32::try_from(self.trees.len()).unwrap_or(u32::MAX);
            self.trees.push(guard(&self.path, || {
                self.sled.open_tree(number.to_be_bytes())
            })?);
            self.in_last = 0;
        }
        let tree = self.trees.last().expect("a tree was made above");
        guard(&self.path, || tree.insert(first.to_be_bytes(), encoded))?;
        self.in_last += 1;
        Ok(())
    }

    /// The first stored block that ends after `sequence`, searching from tree `hint` on.
    pub(crate) fn block_from(
        &self,
        sequence: u64,
        hint: &mut usize,
    ) -> Result<Option<sled::IVec>, DiskError> {
        for (number, tree) in self.trees.iter().enumerate().skip(*hint) {
            let key = sequence.to_be_bytes();
            let before = guard(&self.path, || tree.range(..=key).next_back().transpose())?;
            let covering = before
                .filter(|(_, encoded)| block::check(encoded).is_ok_and(|h| h.end() > sequence));
            let found = match covering {
                Some(found) => Some(found),
                None => guard(&self.path, || tree.range(key..).next().transpose())?,
            };
            if let Some((_, encoded)) = found {
                *hint = number;
                return Ok(Some(encoded));
            }
        }
        Ok(None)
    }

    /// Every stored block in order, sound or not.
    pub(crate) fn blocks(&self) -> Result<Vec<sled::IVec>, DiskError> {
        guard(&self.path, || {
            self.trees
                .iter()
                .flat_map(sled::Tree::iter)
                .map(|item| item.map(|(_, block)| block))
                .collect()
        })
    }

    /// Makes all that was inserted durable.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        guard(&self.path, || self.sled.flush())?;
        let log = self.path.join("db");
        files::sync_file(&log).map_err(DiskError::io(&log))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, DiskError> {
        guard(&self.path, || self.sled.get(key))
    }

    pub(crate) fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), DiskError> {
        guard(&self.path, || self.sled.insert(key, value)).map(|_| ())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the buffer's own thread has nothing else to do until its database opens"
)]
fn open_patiently(path: &Path, config: &sled::Config) -> Result<sled::Db, DiskError> {
    remove_half_written_snapshots(path).map_err(DiskError::io(path))?;
    let begun = Instant::now();
    loop {
        match guard(path, || config.open()) {
            Err(DiskError::Io { source, .. })
                if source.to_string().contains("could not acquire lock")
                    && begun.elapsed() < LOCK_PATIENCE =>
            {
                std::thread::sleep(LOCK_RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// A torn `snap.*.generating` keeps sled from opening for good; without it all data is there.
fn remove_half_written_snapshots(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
