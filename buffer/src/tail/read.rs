//! Reading a lane's generations, block by block, from their raw files; also the one that is being written.

use std::path::{Path, PathBuf};

use super::Tail;
use crate::block::Owner;
use crate::database::DiskError;
use crate::generation::Generation;
use crate::log::{self, Log};
use crate::setaside;
use crate::values::Finding;

/// Reads that fail one after the other, one a second, before what cannot be read is taken for damage: a bus that hiccups and a
/// medium that is plugged again are back in half a minute, a sector that is worn out is not.
const FAILURES_MAX: u32 = 30;

/// The generation that was read last.
pub(super) struct Reader {
    pub(super) path: PathBuf,
    /// `None` when the file is gone.
    log: Option<Log>,
    /// Blocks that end after it were written since the file was searched.
    searched_to: u64,
}

impl Reader {
    fn block_from(&self, sequence: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let log = self.log.as_ref();
        let found = log.map_or(Ok(None), |log| log.block_from(sequence));
        found.map_err(DiskError::io(&self.path))
    }

    /// Takes in what was committed to the generation since; `None` when it is not found where it should be.
    fn search_on(mut self, generation: &Generation) -> Result<Option<Reader>, DiskError> {
        let end = generation.end();
        if self.searched_to < end
            && let Some(log) = &mut self.log
        {
            log.search_on().map_err(DiskError::io(&self.path))?;
            self.searched_to = end;
            return Ok(log.covers(end - 1).then_some(self));
        }
        Ok(Some(self).filter(|reader| reader.searched_to >= end))
    }
}

impl Tail {
    /// The first block that ends after `sequence`, as stored. Damage found on the way is told of once.
    pub(crate) fn block_from(
        &mut self,
        sequence: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<u8>>, DiskError> {
        let found = self.search_from(sequence, findings);
        self.failures = match &found {
            Ok(_) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        found
    }

    fn search_from(
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
        let is_sure = self.failures >= FAILURES_MAX;
        let Some(generation) = self.generations.get_mut(index) else {
            return Ok(None);
        };
        let open = self
            .reader
            .take()
            .filter(|reader| reader.path == generation.path);
        let open = match open {
            Some(open) => open.search_on(generation)?,
            None => None,
        };
        let reader = match open {
            Some(open) => open,
            None => open_reader(generation, self.owner, &self.set_aside, is_sure, findings)?,
        };
        let found = reader.block_from(sequence);
        let was_there = reader.log.as_ref().is_some_and(|log| log.covers(sequence));
        let is_bad = match &found {
            Ok(block) => block.is_none(),
            Err(_) => is_sure,
        };
        if is_bad && was_there {
            let again = open_reader(generation, self.owner, &self.set_aside, is_sure, findings)?;
            return self.reader.insert(again).block_from(sequence);
        }
        self.reader = Some(reader);
        found
    }
}

/// What is missing is damage, and told of once; unless some of the file could not be read and that `is_sure` not to pass.
fn open_reader(
    generation: &mut Generation,
    owner: Owner,
    set_aside: &Path,
    is_sure: bool,
    findings: &mut Vec<Finding>,
) -> Result<Reader, DiskError> {
    let path = generation.path.clone();
    let mut log = Log::open_if_there(&path, owner).map_err(DiskError::io(&path))?;
    let mut missing = generation.present.clone();
    for header in log.iter().flat_map(Log::headers) {
        missing.remove(header.first..header.end());
    }
    let unread = log.as_mut().and_then(|log| log.unread.take());
    if let Some(error) = unread.filter(|_| !missing.is_empty() && !generation.told && !is_sure) {
        return Err(DiskError::io(&path)(error));
    }
    let foreign = log.as_ref().map_or(0, |log| log.foreign);
    if foreign > std::mem::replace(&mut generation.foreign, foreign) {
        findings.push(Finding::Foreign {
            generation: path.clone(),
            blocks: foreign,
            kept_at: path.join(log::FILE),
        });
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
    Ok(Reader {
        path,
        log,
        searched_to: generation.end(),
    })
}
