//! Dates and times of day as devices pack them.

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::super::section::MomentFormat;

/// As ISO 8601 has it: without a zone, as the device has none, but for seconds since 1970, which are UTC. `None` where
/// it is no date.
pub(super) fn text(format: MomentFormat, raw: &[u8]) -> Option<String> {
    let words: Vec<u16> = raw
        .as_chunks::<2>()
        .0
        .iter()
        .map(|word| u16::from_be_bytes(*word))
        .collect();
    let moment = match (format, words.as_slice()) {
        (MomentFormat::Registers, &[year, month, day, hour, minute, second]) => {
            civil(year, [month, day, hour, minute, second], 0)
        }
        (MomentFormat::Bcd, &[a, b, c]) => {
            let digits: Option<Vec<u16>> = [a, b, c]
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .map(|byte| {
                    let (tens, ones) = (byte >> 4, byte & 0xF);
                    (tens <= 9 && ones <= 9).then(|| u16::from(tens * 10 + ones))
                })
                .collect();
            let [year, rest @ ..] = <[u16; 6]>::try_from(digits?).ok()?;
            civil(2000 + year, rest, 0)
        }
        (MomentFormat::Ti081, &[year, date, time, ms]) => civil(
            2000 + (year & 0x7F),
            [
                date >> 8 & 0xF,
                date & 0x1F,
                time >> 8 & 0x1F,
                time & 0x3F,
                ms / 1000,
            ],
            ms % 1000,
        ),
        (MomentFormat::Unix, &[high, low]) => {
            let seconds = i64::from(high) << 16 | i64::from(low);
            return Timestamp::from_second(seconds)
                .ok()
                .map(|at| at.to_string());
        }
        _ => None,
    };
    moment.map(|moment| moment.to_string())
}

fn civil(year: u16, rest: [u16; 5], ms: u16) -> Option<DateTime> {
    let [month, day, hour, minute, second] = rest.map(|part| i8::try_from(part).ok());
    DateTime::new(
        i16::try_from(year).ok()?,
        month?,
        day?,
        hour?,
        minute?,
        second?,
        i32::from(ms) * 1_000_000,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_tells_the_time_is_understood() {
        for (format, words, expected) in [
            (
                MomentFormat::Registers,
                &[2026, 2, 28, 23, 59, 58][..],
                Some("2026-02-28T23:59:58"),
            ),
            (MomentFormat::Registers, &[2026, 2, 30, 0, 0, 0], None),
            (
                MomentFormat::Bcd,
                &[0x2611, 0x2601, 0x0259],
                Some("2026-11-26T01:02:59"),
            ),
            (MomentFormat::Bcd, &[0x2611, 0x2A01, 0x0259], None),
            (
                MomentFormat::Ti081,
                &[26, 0x0B9A, 0x0102, 59_250],
                Some("2026-11-26T01:02:59.25"),
            ),
            (
                MomentFormat::Unix,
                &[0x0001, 0x5180],
                Some("1970-01-02T00:00:00Z"),
            ),
            (MomentFormat::Unix, &[1], None),
        ] {
            let raw: Vec<u8> = words
                .iter()
                .flat_map(|word: &u16| word.to_be_bytes())
                .collect();
            assert_eq!(
                text(format, &raw).as_deref(),
                expected,
                "{format:?} {words:?}"
            );
        }
    }
}
