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
        bound: 9,
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

/// Of one piece and of several.
#[test]
fn what_is_bound_to_another_generation_says_the_same() {
    let keys = keys(true);
    for text in ["a".to_owned(), noise(3, 300_000)] {
        let block = encode(9, std::slice::from_ref(&text), &keys);
        assert_eq!(block.header.bound, 9);
        let mut moved = block.bytes.clone();
        moved[80] ^= 1; // and the checksum
        let checksum = crc32c::crc32c_append(
            crc32c::crc32c(&moved[..HEADER_BYTES - 4]),
            &moved[HEADER_BYTES..block.header.stored_length()],
        );
        moved[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        assert!(
            decode::<String>(&moved, &keys).is_err(),
            "it is bound to its header"
        );
        let again = Encoder::new(keys.clone())
            .unwrap()
            .bind(&block, 10)
            .unwrap();
        assert_eq!(again.header.bound, 10);
        let (_, read) = decode::<String>(&again.bytes, &keys).unwrap();
        assert!(read == placed(9, &[text]));
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
