//! An NTP server on this machine (ntpd, ntpsec), by RFC 5905: a client's question, and what the answer says of the server's own
//! clock, which is this machine's. Pure.

pub(super) const PORT: u16 = 123;

/// Version 4, mode 3 (client).
const CLIENT: u8 = 0x23;
const LENGTH: usize = 48;
const MODE_SERVER: u8 = 4;
/// Leap indicator of a clock that is not synchronised.
const UNSYNCHRONISED: u8 = 3;
/// Seconds from 1900 to 1970.
const EPOCH: i64 = 2_208_988_800;

pub(super) fn request() -> [u8; LENGTH] {
    let mut request = [0; LENGTH];
    request[0] = CLIENT;
    request
}

/// When the server's clock was last set or corrected, in microseconds since 1970, if it is synchronised to another than itself.
pub(super) fn synced(answer: &[u8]) -> Option<i64> {
    let answer: &[u8; LENGTH] = answer.get(..LENGTH)?.try_into().ok()?;
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 7, answer[1]);
    let itself = answer[12..15] == [127, 127, 1] || answer[12..16] == *b"LOCL";
    if leap == UNSYNCHRONISED || mode != MODE_SERVER || !(1..16).contains(&stratum) || itself {
        return None;
    }
    let word = |at: usize| Some(u32::from_be_bytes(*answer[at..].first_chunk()?));
    let (seconds, fraction) = (word(16)?, word(20)?);
    // The era that began in 1900 ends in 2036.
    let era = i64::from(seconds < 1 << 31) << 32;
    let micros = (u64::from(fraction) * 1_000_000) >> 32;
    Some((i64::from(seconds) + era - EPOCH) * 1_000_000 + i64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(leap: u8, stratum: u8, from: [u8; 4], seconds: u32) -> Vec<u8> {
        let mut answer = vec![0; LENGTH];
        (answer[0], answer[1]) = (leap << 6 | 0x24, stratum);
        answer[12..16].copy_from_slice(&from);
        answer[16..20].copy_from_slice(&seconds.to_be_bytes());
        answer[20] = 0x80;
        answer
    }

    #[test]
    fn a_server_vouches_if_it_is_synchronised_to_another() {
        let server = [192, 0, 2, 1];
        for (answer, says) in [
            (
                answer(0, 2, server, 3_972_988_800),
                Some(1_764_000_000_500_000),
            ),
            // In 2037.
            (
                answer(0, 2, server, 20_000_000),
                Some(2_105_978_496_500_000),
            ),
            (answer(3, 2, server, 3_972_988_800), None),
            (answer(0, 0, server, 3_972_988_800), None),
            (answer(0, 16, server, 3_972_988_800), None),
            (answer(0, 6, [127, 127, 1, 0], 3_972_988_800), None),
            (answer(0, 2, server, 3_972_988_800)[..47].to_vec(), None),
            (request().to_vec(), None),
        ] {
            assert_eq!(synced(&answer), says);
        }
    }
}
