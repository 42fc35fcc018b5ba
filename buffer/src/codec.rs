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
/// Of the compressed body, in one piece.
const PIECE_BYTES_MAX: usize = STORED_BYTES_MAX - HEADER_BYTES - ENCRYPTION_BYTES;

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
        let encrypts = self.keys.ids().next().is_some();
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

    fn piece(&self, header: Header, body: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let encrypts = header.codec == CODEC_ZSTD_CHACHA20_POLY1305;
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
    if header.codec != CODEC_ZSTD_CHACHA20_POLY1305 {
        return Ok(Cow::Borrowed(body));
    }
    if keys.ids().all(|known| known != key) {
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

    fn keys(encrypted: bool) -> Keys {
        let texts: Vec<String> = encrypted.then(|| "42".repeat(32)).into_iter().collect();
        Keys::parse(&texts).unwrap()
    }

    fn encode(first: u64, texts: &[String], keys: &Keys) -> Encoded {
        let place = Place {
            lane: 7,
            before: 200,
            stamp: 77,
            wall: 1_790_000_000_000,
            buffer: BufferId(*b"0123456789abcdef"),
        };
        let mut encoder = Encoder::new(keys.clone()).unwrap();
        encoder.encode(place, &placed(first, texts)).unwrap()
    }

    /// A quarter of it compresses away.
    fn noise(seed: u64, size: usize) -> String {
        let mut state = seed | 1;
        let letters = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b' ' + (state >> 58) as u8)
        });
        letters.take(size).collect()
    }

    /// Every byte of it, so that no change of code or library changes the format unnoticed.
    #[test]
    fn the_block_format_is_frozen() {
        let block = encode(258, &["a".into(), "b".into()], &keys(false)).bytes;
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5447424c4b030701030000000201000000000000030000000200000012000000c8000000000000004d0000000000000000000000006c50c4a0010000303132333435363738396162636465660000010000000000000000005ebc67d228b52ffd2009490000828200616182026162"
        );
    }

    proptest! {
        #[test]
        fn a_block_comes_back_as_it_went_in(
            first in 5u64..1 << 40, texts in prop::collection::vec(".{0,40}", 1..50), encrypted: bool,
        ) {
            let keys = keys(encrypted);
            let block = encode(first, &texts, &keys);
            let (header, read) = decode::<String>(&block.bytes, &keys).unwrap();
            prop_assert_eq!((header.first, header.end()), (first, first + texts.len() as u64 * 2 - 1));
            prop_assert_eq!((header.before, header.stamp), (200, 77));
            prop_assert_eq!((header.wall, header.buffer), (1_790_000_000_000, BufferId(*b"0123456789abcdef")));
            prop_assert_eq!(sequences(&header, &block.bytes, &keys), block.sequences);
            prop_assert_eq!(read, placed(first, &texts));
        }

        /// Whatever its size, it is in as few pieces as hold it, and all of them are needed, in their order.
        #[test]
        fn a_large_record_is_cut_into_pieces_and_put_together(
            size in prop_oneof![120_000usize..140_000, 250_000usize..270_000, 900_000usize..=1_000_000],
            seed in any::<u64>(), encrypted: bool, hit in any::<prop::sample::Index>(),
        ) {
            let keys = keys(encrypted);
            let text = noise(seed, size);
            let block = encode(9, std::slice::from_ref(&text), &keys);
            let pieces: Vec<&[u8]> = block::pieces(&block.bytes).map(|(_, piece)| piece).collect();
            prop_assert_eq!(pieces.len(), usize::from(block.header.parts));
            prop_assert!(pieces.concat() == block.bytes);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= STORED_BYTES_MAX && block::check(piece).is_ok()));
            let (header, read) = decode::<String>(&block.bytes, &keys).unwrap();
            prop_assert!((header, read) == (block.header, placed(9, &[text])));
            if pieces.len() > 1 {
                let hit = hit.index(pieces.len());
                let mut without = pieces.clone();
                without.remove(hit);
                prop_assert!(decode::<String>(&without.concat(), &keys).is_err());
                let mut swapped = pieces.clone();
                swapped.swap(hit, (hit + 1) % pieces.len());
                prop_assert!(decode::<String>(&swapped.concat(), &keys).is_err());
                prop_assert!(decode::<String>(&pieces[..hit].concat(), &keys).is_err());
            }
        }

        #[test]
        fn a_flipped_bit_is_always_found(
            texts in prop::collection::vec(".{0,40}", 1..20), bit in any::<prop::sample::Index>(), encrypted: bool,
        ) {
            let keys = keys(encrypted);
            let mut block = encode(9, &texts, &keys).bytes;
            let bit = bit.index(block.len() * 8);
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode::<String>(&block, &keys).is_err());
        }

        #[test]
        fn noise_is_never_taken_for_a_block(noise in prop::collection::vec(any::<u8>(), 0..200), version in 0u8..4) {
            let framed = [&b"TGBLK"[..], &[version, 0, CODEC_ZSTD], &noise].concat();
            prop_assert!(decode::<String>(&framed, &Keys::default()).is_err());
        }
    }

    #[test]
    fn a_missing_key_is_named() {
        let sealed = encode(9, &["a".into()], &keys(true)).bytes;
        let error = decode::<String>(&sealed, &Keys::default()).unwrap_err();
        assert!(
            matches!(error, BlockError::NoKey { first: 9, .. }),
            "{error}"
        );
    }
}
