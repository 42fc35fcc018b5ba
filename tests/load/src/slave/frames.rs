//! Frames of RTU slaves, made without the code under test.

/// The answer of a slave that is well.
pub(super) fn good(asked: &[u8]) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([asked[at], asked[at + 1]]);
    let (first, count) = (word(2), word(4));
    let values =
        (0..count).map(|index| (u16::from(asked[0]) * 100).wrapping_add(first.wrapping_add(index)));
    let mut frame = vec![
        asked[0],
        asked[1],
        u8::try_from(count * 2).unwrap_or(u8::MAX),
    ];
    frame.extend(values.flat_map(u16::to_be_bytes));
    summed(frame)
}

pub(super) fn exception(asked: &[u8], code: u8) -> Vec<u8> {
    summed(vec![asked[0], asked[1] | 0x80, code])
}

fn summed(mut frame: Vec<u8>) -> Vec<u8> {
    let mut sum = 0xFFFF_u16;
    for byte in &frame {
        sum ^= u16::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xA001
            } else {
                sum >> 1
            };
        }
    }
    frame.extend(sum.to_le_bytes());
    frame
}
