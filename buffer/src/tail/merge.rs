//! Merging generations: the latest record of each key stays.

use std::fs;
use std::path::PathBuf;

use super::{Cleared, KeysOf, Tail};
use crate::database::DiskError;
use crate::files;
use crate::generation::{self, Generation};

impl Tail {
    /// Replaces the two oldest generations by one that holds the latest record of each key.
    ///
    /// `None` when there are not two to merge, or when merging would not halve them.
    pub(super) fn merge_oldest(&mut self, keys: KeysOf<'_>) -> Result<Option<Cleared>, DiskError> {
        if self.generations.len() < 2 {
            return Ok(None);
        }
        if self.generations.len() == 2 {
            self.seal_head()?;
        }
        self.reader = None;
        let paths: Vec<PathBuf> = self
            .generations
            .iter()
            .take(2)
            .map(|g| g.path.clone())
            .collect();
        let before: u64 = self.generations.iter().take(2).map(|g| g.bytes).sum();
        let sequences = self.generations.front().map_or(0, Generation::first)
            ..self.generations.get(1).map_or(0, Generation::end);
        let Some(blocks) = keys(&paths)? else {
            return Ok(None);
        };
        let fresh = files::with_suffix(paths.first().expect("two were counted"), files::FRESH);
        let mut merged = generation::rebuild(fresh, &blocks)?;
        if merged.bytes * 2 > before {
            merged.remove()?;
            return Ok(None);
        }
        self.swap_in(&mut merged)?;
        let kept = merged.present.clone();
        self.generations.push_front(merged);
        Ok(Some(Cleared {
            sequences,
            kept,
            coalesced: true,
        }))
    }

    /// Puts `merged` in the place of the two oldest. Exchanging the names is one atomic step; a crash
    /// after it leaves a second generation that the merged one covers, which is removed at start.
    fn swap_in(&mut self, merged: &mut Generation) -> Result<(), DiskError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let (Some(oldest), Some(second)) =
            (self.generations.pop_front(), self.generations.pop_front())
        else {
            return Ok(());
        };
        renameat_with(CWD, &merged.path, CWD, &oldest.path, RenameFlags::EXCHANGE)
            .map_err(|error| DiskError::io(&oldest.path)(error.into()))?;
        files::sync_directory(&self.directory).map_err(DiskError::io(&self.directory))?;
        fs::remove_dir_all(&merged.path).map_err(DiskError::io(&merged.path))?;
        second.remove()?;
        merged.path = oldest.path;
        Ok(())
    }
}
