//! Reading a generation: the raw file that sled wrote is searched for our own blocks.
//!
//! sled is never asked to open what was written before: it may panic on damage, shorten a file in silence, zero
//! sound data beyond the damage, and it keeps all of an open database in memory. A block that was flushed
//! stands in the file as it is, and proves itself. A record of several pieces is there when all of them are.

mod sectors;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::block::{self, BlockError, Header, Owner, STORED_BYTES_MAX, Whose};

/// Read at once while searching.
const CHUNK: usize = 256 * 1024;
/// Where sled puts what it is given.
pub(crate) const FILE: &str = "db";
/// The largest block with its header.
const OVERLAP: usize = STORED_BYTES_MAX + 128;

#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Whose blocks they are, and in which generation.
    owner: Owner,
    generation: u64,
    /// Sound logical blocks by their first sequence, each with all its pieces.
    blocks: Vec<Found>,
    /// There is the beginning of a block that is not sound, or a piece of one that is not all there.
    pub(crate) torn: bool,
    /// Why some of it could not be read: blocks may be missing that are there.
    pub(crate) unread: Option<io::Error>,
    /// Blocks, and pieces of them, that are refused: see [`Whose::Foreign`].
    pub(crate) foreign: usize,
}

#[derive(Debug)]
struct Found {
    /// Of its first piece.
    header: Header,
    offset: u64,
    /// Where its other pieces are, and how long they are.
    rest: Vec<(u64, usize)>,
}

impl Found {
    /// Where its last piece ends in the file.
    fn end(&self) -> u64 {
        let first = (self.offset, self.header.stored_length());
        let pieces = std::iter::once(&first).chain(&self.rest);
        let ends = pieces.map(|(offset, length)| offset + *length as u64);
        ends.max().unwrap_or(0)
    }
}

impl Log {
    /// [`Log::open`], or `None` where the file is gone.
    pub(crate) fn open_if_there(directory: &Path, owner: Owner) -> io::Result<Option<Log>> {
        match Log::open(directory, owner) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            log => log.map(Some),
        }
    }

    /// Searches the generation in `directory` for blocks of `owner`. What cannot be read is taken for damage, unless
    /// nothing can.
    pub(crate) fn open(directory: &Path, owner: Owner) -> io::Result<Log> {
        let mut log = Log {
            file: File::open(directory.join(FILE))?,
            owner,
            generation: generation_of(directory).unwrap_or(0),
            blocks: Vec::new(),
            torn: false,
            unread: None,
            foreign: 0,
        };
        log.search(0)?;
        Ok(log)
    }

    /// Searches what was written since: sled only appends to a database that is only added to. Where it did not, the
    /// caller does not find what it looks for, and opens the file anew.
    pub(crate) fn search_on(&mut self) -> io::Result<()> {
        let from = self.blocks.iter().map(Found::end).max().unwrap_or(0);
        self.search(from)
    }

    fn search(&mut self, from: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let window = usize::try_from(length.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut window = vec![0; window.min(CHUNK + OVERLAP)];
        let (mut offset, mut skip, mut pieces) = (from, 0, Vec::new());
        while offset < length {
            let read = |into: &mut [u8], at| self.file.read_at(into, at);
            let got = sectors::read_what_can_be(read, &mut window, offset)?;
            self.unread = self.unread.take().or(got.unread);
            let bytes = window.get(..got.length).unwrap_or_default();
            let mut at = skip;
            while let Some(start) = block::find(bytes, at).filter(|start| *start < CHUNK) {
                at = start + 1;
                match block::check(bytes.get(start..).unwrap_or_default()) {
                    Ok((header, ..)) => match self.owner.whose(&header, self.generation) {
                        Whose::Ours => {
                            pieces.push((header, offset + start as u64));
                            at = start + header.stored_length();
                        }
                        Whose::Foreign => self.foreign += 1,
                        Whose::Others => {}
                    },
                    Err(BlockError::Checksum { .. } | BlockError::Short) => self.torn = true,
                    Err(_) => {}
                }
            }
            skip = at.saturating_sub(CHUNK);
            offset += CHUNK as u64;
        }
        let (blocks, all) = assemble(pieces);
        self.torn |= !all;
        self.blocks.extend(blocks);
        // sled may have written a page again; the first copy is as good as the last.
        self.blocks
            .sort_by_key(|found| (found.header.first, found.offset));
        self.blocks.dedup_by_key(|found| found.header.first);
        Ok(())
    }

    pub(crate) fn headers(&self) -> impl ExactSizeIterator<Item = &Header> {
        self.blocks.iter().map(|found| &found.header)
    }

    /// The first logical block that ends after `sequence`, as stored. `None` when there is none, or it is no longer sound.
    pub(crate) fn block_from(&self, sequence: u64) -> io::Result<Option<Vec<u8>>> {
        self.read(self.index_from(sequence))
    }

    /// Whether a block was found that holds `sequence`.
    pub(crate) fn covers(&self, sequence: u64) -> bool {
        let found = self.blocks.get(self.index_from(sequence));
        found.is_some_and(|found| found.header.first <= sequence)
    }

    fn index_from(&self, sequence: u64) -> usize {
        self.blocks
            .partition_point(|found| found.header.end() <= sequence)
    }

    /// A logical block: its pieces, one after the other.
    pub(crate) fn read(&self, index: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(found) = self.blocks.get(index) else {
            return Ok(None);
        };
        let first = found.header.stored_length();
        let rest: usize = found.rest.iter().map(|(_, length)| length).sum();
        let mut bytes = vec![0; first + rest];
        let mut at = 0;
        for (offset, length) in std::iter::once(&(found.offset, first)).chain(&found.rest) {
            let piece = bytes.get_mut(at..at + length).unwrap_or_default();
            self.file.read_exact_at(piece, *offset)?;
            if block::check(piece).is_err() {
                return Ok(None);
            }
            at += length;
        }
        Ok(Some(bytes))
    }
}

/// The first sequence of the generation that a directory of this name holds.
pub(crate) fn generation_of(directory: &Path) -> Option<u64> {
    let name = directory.file_name()?.to_str()?;
    let digits = name.split('-').next()?;
    let numbers = name
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    digits.parse().ok().filter(|_| numbers)
}

/// Logical blocks by their first sequence, and whether no piece is left over. sled may have written a page again: of equal
/// pieces the first counts. Of a logical block of which a piece is missing none does.
fn assemble(mut pieces: Vec<(Header, u64)>) -> (Vec<Found>, bool) {
    pieces.sort_by_key(|(header, offset)| (header.first, header.part, *offset));
    pieces.dedup_by_key(|(header, _)| (header.first, header.part));
    let (mut blocks, mut all) = (Vec::with_capacity(pieces.len()), true);
    for mates in pieces.chunk_by(|(one, _), (next, _)| one.first == next.first) {
        let [(header, offset), rest @ ..] = mates else {
            continue;
        };
        let is_next =
            |(part, (mate, _)): (u16, &(Header, u64))| mate.part == part && mate.is_mate_of(header);
        let whole = header.part == 0
            && mates.len() == usize::from(header.parts)
            && (1..).zip(rest).all(is_next);
        all &= whole;
        if whole {
            let place = |(mate, offset): &(Header, u64)| (*offset, mate.stored_length());
            blocks.push(Found {
                header: *header,
                offset: *offset,
                rest: rest.iter().map(place).collect(),
            });
        }
    }
    (blocks, all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::{BufferId, Placed};
    use crate::codec::{self, Encoder, Place};
    use crate::keys::Keys;

    const OURS: BufferId = BufferId([7; 16]);

    fn noise(seed: u64, size: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let bytes = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        });
        bytes.take(size).collect()
    }

    /// Stands for the bytes of a record.
    fn record(sequence: u64, size: usize) -> Placed<Vec<u8>> {
        Placed {
            sequence,
            epoch: 1,
            record: noise(sequence, size),
        }
    }

    fn block(sequence: u64, size: usize, buffer: BufferId) -> Vec<u8> {
        let place = Place {
            lane: 3,
            before: sequence,
            stamp: 0,
            wall: 0,
            buffer,
            bound: 0,
        };
        let mut encoder = Encoder::new(Keys::default()).unwrap();
        let block = encoder.encode(place, &[record(sequence, size)]);
        block.unwrap().bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever lies between the pieces, in whatever order, and whatever else looks like them: what has all its
        /// pieces is found, and of what lacks one there is nothing.
        #[test]
        fn what_is_whole_is_found_in_any_order_among_garbage(
            sizes in prop::collection::vec(prop_oneof![10usize..200, 100_000usize..500_000], 1..6),
            order in any::<u64>(), lost in any::<prop::sample::Index>(), tears: bool,
        ) {
            let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
            for (sequence, size) in (0..).zip(&sizes) {
                let whole = block(sequence, *size, OURS);
                pieces.extend(block::pieces(&whole).map(|(_, piece)| (sequence, piece.to_vec())));
                // Of another buffer, in the same place.
                pieces.push((u64::MAX, block(sequence, 50, BufferId([8; 16]))));
            }
            let lost = lost.index(pieces.len());
            let (gone, piece) = &mut pieces[lost];
            let gone = *gone;
            if tears {
                let middle = piece.len() / 2;
                piece[middle] ^= 1;
            } else {
                piece.clear();
            }
            let rank = |index: usize| (index as u64 + 1).wrapping_mul(order | 1);
            let mut places: Vec<usize> = (0..pieces.len()).collect();
            places.sort_by_key(|index| rank(*index));
            let mut file = Vec::new();
            for index in places {
                let pad = usize::try_from(rank(index) % 70_000).unwrap();
                file.extend(noise(order, pad));
                file.extend_from_slice(b"TGBLK");
                file.extend(&pieces[index].1);
            }
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join(FILE), &file).unwrap();
            let owner = Owner::of_lane(3, Some(OURS));
            let log = Log::open(directory.path(), owner).unwrap();
            let mut read = Vec::new();
            for index in 0..log.headers().len() {
                let bytes = log.read(index).unwrap().unwrap();
                read.extend(codec::decode::<Vec<u8>>(&bytes, &Keys::default()).unwrap().1);
            }
            let whole = (0..).zip(&sizes).filter(|(sequence, _)| *sequence != gone);
            let whole: Vec<_> = whole.map(|(sequence, size)| record(sequence, *size)).collect();
            prop_assert!(read == whole);
            let missing = log.block_from(gone).unwrap();
            prop_assert!(missing.is_none_or(|next| block::check(&next).unwrap().0.first > gone));
        }
    }
}
