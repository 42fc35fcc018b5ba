//! The block: the unit of writing, and all that recovery can rely on.
//!
//! A block carries its own truth, so that one found by a raw scan of a broken database is as good
//! as one that sled handed out:
//!
//! ```text
//! magic "TGBLK\x01" | lane u8 | codec u8 | epoch u32 | first u64 | span u32 | count u32 | length u32
//! | crc32c u32 | body
//! ```
//!
//! Integers are little endian. The block answers for the sequences `first .. first + span`, of which
//! `count` are in it (others were delivered before it was written). The body is a CBOR array of
//! (distance from `first`, record) in serde's packed form, as zstd (codec 1). The checksum covers
//! the header before it, and the body.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cbor;
use crate::ranges::Ranges;

/// Records in one block: enough for zstd to find what repeats, few enough to hold two in memory.
pub(crate) const BLOCK_RECORDS_MAX: usize = 256;
/// Bytes of records in one block before compression.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Stored bytes of one block. Above a quarter of sled's segment it would become a blob file, which
/// sled never syncs: a quarter of 512 KiB, less what sled adds to a value.
pub(crate) const STORED_BYTES_MAX: usize = 128 * 1024 - 64;
/// A record over this could make a block that sled cannot keep safely.
pub const RECORD_BYTES_MAX: usize = 112 * 1024;
/// What decompression may give at most: no damaged length can ask for more memory than this.
const BODY_BYTES_MAX: usize = 1024 * 1024;

// Persisted: never renumber.
const MAGIC: &[u8; 6] = b"TGBLK\x01";
const CODEC_ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 1;
const HEADER_BYTES: usize = 36;
const CRC_OFFSET: usize = 32;

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
    pub(crate) lane: u8,
    pub(crate) epoch: u32,
    pub(crate) first: u64,
    pub(crate) span: u32,
    pub(crate) count: u32,
    length: u32,
}

impl Header {
    /// The first position after the block.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.span))
    }
}

/// An encoded block that was checked, and what is in it.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) header: Header,
    pub(crate) sequences: Ranges,
    pub(crate) encoded: Vec<u8>,
}

impl Sound {
    pub(crate) fn new(encoded: Vec<u8>) -> Result<Sound, BlockError> {
        Ok(Sound {
            header: check(&encoded)?,
            sequences: sequences(&encoded)?,
            encoded,
        })
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
}

/// Writes blocks, with compression buffers that are used again.
pub(crate) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> std::io::Result<Encoder> {
        Ok(Encoder {
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
        })
    }

    /// Encodes `records`, which share an epoch and are in order of sequence.
    pub(crate) fn encode<R: Serialize>(
        &mut self,
        lane: u8,
        records: &[Placed<R>],
    ) -> std::io::Result<Vec<u8>> {
        let (Some(head), Some(tail)) = (records.first(), records.last()) else {
            return Err(std::io::Error::other("a block needs a record"));
        };
        let body: Vec<(u64, &R)> = records
            .iter()
            .map(|r| (r.sequence - head.sequence, &r.record))
            .collect();
        let body = self.zstd.compress(&cbor::encode_packed(&body)?)?;
        let narrow = |wide: u64| u32::try_from(wide).map_err(std::io::Error::other);
        let mut block = Vec::with_capacity(HEADER_BYTES + body.len());
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&[lane, CODEC_ZSTD]);
        block.extend_from_slice(&head.epoch.to_le_bytes());
        block.extend_from_slice(&head.sequence.to_le_bytes());
        block.extend_from_slice(&narrow(tail.sequence + 1 - head.sequence)?.to_le_bytes());
        block.extend_from_slice(&narrow(records.len() as u64)?.to_le_bytes());
        block.extend_from_slice(&narrow(body.len() as u64)?.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&block), &body);
        block.extend_from_slice(&checksum.to_le_bytes());
        block.extend_from_slice(&body);
        Ok(block)
    }
}

/// Reads the header of the block at the start of `bytes` and checks the block whole.
pub(crate) fn check(bytes: &[u8]) -> Result<Header, BlockError> {
    let header = header(bytes)?;
    let body = body(&header, bytes)?;
    let sealed = bytes.get(..CRC_OFFSET).ok_or(BlockError::Short)?;
    let stored = u32::from_le_bytes(field(bytes, CRC_OFFSET)?);
    if crc32c::crc32c_append(crc32c::crc32c(sealed), body) != stored {
        return Err(BlockError::Checksum {
            first: header.first,
        });
    }
    Ok(header)
}

/// Decodes the block at the start of `bytes`.
pub(crate) fn decode<R: DeserializeOwned>(
    bytes: &[u8],
) -> Result<(Header, Vec<Placed<R>>), BlockError> {
    let header = check(bytes)?;
    let broken = |reason: String| BlockError::Body {
        first: header.first,
        reason,
    };
    let plain = zstd::bulk::decompress(body(&header, bytes)?, BODY_BYTES_MAX)
        .map_err(|e| broken(e.to_string()))?;
    let records: Vec<(u64, R)> = cbor::decode(&plain).map_err(|e| broken(e.to_string()))?;
    let place = |(distance, record)| Placed {
        sequence: header.first + distance,
        epoch: header.epoch,
        record,
    };
    Ok((header, records.into_iter().map(place).collect()))
}

/// The sequences that are in the block at the start of `bytes`.
fn sequences(bytes: &[u8]) -> Result<Ranges, BlockError> {
    let header = check(bytes)?;
    if header.count == header.span {
        return Ok(std::iter::once(header.first..header.end()).collect());
    }
    let (_, records) = decode::<serde::de::IgnoredAny>(bytes)?;
    Ok(records
        .iter()
        .map(|record| record.sequence..record.sequence + 1)
        .collect())
}

/// The stored length of a whole and sound block at the start of `bytes`.
pub(crate) fn stored_length(header: &Header) -> usize {
    HEADER_BYTES + header.length as usize
}

/// Where the next block may begin in `bytes`, at or after `from`.
pub(crate) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(MAGIC.len())
        .position(|window| window == MAGIC)
        .map(|at| from + at)
}

fn header(bytes: &[u8]) -> Result<Header, BlockError> {
    if !bytes.starts_with(MAGIC) || bytes.get(7) != Some(&CODEC_ZSTD) {
        return Err(BlockError::NotABlock);
    }
    Ok(Header {
        lane: *bytes.get(6).ok_or(BlockError::Short)?,
        epoch: u32::from_le_bytes(field(bytes, 8)?),
        first: u64::from_le_bytes(field(bytes, 12)?),
        span: u32::from_le_bytes(field(bytes, 20)?),
        count: u32::from_le_bytes(field(bytes, 24)?),
        length: u32::from_le_bytes(field(bytes, 28)?),
    })
}

fn body<'a>(header: &Header, bytes: &'a [u8]) -> Result<&'a [u8], BlockError> {
    bytes
        .get(HEADER_BYTES..HEADER_BYTES + header.length as usize)
        .ok_or(BlockError::Short)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BlockError> {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(BlockError::Short)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn placed(first: u64, texts: &[String]) -> Vec<Placed<String>> {
        let place = |(i, text): (usize, &String)| Placed {
            sequence: first + i as u64 * 2,
            epoch: 3,
            record: text.clone(),
        };
        texts.iter().enumerate().map(place).collect()
    }

    #[test]
    fn the_block_format_is_stable() {
        let block = Encoder::new()
            .unwrap()
            .encode(7, &placed(258, &["a".into(), "b".into()]))
            .unwrap();
        let header =
            "54 47 42 4c 4b 01 07 01 03 00 00 00 02 01 00 00 00 00 00 00 03 00 00 00 02 00 00 00";
        let hex: Vec<String> = block[..28]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex.join(" "), header);
    }

    proptest! {
        #[test]
        fn a_block_comes_back_as_it_went_in(first in 5u64..1 << 40, texts in prop::collection::vec(".{0,40}", 1..50)) {
            let records = placed(first, &texts);
            let block = Encoder::new().unwrap().encode(1, &records).unwrap();
            let (header, read) = decode::<String>(&block).unwrap();
            prop_assert_eq!((header.first, header.end()), (first, first + texts.len() as u64 * 2 - 1));
            prop_assert_eq!(read, records);
        }

        #[test]
        fn a_flipped_bit_is_always_found(texts in prop::collection::vec(".{0,40}", 1..20), bit in any::<prop::sample::Index>()) {
            let mut block = Encoder::new().unwrap().encode(1, &placed(9, &texts)).unwrap();
            let bit = bit.index(block.len() * 8);
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode::<String>(&block).is_err());
        }

        #[test]
        fn noise_is_never_taken_for_a_block(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let framed = [&MAGIC[..], &[0, CODEC_ZSTD], &noise].concat();
            prop_assert!(decode::<String>(&framed).is_err());
        }
    }
}
