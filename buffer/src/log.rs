//! Reading a generation: the raw file that sled wrote is searched for our own blocks.
//!
//! sled is never asked to open what was written before: it may panic on damage, shorten a file in silence, zero
//! sound data beyond the damage, and it keeps all of an open database in memory. A block that was flushed
//! stands in the file in one piece, and proves itself.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::block::{self, BlockError, Header, STORED_BYTES_MAX};

/// Read at once while searching.
const CHUNK: usize = 256 * 1024;
/// What a worn-out medium fails to read, at least.
const SECTOR: usize = 4096;
/// Where sled puts what it is given.
pub(crate) const FILE: &str = "db";
/// The largest block with its header.
const OVERLAP: usize = STORED_BYTES_MAX + 128;

#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Whose blocks they are, by the tag of its name.
    lane: u8,
    /// Sound blocks by their first sequence.
    blocks: Vec<(Header, u64)>,
    /// There is the beginning of a block that is not sound.
    pub(crate) torn: bool,
}

impl Log {
    /// [`Log::open`], or `None` where the file is gone.
    pub(crate) fn open_if_there(directory: &Path, lane: u8) -> io::Result<Option<Log>> {
        match Log::open(directory, lane) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            log => log.map(Some),
        }
    }

    /// Searches the generation in `directory`. What cannot be read is taken for damage, unless nothing can.
    pub(crate) fn open(directory: &Path, lane: u8) -> io::Result<Log> {
        let mut log = Log {
            file: File::open(directory.join(FILE))?,
            lane,
            blocks: Vec::new(),
            torn: false,
        };
        log.search(0)?;
        Ok(log)
    }

    /// Searches what was written since: sled only appends to a database that is only added to. Where it did not, the
    /// caller does not find what it looks for, and opens the file anew.
    pub(crate) fn search_on(&mut self) -> io::Result<()> {
        let ends = self.blocks.iter();
        let ends = ends.map(|(header, offset)| offset + header.stored_length() as u64);
        let from = ends.max().unwrap_or(0);
        self.search(from)
    }

    fn search(&mut self, from: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let window = usize::try_from(length.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut window = vec![0; window.min(CHUNK + OVERLAP)];
        let (mut offset, mut skip) = (from, 0);
        while offset < length {
            let got = read_what_can_be(&self.file, &mut window, offset)?;
            let bytes = window.get(..got).unwrap_or_default();
            let mut at = skip;
            while let Some(start) = block::find(bytes, at).filter(|start| *start < CHUNK) {
                at = start + 1;
                match block::check(bytes.get(start..).unwrap_or_default()) {
                    Ok((header, ..)) if header.lane == self.lane => {
                        self.blocks.push((header, offset + start as u64));
                        at = start + header.stored_length();
                    }
                    Err(BlockError::Checksum { .. } | BlockError::Short) => self.torn = true,
                    Ok(_) | Err(_) => {}
                }
            }
            skip = at.saturating_sub(CHUNK);
            offset += CHUNK as u64;
        }
        // sled may have written a page again; the last copy is as good as the first.
        self.blocks
            .sort_by_key(|(header, offset)| (header.first, *offset));
        self.blocks.dedup_by_key(|(header, _)| header.first);
        Ok(())
    }

    pub(crate) fn headers(&self) -> impl ExactSizeIterator<Item = &Header> {
        self.blocks.iter().map(|(header, _)| header)
    }

    /// The first block that ends after `sequence`, as stored. `None` when there is none, or it is no longer sound.
    pub(crate) fn block_from(&self, sequence: u64) -> io::Result<Option<Vec<u8>>> {
        let index = self
            .blocks
            .partition_point(|(header, _)| header.end() <= sequence);
        self.read(index)
    }

    /// Whether a block was found that holds `sequence`.
    pub(crate) fn covers(&self, sequence: u64) -> bool {
        let index = self
            .blocks
            .partition_point(|(header, _)| header.end() <= sequence);
        self.blocks
            .get(index)
            .is_some_and(|(header, _)| header.first <= sequence)
    }

    pub(crate) fn read(&self, index: usize) -> io::Result<Option<Vec<u8>>> {
        let Some((header, offset)) = self.blocks.get(index) else {
            return Ok(None);
        };
        let mut bytes = vec![0; header.stored_length()];
        self.file.read_exact_at(&mut bytes, *offset)?;
        Ok(Some(bytes).filter(|bytes| block::check(bytes).is_ok()))
    }
}

/// Fills `window` from `offset` and says how much there was; sectors that cannot be read are zeros.
fn read_what_can_be(file: &File, window: &mut [u8], offset: u64) -> io::Result<usize> {
    match read_full(file, window, offset) {
        Err(error) if error.kind() != ErrorKind::Interrupted => {
            let (mut good, mut got) = (false, 0);
            for (number, sector) in window.chunks_mut(SECTOR).enumerate() {
                let at = offset + (number * SECTOR) as u64;
                match read_full(file, sector, at) {
                    Ok(0) => break,
                    Ok(length) => (good, got) = (true, number * SECTOR + length),
                    Err(_) => {
                        sector.fill(0);
                        got = (number + 1) * SECTOR;
                    }
                }
            }
            if good { Ok(got) } else { Err(error) }
        }
        outcome => outcome,
    }
}

fn read_full(file: &File, window: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
