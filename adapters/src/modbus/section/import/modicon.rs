//! Modicon's numbering of registers and bits, in which a number says what it is of: 40001 is the first holding register.

/// Function and address on the wire of a number of five or six digits; `None` if it is none.
///
/// 00001 are coils (function 1), 10001 discrete inputs (2), 30001 input registers (4), 40001 holding registers (3); each
/// counts from 1 where the wire counts from 0 (Application Protocol section 4.4).
pub(super) fn place(number: &str) -> Option<(u8, u16)> {
    if !(5..=6).contains(&number.len()) || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (kind, place) = number.split_at_checked(1)?;
    let function = match kind {
        "0" => 1,
        "1" => 2,
        "3" => 4,
        "4" => 3,
        _ => return None,
    };
    let place: u32 = place.parse().ok()?;
    Some((function, u16::try_from(place.checked_sub(1)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_it_is_of() {
        for (number, is) in [
            ("40001", Some((3, 0))),
            ("49999", Some((3, 9998))),
            ("400001", Some((3, 0))),
            ("465536", Some((3, 65_535))),
            ("465537", None),
            ("40000", None),
            ("400000", None),
            ("30001", Some((4, 0))),
            ("300101", Some((4, 100))),
            ("10001", Some((2, 0))),
            ("00001", Some((1, 0))),
            ("000017", Some((1, 16))),
            ("50001", None),
            ("4001", None),
            ("4000001", None),
            ("1", None),
            ("0x9C41", None),
            ("4000é", None),
            ("", None),
        ] {
            assert_eq!(place(number), is, "{number}");
        }
    }
}
