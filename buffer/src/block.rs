//! The block: the unit of writing, and all that reading and recovery rely on.
//!
//! A block carries its own truth, so that one found by a raw search of a broken file is as good as any:
//!
//! ```text
//! magic "TGBLK\x03" | lane u8 | codec u8 | epoch u32 | first u64 | span u32 | count u32 | length u32
//! | before u64 | stamp u64 | key u32 | wall u64 | buffer [16] | part u16 | parts u16 | bound u64 | crc32c u32 | body
//! ```
//!
//! Integers are little endian. The block answers for the sequences `first .. first + span`, of which
//! `count` are in it (others were delivered before it was written). `before` is where the block that was
//! written before it in its lane ended, so that a missing one is noticed. `stamp` is the time of writing on
//! the buffer's own clock, see [`crate::clock`], `wall` the same as the world has it, and `buffer` the identity of
//! the state directory that it was written for. `bound` says for which gateway, lane and generation it was encrypted, see
//! [`crate::keys`]; 0 where it is not, or was before there was such a thing. The body is what [`crate::codec`] makes of the records. The
//! checksum covers the header before it, and the body. `docs/FORMAT.md` has it byte by byte.
//!
//! A record that is too large for one block is alone in a *logical block*, whose body is cut into `parts` pieces. Each is a
//! block of its own on disk, with its `part` from 0 on. Their bytes one after the other are the logical block in memory.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyId, Scope};

/// Records in one block: enough for zstd to find what repeats, few enough to hold two in memory.
pub(crate) const BLOCK_RECORDS_MAX: usize = 256;
/// Bytes of encoded records in one block before compression, if it holds more than one.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Stored bytes of one block, as it is read; what is written is a little less, see [`crate::codec`]. Above a quarter of sled's segment,
/// 512 KiB, it would become a blob file, which sled never syncs.
pub(crate) const STORED_BYTES_MAX: usize = 128 * 1024 - 64;
/// Pieces of one logical block, at most.
pub(crate) const PIECES_MAX: usize = 8;
/// No record is longer when it is encoded: one that does not compress still fits into [`PIECES_MAX`] pieces, and a write of
/// it into what a lane may write at once.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

// Persisted: never renumber.
const MAGIC: &[u8; 5] = b"TGBLK";
const VERSION: u8 = 3;
pub(crate) const CODEC_ZSTD: u8 = 1;
pub(crate) const CODEC_ZSTD_CHACHA20_POLY1305: u8 = 2;
pub(crate) const HEADER_BYTES: usize = 92;
/// Format 2 ended with `key`.
const HEADER_BYTES_2: usize = 56;
/// Format 1 had no `before`, `stamp` and `key`.
const HEADER_BYTES_1: usize = 36;

/// Which buffer a block was written for: random, made when a state directory is first written.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct BufferId(pub(crate) [u8; 16]);

/// Whose blocks are looked for. A block of another lane or another buffer is not taken for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) lane: u8,
    /// `None` accepts those of any buffer.
    pub(crate) buffer: Option<BufferId>,
    /// What is encrypted is bound to it; `None` accepts whatever a block is bound to.
    pub(crate) scope: Option<Scope>,
    /// Where there is a scope, blocks that are neither bound nor encrypted for this buffer are ours before this sequence: they are
    /// older than the keys.
    pub(crate) plain_to: u64,
}

/// Whose a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    /// Of another lane or another buffer, or what only looks like a block.
    Others,
    /// It claims to be ours, but is not encrypted though it is newer than the keys, or is encrypted for another gateway, lane or
    /// generation.
    Foreign,
}

impl Owner {
    /// Of a lane whose blocks are taken as they are, whatever the keys.
    pub(crate) fn of_lane(lane: u8, buffer: Option<BufferId>) -> Owner {
        Owner {
            lane,
            buffer,
            scope: None,
            plain_to: u64::MAX,
        }
    }

    /// Whose a block is that stands in the generation with this first sequence. Blocks of formats 1 and 2 do not say which
    /// buffer they are of.
    pub(crate) fn whose(&self, header: &Header, generation: u64) -> Whose {
        let both = self.buffer.zip(header.buffer());
        if header.lane != self.lane || both.is_some_and(|(one, other)| one != other) {
            return Whose::Others;
        }
        let Some(scope) = self.scope else {
            return Whose::Ours;
        };
        let is_bound = header.is_encrypted() && header.bound == scope.bound(generation);
        let is_older = header.bound == 0 && header.end() <= self.plain_to;
        // Written by an earlier version that was gone back to: it has the key, and what it encrypts names the buffer.
        let is_of_earlier = header.bound == 0 && header.is_encrypted() && both.is_some();
        if is_bound || is_older || is_of_earlier {
            Whose::Ours
        } else {
            Whose::Foreign
        }
    }

    /// What blocks of this generation are to say.
    pub(crate) fn bound(&self, generation: u64) -> u64 {
        self.scope.map_or(0, |scope| scope.bound(generation))
    }
}

/// A record and where it stands in its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<R> {
    /// Place in the lane. Dense within an epoch; rises over restarts and is never used again.
    pub sequence: u64,
    /// The agent's start that took it.
    pub epoch: u32,
    pub record: R,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u8,
    pub(crate) lane: u8,
    pub(crate) codec: u8,
    pub(crate) epoch: u32,
    pub(crate) first: u64,
    pub(crate) span: u32,
    pub(crate) count: u32,
    pub(crate) length: u32,
    /// Where the block before it ended; 0 where that is not known.
    pub(crate) before: u64,
    /// Milliseconds of the buffer's clock.
    pub(crate) stamp: u64,
    pub(crate) key: KeyId,
    /// Milliseconds since 1970 when it was written; 0 where the clock was not known to be set.
    pub(crate) wall: u64,
    pub(crate) buffer: BufferId,
    /// Which piece of its logical block it is, of how many.
    pub(crate) part: u16,
    pub(crate) parts: u16,
    /// The gateway, lane and generation that it was encrypted for; 0 where it says nothing of it.
    pub(crate) bound: u64,
}

impl Header {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.codec == CODEC_ZSTD_CHACHA20_POLY1305
    }

    /// The first position after the block.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.span))
    }

    /// Bytes of the whole block.
    pub(crate) fn stored_length(&self) -> usize {
        self.body_offset() + self.length as usize
    }

    /// Which buffer it was written for, if it says so.
    pub(crate) fn buffer(&self) -> Option<BufferId> {
        (self.version >= VERSION).then_some(self.buffer)
    }

    fn body_offset(&self) -> usize {
        match self.version {
            1 => HEADER_BYTES_1,
            2 => HEADER_BYTES_2,
            _ => HEADER_BYTES,
        }
    }

    /// Whether both are pieces of the same logical block, of the same writing.
    pub(crate) fn is_mate_of(&self, other: &Header) -> bool {
        let place = |header: &Header| Header {
            part: 0,
            length: 0,
            ..*header
        };
        place(self) == place(other)
    }

    /// The header up to its checksum, as it is stored, with room for the body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.stored_length());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, self.lane, self.codec]);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.span.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.before.to_le_bytes());
        bytes.extend_from_slice(&self.stamp.to_le_bytes());
        bytes.extend_from_slice(&self.key.0.to_le_bytes());
        bytes.extend_from_slice(&self.wall.to_le_bytes());
        bytes.extend_from_slice(&self.buffer.0);
        bytes.extend_from_slice(&self.part.to_le_bytes());
        bytes.extend_from_slice(&self.parts.to_le_bytes());
        bytes.extend_from_slice(&self.bound.to_le_bytes());
        bytes
    }
}

/// The block of an encoded header and `body`.
pub(crate) fn join(header: Vec<u8>, body: &[u8]) -> Vec<u8> {
    let mut block = header;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&block), body);
    block.extend_from_slice(&checksum.to_le_bytes());
    block.extend_from_slice(body);
    block
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BlockError {
    #[error("not a block")]
    NotABlock,
    #[error("block is cut short")]
    Short,
    #[error("checksum of block {first} does not match")]
    Checksum { first: u64 },
    #[error("block {first} cannot be decoded: {reason}")]
    Body { first: u64, reason: String },
    #[error("block {first} is encrypted with key {key}, which is not given")]
    NoKey { first: u64, key: KeyId },
}

/// Header, header bytes before the checksum, and body of the block at the start of `bytes`, checked.
pub(crate) fn check(bytes: &[u8]) -> Result<(Header, &[u8], &[u8]), BlockError> {
    let header = header(bytes)?;
    let at = header.body_offset();
    let part = |from: usize, to: usize| bytes.get(from..to).ok_or(BlockError::Short);
    let (sealed, stored) = (part(0, at - 4)?, u32::from_le_bytes(field(bytes, at - 4)?));
    let body = part(at, header.stored_length())?;
    if crc32c::crc32c_append(crc32c::crc32c(sealed), body) != stored {
        return Err(BlockError::Checksum {
            first: header.first,
        });
    }
    Ok((header, sealed, body))
}

/// Where the next block may begin in `bytes`, at or after `from`.
pub(crate) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    memmem::find(bytes.get(from..)?, MAGIC).map(|at| from + at)
}

/// The pieces of the logical block that `bytes` are, as they were written. What is no piece ends them.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = header(rest).ok()?;
        let (piece, after) = rest.split_at_checked(header.stored_length())?;
        rest = after;
        Some((header.part, piece))
    })
}

/// The header at the start of `bytes`, unchecked.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, BlockError> {
    let start = bytes.get(..8).ok_or(BlockError::Short)?;
    let (version, lane, codec) = (start[5], start[6], start[7]);
    let known = match version {
        1 => codec == CODEC_ZSTD,
        2 | VERSION => matches!(codec, CODEC_ZSTD | CODEC_ZSTD_CHACHA20_POLY1305),
        _ => false,
    };
    if !start.starts_with(MAGIC) || !known {
        return Err(BlockError::NotABlock);
    }
    let mut header = Header {
        version,
        lane,
        codec,
        epoch: u32::from_le_bytes(field(bytes, 8)?),
        first: u64::from_le_bytes(field(bytes, 12)?),
        span: u32::from_le_bytes(field(bytes, 20)?),
        count: u32::from_le_bytes(field(bytes, 24)?),
        length: u32::from_le_bytes(field(bytes, 28)?),
        before: 0,
        stamp: 0,
        key: KeyId::NONE,
        wall: 0,
        buffer: BufferId::default(),
        part: 0,
        parts: 1,
        bound: 0,
    };
    if version > 1 {
        header.before = u64::from_le_bytes(field(bytes, 32)?);
        header.stamp = u64::from_le_bytes(field(bytes, 40)?);
        header.key = KeyId(u32::from_le_bytes(field(bytes, 48)?));
    }
    if version > 2 {
        header.wall = u64::from_le_bytes(field(bytes, 52)?);
        header.buffer = BufferId(field(bytes, 60)?);
        header.part = u16::from_le_bytes(field(bytes, 76)?);
        header.parts = u16::from_le_bytes(field(bytes, 78)?);
        header.bound = u64::from_le_bytes(field(bytes, 80)?);
    }
    let holds = (1..=header.span).contains(&header.count);
    // What is cut into pieces is one record.
    let is_piece = header.part < header.parts
        && usize::from(header.parts) <= PIECES_MAX
        && (header.parts == 1 || header.span == 1);
    if header.length as usize > STORED_BYTES_MAX || !holds || !is_piece {
        return Err(BlockError::NotABlock);
    }
    Ok(header)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BlockError> {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(BlockError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;

    const SECRET: u8 = CODEC_ZSTD_CHACHA20_POLY1305;
    const PLAIN: u8 = CODEC_ZSTD;

    #[test]
    fn whose_a_block_is_follows_from_what_it_is_encrypted_for_and_how_old_it_is() {
        let keys = Keys::parse(&["42".repeat(32)]).unwrap();
        let scope = keys.for_gateway("gw-1").scope("state");
        let owner = Owner {
            lane: 3,
            buffer: Some(BufferId([7; 16])),
            scope,
            plain_to: 100,
        };
        let bound = owner.bound(50);
        for (codec, bound, first, buffer, version, expected) in [
            (SECRET, bound, 200, 7, VERSION, Whose::Ours),
            (SECRET, bound ^ 1, 50, 7, VERSION, Whose::Foreign),
            // Plain: before there were keys, and after that.
            (PLAIN, 0, 50, 7, VERSION, Whose::Ours),
            (PLAIN, 0, 200, 7, VERSION, Whose::Foreign),
            (PLAIN, bound, 200, 7, VERSION, Whose::Foreign),
            // By an earlier version that was gone back to; one of format 2 does not name the buffer.
            (SECRET, 0, 200, 7, VERSION, Whose::Ours),
            (SECRET, 0, 200, 8, VERSION, Whose::Others),
            (SECRET, 0, 200, 7, 2, Whose::Foreign),
        ] {
            let header = Header {
                version,
                lane: 3,
                codec,
                epoch: 1,
                first,
                span: 1,
                count: 1,
                length: 9,
                before: first,
                stamp: 0,
                key: KeyId(0),
                wall: 0,
                buffer: BufferId([buffer; 16]),
                part: 0,
                parts: 1,
                bound,
            };
            assert_eq!(owner.whose(&header, 50), expected, "{header:?}");
        }
    }
}
