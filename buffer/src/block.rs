//! The block: the unit of writing, and all that reading and recovery rely on.
//!
//! A block carries its own truth, so that one found by a raw search of a broken file is as good as any:
//!
//! ```text
//! magic "TGBLK\x02" | lane u8 | codec u8 | epoch u32 | first u64 | span u32 | count u32 | length u32
//! | before u64 | stamp u64 | key u32 | crc32c u32 | body
//! ```
//!
//! Integers are little endian. The block answers for the sequences `first .. first + span`, of which
//! `count` are in it (others were delivered before it was written). `before` is where the block that was
//! written before it in its lane ended, so that a missing one is noticed. `stamp` is the time of writing on
//! the buffer's own clock, see [`crate::clock`]. The body is what [`crate::codec`] makes of the records. The
//! checksum covers the header before it, and the body. `docs/FORMAT.md` has it byte by byte.

use memchr::memmem;

use crate::keys::KeyId;

/// Records in one block: enough for zstd to find what repeats, few enough to hold two in memory.
pub(crate) const BLOCK_RECORDS_MAX: usize = 256;
/// Bytes of encoded records in one block before compression, if it holds more than one.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Stored bytes of one block. Above a quarter of sled's segment it would become a blob file, which
/// sled never syncs: a quarter of 512 KiB, less what sled adds to a value.
pub(crate) const STORED_BYTES_MAX: usize = 128 * 1024 - 64;
/// A record that is longer than this when it is encoded could make a block that sled cannot keep safely, and is refused.
pub const RECORD_BYTES_MAX: usize = 112 * 1024;

// Persisted: never renumber.
const MAGIC: &[u8; 5] = b"TGBLK";
const VERSION: u8 = 2;
pub(crate) const CODEC_ZSTD: u8 = 1;
pub(crate) const CODEC_ZSTD_CHACHA20_POLY1305: u8 = 2;
const HEADER_BYTES: usize = 56;
/// Format 1 had no `before`, `stamp` and `key`.
const HEADER_BYTES_1: usize = 36;

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
}

impl Header {
    /// The first position after the block.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.span))
    }

    /// Bytes of the whole block.
    pub(crate) fn stored_length(&self) -> usize {
        self.body_offset() + self.length as usize
    }

    fn body_offset(&self) -> usize {
        if self.version == 1 {
            HEADER_BYTES_1
        } else {
            HEADER_BYTES
        }
    }

    /// The header up to its checksum, as it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
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
        bytes
    }

    /// The block of this header and `body`.
    pub(crate) fn with_body(&self, body: &[u8]) -> Vec<u8> {
        let mut block = self.encode();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&block), body);
        block.extend_from_slice(&checksum.to_le_bytes());
        block.extend_from_slice(body);
        block
    }
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

fn header(bytes: &[u8]) -> Result<Header, BlockError> {
    let start = bytes.get(..8).ok_or(BlockError::Short)?;
    let (version, lane, codec) = (start[5], start[6], start[7]);
    let known = match version {
        1 => codec == CODEC_ZSTD,
        VERSION => matches!(codec, CODEC_ZSTD | CODEC_ZSTD_CHACHA20_POLY1305),
        _ => false,
    };
    if !start.starts_with(MAGIC) || !known {
        return Err(BlockError::NotABlock);
    }
    let later = |at: usize| match version {
        1 => Ok(0),
        _ => field(bytes, at).map(u64::from_le_bytes),
    };
    let header = Header {
        version,
        lane,
        codec,
        epoch: u32::from_le_bytes(field(bytes, 8)?),
        first: u64::from_le_bytes(field(bytes, 12)?),
        span: u32::from_le_bytes(field(bytes, 20)?),
        count: u32::from_le_bytes(field(bytes, 24)?),
        length: u32::from_le_bytes(field(bytes, 28)?),
        before: later(32)?,
        stamp: later(40)?,
        key: match version {
            1 => KeyId::NONE,
            _ => KeyId(u32::from_le_bytes(field(bytes, 48)?)),
        },
    };
    if header.length as usize > STORED_BYTES_MAX || header.count == 0 || header.count > header.span
    {
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
