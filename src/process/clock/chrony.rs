//! chrony, asked as `chronyc tracking` asks (candm.h, version 6): its port on this machine answers anybody. Pure.

pub(super) const PORT: u16 = 323;

const VERSION: u8 = 6;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// The command, and the format of its reply.
const TRACKING: u16 = 33;
const REPLY_TRACKING: u16 = 5;
/// A question is as long as its answer, so that nobody is flooded with answers.
const LENGTH: usize = 104;
/// Leap status of a clock that is not synchronised.
const UNSYNCHRONISED: u16 = 3;
/// Reference of a clock that is synchronised to itself.
const ITSELF: u32 = 0x7f7f_0101;
/// Where chrony has still to slew more than this away, the clock does not show what it calls right.
const CORRECTION_MOST: f64 = 0.5;

pub(super) fn request() -> [u8; LENGTH] {
    let mut request = [0; LENGTH];
    (request[0], request[1]) = (VERSION, REQUEST);
    request[4..6].copy_from_slice(&TRACKING.to_be_bytes());
    request
}

/// When the last measurement was taken in, in microseconds since 1970, if the system's clock is synchronised and right by it.
pub(super) fn synced(answer: &[u8]) -> Option<i64> {
    let half = |at: usize| Some(u16::from_be_bytes(*answer.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_be_bytes(*answer.get(at..)?.first_chunk()?));
    let head = answer.get(..2)? == [VERSION, REPLY].as_slice();
    let asked = (half(4)?, half(6)?, half(8)?) == (TRACKING, REPLY_TRACKING, 0);
    let (reference, stratum, leap) = (word(28)?, half(52)?, half(54)?);
    let correction = float(word(68)?);
    let right = leap != UNSYNCHRONISED
        && (1..16).contains(&stratum)
        && reference != ITSELF
        && correction.abs() <= CORRECTION_MOST;
    if !head || !asked || !right {
        return None;
    }
    // From a 32-bit system the upper half may say that there is none.
    let upper = Some(word(56)?).filter(|upper| *upper != 0x7fff_ffff);
    let seconds = i64::from(upper.unwrap_or(0)) << 32 | i64::from(word(60)?);
    let micros = i64::from(word(64)? / 1000);
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// chrony's own: seven bits of exponent, 25 of coefficient, both signed.
#[expect(
    clippy::cast_possible_wrap,
    reason = "the bits are of two signed numbers"
)]
fn float(bits: u32) -> f64 {
    let (exponent, coefficient) = (bits as i32 >> 25, (bits << 7) as i32 >> 7);
    f64::from(coefficient) * 2f64.powi(exponent - 25)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(&mut Vec<u8>)) -> Option<i64> {
        let mut answer = vec![0; LENGTH];
        (answer[0], answer[1]) = (VERSION, REPLY);
        answer[5] = 33;
        answer[7] = 5;
        answer[28..32].copy_from_slice(&[192, 0, 2, 1]);
        answer[53] = 3;
        answer[60..64].copy_from_slice(&1_764_000_000_u32.to_be_bytes());
        answer[64..68].copy_from_slice(&250_000_000_u32.to_be_bytes());
        change(&mut answer);
        synced(&answer)
    }

    #[test]
    fn chrony_vouches_if_it_is_synchronised_and_has_nothing_left_to_correct() {
        let right = Some(1_764_000_000_250_000);
        assert_eq!(answer(|_| {}), right);
        assert_eq!(
            answer(|one| one[56..60].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff])),
            right
        );
        assert_eq!(answer(|one| one[55] = 3), None, "not synchronised");
        assert_eq!(answer(|one| one[53] = 0), None, "no stratum");
        assert_eq!(
            answer(|one| one[28..32].copy_from_slice(&ITSELF.to_be_bytes())),
            None
        );
        assert_eq!(answer(|one| one[9] = 2), None, "it may not be asked");
        assert_eq!(answer(|one| one.truncate(60)), None);
        assert_eq!(answer(|one| one[1] = REQUEST), None);
        // A second, to be slewed away: 2^23 with an exponent of 2.
        let second = (2_u32 << 25) | (1 << 23);
        assert!((float(second) - 1.0).abs() < 1e-9 && float(0x01ff_ffff) < 0.0);
        assert_eq!(
            answer(|one| one[68..72].copy_from_slice(&second.to_be_bytes())),
            None
        );
    }
}
