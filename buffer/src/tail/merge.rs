//! Merging generations: the latest record of each key stays.

use std::fs;
use std::path::PathBuf;

use super::Tail;
use crate::codec::Encoded;
use crate::database::DiskError;
use crate::files;
use crate::generation;
use crate::ranges::Ranges;

/// Two neighbouring generations that were made one.
pub(crate) struct Merged {
    pub(crate) span: std::ops::Range<u64>,
    pub(crate) kept: Ranges,
}

/// Reads the generations at the given paths, which hold so many records, and returns blocks with the latest record of each key.
pub(crate) type LatestOf<'a> =
    &'a mut dyn FnMut(&[PathBuf], u64) -> Result<Option<Vec<Encoded>>, DiskError>;

impl Tail {
    /// Replaces the generations at `index` and after it, which are not being written, by one that holds the
    /// latest record of each key. `None` when that would not halve them, or not fit in `room`.
    ///
    /// `before` is told what is going to be done, before it is.
    pub(crate) fn merge(
        &mut self,
        index: usize,
        room: u64,
        latest: LatestOf<'_>,
        before: &mut dyn FnMut(&Merged),
    ) -> Result<Option<Merged>, DiskError> {
        let (Some(one), Some(two)) = (self.generations.get(index), self.generations.get(index + 1))
        else {
            return Ok(None);
        };
        let (paths, bytes) = ([one.path.clone(), two.path.clone()], one.bytes + two.bytes);
        let (span, records) = (
            one.first()..two.end(),
            one.present.len() + two.present.len(),
        );
        self.reader = None;
        let Some(blocks) = latest(&paths, records)? else {
            return Ok(None);
        };
        let needed = blocks
            .iter()
            .map(|block| block.bytes.len() as u64)
            .sum::<u64>();
        if needed * 2 > bytes || needed + super::GENERATION_OVERHEAD > room {
            return Ok(None);
        }
        let [old, second] = paths;
        let fresh = files::with_suffix(&old, files::FRESH);
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(DiskError::io(&fresh))?; // of an attempt that failed
        }
        let mut generation = generation::write(fresh, &blocks, true, &self.writer)?;
        let merged = Merged {
            span,
            kept: generation.present.clone(),
        };
        before(&merged);
        files::exchange(&generation.path, &old).map_err(DiskError::io(&old))?;
        // A crash from here on leaves generations that the merged one covers; they are removed at start. The merged one
        // is in place, whatever fails now: what it stands for goes once that is durable.
        let gone = files::sync_directory(&self.directory)
            .and_then(|()| fs::remove_dir_all(&generation.path));
        if let Err(error) = gone {
            tracing::debug!(%error, path = %generation.path.display(), "what is left of it is removed later");
            self.left_over = true;
        }
        generation.path = old;
        if let Err(error) = self.remove_directory(&second) {
            tracing::debug!(%error, "the next start removes it");
        }
        self.generations.remove(index + 1);
        if let Some(place) = self.generations.get_mut(index) {
            *place = generation;
        }
        Ok(Some(merged))
    }
}
