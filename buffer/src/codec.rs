//! Records to blocks and back: CBOR, zstd, and ChaCha20-Poly1305 where there is a key.
//!
//! The body of a block is a CBOR array of (distance from `first`, record) in serde's packed form, compressed
//! as one zstd frame. A frame that is too long for one block is cut into pieces of about the same length, each of which
//! is stored as a block. With a key a body is `nonce [12] ‖ ciphertext ‖ tag [16]`, bound to its block's header.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::block::{
    self, BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, BlockError, BufferId, CODEC_ZSTD,
    CODEC_ZSTD_CHACHA20_POLY1305, HEADER_BYTES, Header, PIECES_MAX, Placed, STORED_BYTES_MAX,
};
use crate::cbor;
use crate::keys::Keys;
use crate::ranges::Ranges;

const ZSTD_LEVEL: i32 = 1;
/// What decompression may give at most: no damaged length can ask for more memory than this. A block of today is far smaller;
/// the first versions cut blocks by a size that left out tags, so theirs may hold 256 records of 96 KiB.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that encryption adds: nonce and tag.
const ENCRYPTION_BYTES: usize = 28;
/// sled 0.34 makes a blob file of what is over 131,020 bytes with its key and some 8 bytes more. It never syncs that file, and nobody
/// searches it: blocks of 131,003 bytes and more were lost.
const SLED_BYTES: usize = 64;
/// Of the compressed body, in one piece.
const PIECE_BYTES_MAX: usize = STORED_BYTES_MAX - SLED_BYTES - HEADER_BYTES - ENCRYPTION_BYTES;

/// An encoded logical block and what is in it.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Of its first piece.
    pub(crate) header: Header,
    pub(crate) sequences: Ranges,
    /// Its pieces, one after the other.
    pub(crate) bytes: Vec<u8>,
}

/// What the header of a block says besides its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) lane: u8,
    pub(crate) before: u64,
    pub(crate) stamp: u64,
    pub(crate) wall: u64,
    pub(crate) buffer: BufferId,
    /// What it says where it is encrypted: see [`Owner::bound`](crate::block::Owner::bound).
    pub(crate) bound: u64,
}

/// Writes blocks, with compression buffers that are used again.
pub(crate) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    keys: Keys,
    /// The block that is being encoded; kept for its memory.
    body: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(keys: Keys) -> std::io::Result<Encoder> {
        Ok(Encoder {
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            keys,
            body: Vec::new(),
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Encodes the first of `records`, which are in order of sequence, as one logical block: as many as share an epoch and fit
    /// into it, and at least one. The header's `count` says how many.
    pub(crate) fn encode<R: Serialize>(
        &mut self,
        place: Place,
        records: &[Placed<R>],
    ) -> std::io::Result<Encoded> {
        let records = self.fill(records)?;
        let (Some(head), Some(tail)) = (records.first(), records.last()) else {
            return Err(std::io::Error::other("a block needs a record"));
        };
        let body = self.zstd.compress(&self.body)?;
        let narrow = |wide: u64| u32::try_from(wide).map_err(std::io::Error::other);
        let parts = body.len().div_ceil(PIECE_BYTES_MAX);
        if parts > PIECES_MAX || (parts > 1 && records.len() > 1) {
            let much = format!("{} bytes are too much for a block", body.len());
            return Err(std::io::Error::other(much));
        }
        let encrypts = !self.keys.is_empty();
        let header = Header {
            version: 3,
            lane: place.lane,
            codec: if encrypts {
                CODEC_ZSTD_CHACHA20_POLY1305
            } else {
                CODEC_ZSTD
            },
            epoch: head.epoch,
            first: head.sequence,
            span: narrow(tail.sequence + 1 - head.sequence)?,
            count: narrow(records.len() as u64)?,
            length: 0,
            before: place.before,
            stamp: place.stamp,
            key: self.keys.writing(),
            wall: place.wall,
            buffer: place.buffer,
            part: 0,
            parts: u16::try_from(parts).map_err(std::io::Error::other)?,
            bound: if encrypts { place.bound } else { 0 },
        };
        let each = records.iter().map(|r| r.sequence..r.sequence + 1);
        let (sequences, bytes) = (each.collect(), self.pieces(header, body)?);
        self.body.shrink_to(2 * BLOCK_BYTES_MAX);
        Ok(Encoded {
            header: block::header(&bytes).map_err(std::io::Error::other)?,
            sequences,
            bytes,
        })
    }

    /// The pieces of `header` and a whole `body`, one after the other.
    fn pieces(&self, header: Header, body: Vec<u8>) -> std::io::Result<Vec<u8>> {
        if header.parts == 1 {
            return self.piece(header, body);
        }
        let each = body.len().div_ceil(usize::from(header.parts));
        let mut bytes = Vec::new();
        for (part, piece) in (0..).zip(body.chunks(each)) {
            bytes.extend(self.piece(Header { part, ..header }, piece.to_vec())?);
        }
        Ok(bytes)
    }

    /// An encrypted block as it is for another generation, lane or gateway, encrypted with the first key; another as it is.
    pub(crate) fn bind(&self, block: &Encoded, bound: u64) -> Result<Encoded, BlockError> {
        let mut bytes = Vec::with_capacity(block.bytes.len());
        for (_, piece) in block::pieces(&block.bytes) {
            let (header, sealed, body) = block::check(piece)?;
            if !header.is_encrypted() {
                bytes.extend_from_slice(piece);
                continue;
            }
            let plain = open(&header, sealed, body, &self.keys)?.into_owned();
            let key = self.keys.writing();
            let fresh = self.piece(
                Header {
                    key,
                    bound,
                    ..header
                },
                plain,
            );
            bytes.extend(fresh.map_err(|error| BlockError::Body {
                first: header.first,
                reason: error.to_string(),
            })?);
        }
        Ok(Encoded {
            header: block::header(&bytes)?,
            sequences: block.sequences.clone(),
            bytes,
        })
    }

    fn piece(&self, header: Header, body: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let encrypts = header.is_encrypted();
        let added = if encrypts { ENCRYPTION_BYTES } else { 0 };
        let length = u32::try_from(body.len() + added).map_err(std::io::Error::other)?;
        let header = Header { length, ..header };
        let sealed = header.encode();
        let body = if encrypts {
            self.keys.seal(&sealed, body)?
        } else {
            body
        };
        Ok(block::join(sealed, &body))
    }

    /// Fills the body with the first of `records`, and returns them.
    fn fill<'r, R: Serialize>(
        &mut self,
        records: &'r [Placed<R>],
    ) -> std::io::Result<&'r [Placed<R>]> {
        self.body.clear();
        let mut count: u16 = 0;
        for record in records.iter().take(BLOCK_RECORDS_MAX) {
            let head = &records[0];
            let before = self.body.len();
            let distance = record.sequence - head.sequence;
            cbor::append_packed(&mut self.body, &(distance, &record.record))?;
            let fits = record.epoch == head.epoch && self.body.len() <= BLOCK_BYTES_MAX;
            if count > 0 && !fits {
                self.body.truncate(before);
                break;
            }
            count += 1;
        }
        self.body.splice(0..0, cbor::array_head(count));
        Ok(records.get(..usize::from(count)).unwrap_or(records))
    }
}

/// Decodes the logical block that `bytes` are, which has all its pieces.
pub(crate) fn decode<R: DeserializeOwned>(
    bytes: &[u8],
    keys: &Keys,
) -> Result<(Header, Vec<Placed<R>>), BlockError> {
    let (header, sealed, body) = block::check(bytes)?;
    let broken = |reason: String| BlockError::Body {
        first: header.first,
        reason,
    };
    let mut body = open(&header, sealed, body, keys)?;
    let mut rest = bytes.get(header.stored_length()..).unwrap_or_default();
    for part in 1..header.parts {
        let (next, sealed, piece) = block::check(rest)?;
        if next.part != part || !next.is_mate_of(&header) {
            return Err(broken(format!("piece {part} is missing")));
        }
        let piece = open(&next, sealed, piece, keys)?;
        body.to_mut().extend_from_slice(&piece);
        rest = rest.get(next.stored_length()..).unwrap_or_default();
    }
    if header.part != 0 {
        return Err(broken("its first piece is missing".into()));
    }
    let known = zstd::zstd_safe::get_frame_content_size(&body);
    let length = known.ok().flatten().map_or(BODY_BYTES_MAX, |length| {
        usize::try_from(length).map_or(BODY_BYTES_MAX, |length| length.min(BODY_BYTES_MAX))
    });
    let plain = zstd::bulk::decompress(&body, length).map_err(|e| broken(e.to_string()))?;
    let records: Vec<(u64, R)> = cbor::decode(&plain).map_err(|e| broken(e.to_string()))?;
    let place = |(distance, record)| Placed {
        sequence: header.first + distance,
        epoch: header.epoch,
        record,
    };
    Ok((header, records.into_iter().map(place).collect()))
}

/// The body of a block as it was before it was encrypted, if it was.
fn open<'b>(
    header: &Header,
    sealed: &[u8],
    body: &'b [u8],
    keys: &Keys,
) -> Result<Cow<'b, [u8]>, BlockError> {
    let (first, key) = (header.first, header.key);
    if !header.is_encrypted() {
        return Ok(Cow::Borrowed(body));
    }
    if !keys.knows(key) {
        return Err(BlockError::NoKey { first, key });
    }
    let opened = keys.open(key, sealed, body);
    opened.map(Cow::Owned).ok_or_else(|| BlockError::Body {
        first,
        reason: "it is not what was encrypted".into(),
    })
}

/// The sequences that are in the block at the start of `bytes`; its whole span if it cannot be looked into.
pub(crate) fn sequences(header: &Header, bytes: &[u8], keys: &Keys) -> Ranges {
    let span = || std::iter::once(header.first..header.end()).collect();
    if header.count == header.span {
        return span();
    }
    decode::<IgnoredAny>(bytes, keys).map_or_else(
        |_| span(),
        |(_, records)| records.iter().map(|r| r.sequence..r.sequence + 1).collect(),
    )
}

#[cfg(test)]
mod tests;
