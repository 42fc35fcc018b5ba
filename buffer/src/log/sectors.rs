//! Reading what can be read of a medium that wears out: sector by sector, where a whole window cannot be had.

use std::io::{self, ErrorKind};

/// What a worn-out medium fails to read, at least.
const SECTOR: usize = 4096;
/// How often a sector is asked for among others that can be read: a flaky one often comes at the second time.
const TRIES: usize = 3;

/// What there was of a window.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) length: usize,
    /// Why some of its sectors are zeros.
    pub(super) unread: Option<io::Error>,
}

/// Fills `window` from `offset`; sectors that cannot be read are zeros. An error where none can be.
pub(super) fn read_what_can_be(
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    window: &mut [u8],
    offset: u64,
) -> io::Result<Got> {
    let all = match read_full(&mut read, window, offset) {
        Err(error) if error.kind() != ErrorKind::Interrupted => error,
        outcome => {
            return outcome.map(|length| Got {
                length,
                unread: None,
            });
        }
    };
    let place = |number: usize| offset + (number * SECTOR) as u64;
    let (mut good, mut length) = (false, 0);
    let mut bad = Vec::new();
    for (number, sector) in window.chunks_mut(SECTOR).enumerate() {
        match read_full(&mut read, sector, place(number)) {
            Ok(0) => break,
            Ok(got) => (good, length) = (true, number * SECTOR + got),
            Err(_) => {
                sector.fill(0);
                length = number * SECTOR + sector.len();
                bad.push(number);
            }
        }
    }
    if !good {
        return Err(all);
    }
    for _ in 1..TRIES {
        bad.retain(|number| {
            let sector = window.chunks_mut(SECTOR).nth(*number).unwrap_or_default();
            let again = read_full(&mut read, sector, place(*number));
            if again.is_err() {
                sector.fill(0);
            }
            again.is_err()
        });
    }
    Ok(Got {
        length,
        unread: (!bad.is_empty()).then_some(all),
    })
}

fn read_full(
    read: &mut impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    window: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of ten and a half sectors of ones, in which reads of a sector fail as often as `failures` says.
    fn read(failures: &mut [usize; 11]) -> io::Result<(Vec<u8>, Got)> {
        let size = SECTOR * 21 / 2;
        let mut window = vec![7; SECTOR * 12];
        let got = read_what_can_be(
            |into, offset| {
                let from = usize::try_from(offset).unwrap().min(size);
                let to = (from + into.len()).min(size);
                if from == size {
                    return Ok(0);
                }
                for left in &mut failures[from / SECTOR..to.div_ceil(SECTOR)] {
                    if *left > 0 {
                        *left -= 1;
                        return Err(io::Error::from_raw_os_error(5));
                    }
                }
                into[..to - from].fill(1);
                Ok(to - from)
            },
            &mut window,
            0,
        )?;
        Ok((window, got))
    }

    #[test]
    fn a_sector_that_cannot_be_read_is_zeros_and_one_that_can_at_the_third_time_is_what_it_is() {
        for (tries, is_read) in [(0, true), (1, true), (3, true), (4, false)] {
            let mut failures = [0; 11];
            failures[3] = tries;
            let (window, got) = read(&mut failures).unwrap();
            assert_eq!(got.length, SECTOR * 21 / 2);
            assert_eq!(got.unread.is_none(), is_read, "{tries}");
            let sector = &window[3 * SECTOR..4 * SECTOR];
            assert!(sector.iter().all(|byte| *byte == u8::from(is_read)));
            assert!(window[..3 * SECTOR].iter().all(|byte| *byte == 1));
            let rest = &window[4 * SECTOR..got.length];
            assert!(rest.iter().all(|byte| *byte == 1));
        }
    }

    #[test]
    fn where_nothing_can_be_read_that_is_an_error_after_one_try_of_each_sector() {
        let mut failures = [usize::MAX; 11];
        assert_eq!(read(&mut failures).unwrap_err().raw_os_error(), Some(5));
        let tried: usize = failures.iter().map(|left| usize::MAX - left).sum();
        assert_eq!(tried, 12, "the whole, and each once");
    }
}
