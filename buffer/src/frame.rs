//! A value with a checksum, which a raw search of a file finds: the marks, and the seal of a generation.
//!
//! ```text
//! magic [6] | number u64 | length u32 | crc32c u32 | value
//! ```
//!
//! Integers are little endian. The checksum covers all before it, and the value.

use memchr::memmem;

pub(crate) const MARKS: [u8; 6] = *b"TGMRK\x02";
pub(crate) const SEAL: [u8; 6] = *b"TGSEA\x02";

const CRC_OFFSET: usize = 18;
const VALUE_OFFSET: usize = 22;
/// No value is larger: above a quarter of sled's segment it would become a blob file, which sled never syncs.
pub(crate) const VALUE_BYTES_MAX: usize = 120 * 1024;

pub(crate) fn encode(magic: [u8; 6], number: u64, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(VALUE_OFFSET + value.len());
    frame.extend_from_slice(&magic);
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame), value);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.extend_from_slice(value);
    frame
}

/// Number and value of the frame at the start of `bytes`, if it is whole and sound.
pub(crate) fn decode(magic: [u8; 6], bytes: &[u8]) -> Option<(u64, &[u8])> {
    let sealed = bytes.get(..CRC_OFFSET)?;
    if !sealed.starts_with(&magic) {
        return None;
    }
    let number = u64::from_le_bytes(sealed.get(6..14)?.try_into().ok()?);
    let length = u32::from_le_bytes(sealed.get(14..CRC_OFFSET)?.try_into().ok()?) as usize;
    let stored = u32::from_le_bytes(bytes.get(CRC_OFFSET..VALUE_OFFSET)?.try_into().ok()?);
    let value = bytes.get(VALUE_OFFSET..VALUE_OFFSET.checked_add(length)?)?;
    let sound = crc32c::crc32c_append(crc32c::crc32c(sealed), value) == stored;
    sound.then_some((number, value))
}

/// Of all sound frames in `bytes`, the one with the highest number.
pub(crate) fn newest(magic: [u8; 6], bytes: &[u8]) -> Option<(u64, &[u8])> {
    memmem::find_iter(bytes, &magic)
        .filter_map(|at| decode(magic, bytes.get(at..)?))
        .max_by_key(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sound_frame_is_found_among_damaged_ones() {
        let mut file = b"noise TGMRK".to_vec();
        for (number, value) in [(7, "seven"), (9, "nine"), (8, "eight")] {
            file.extend(encode(MARKS, number, value.as_bytes()));
        }
        assert_eq!(newest(MARKS, &file), Some((9, &b"nine"[..])));
        let nine = file.len() - encode(MARKS, 8, b"eight").len() - 1;
        file[nine] ^= 1;
        assert_eq!(newest(MARKS, &file), Some((8, &b"eight"[..])));
        assert_eq!(newest(SEAL, &file), None);
    }

    #[test]
    fn the_frame_format_is_stable() {
        let hex: Vec<String> = encode(SEAL, 258, b"v")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex.join(" "),
            "54 47 53 45 41 02 02 01 00 00 00 00 00 00 01 00 00 00 59 dc 2b 69 76"
        );
    }
}
