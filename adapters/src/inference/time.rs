//! The time that a client gives an event.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// A time as a client gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    /// Microseconds since 1970.
    pub(super) unix_us: i64,
    /// It names its zone, or needs none. One without is taken as UTC, which is a guess.
    pub(super) zoned: bool,
}

/// Bytes of a `time`, which is short.
const TIME_BYTES_MAX: usize = 128;
/// A number below it counts seconds since 1970; below its thousandfold milliseconds, and so on for microseconds and nanoseconds.
/// In each of the four units that is up to the year 5138; a time before March 1973 can only be given in seconds.
const SECONDS_BELOW: f64 = 1e11;

impl Time {
    /// Of the JSON text of a value: RFC 3339, as a text, or a number since 1970, as a number or a text.
    pub(super) fn from_json(json: &str) -> Option<Time> {
        if json.len() > TIME_BYTES_MAX {
            return None;
        }
        if !json.starts_with('"') {
            return Time::since_1970(json.parse().ok()?);
        }
        let text = serde_json::from_str::<String>(json).ok()?;
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Time::since_1970(number);
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            let unix_us = at.as_microsecond();
            return Some(Time {
                unix_us,
                zoned: true,
            });
        }
        // A zone in brackets names a local time, which is not UTC.
        let local = text.parse::<DateTime>().ok();
        let local = local.filter(|_| !text.contains('['))?;
        let at = Offset::UTC.to_timestamp(local).ok()?;
        let unix_us = at.as_microsecond();
        Some(Time {
            unix_us,
            zoned: false,
        })
    }

    fn since_1970(number: f64) -> Option<Time> {
        let mut us_each = 1e6;
        let mut below = SECONDS_BELOW;
        while number.abs() >= below && us_each > 1e-3 {
            (us_each, below) = (us_each / 1e3, below * 1e3);
        }
        // Neither a NaN nor what is infinite is below anything.
        if number.abs() < below {
            #[expect(clippy::cast_possible_truncation, reason = "at most 1e17")]
            let unix_us = (number * us_each).round() as i64;
            return Some(Time {
                unix_us,
                zoned: true,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_understood_as_programs_write_it() {
        for (json, unix_us, zoned) in [
            (r#""2026-01-01T00:00:00Z""#, 1_767_225_600_000_000, true),
            (
                r#""2026-01-01T01:00:00.5+01:00""#,
                1_767_225_600_500_000,
                true,
            ),
            (
                r#""2026-01-01 00:00:00+00:00""#,
                1_767_225_600_000_000,
                true,
            ),
            // As Python's `datetime.utcnow()` is printed.
            (
                r#""2026-01-01T00:00:00.123456""#,
                1_767_225_600_123_456,
                false,
            ),
            (r#""2026-01-01 00:00:00""#, 1_767_225_600_000_000, false),
            ("1767225600", 1_767_225_600_000_000, true),
            ("1767225600.25", 1_767_225_600_250_000, true),
            ("1767225600123", 1_767_225_600_123_000, true),
            ("1767225600123456", 1_767_225_600_123_456, true),
            ("1767225600123456000", 1_767_225_600_123_456, true),
            ("1.767225600e9", 1_767_225_600_000_000, true),
            (r#"" 1767225600123 ""#, 1_767_225_600_123_000, true),
            (r#""1767225600.25""#, 1_767_225_600_250_000, true),
            ("0", 0, true),
            ("-1.5", -1_500_000, true),
            ("99999999999", 99_999_999_999_000_000, true),
            ("100000000000", 100_000_000_000_000, true),
        ] {
            assert_eq!(
                Time::from_json(json),
                Some(Time { unix_us, zoned }),
                "{json}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        let long = format!("\"{}\"", " ".repeat(TIME_BYTES_MAX));
        for json in [
            r#""yesterday""#,
            r#""""#,
            r#""NaN""#,
            r#""inf""#,
            "1e20",
            "1e300",
            "true",
            "null",
            "[1]",
            r#""2026-13-01T00:00:00Z""#,
            r#""2026-01-01T00:00[Europe/Berlin]""#,
            &long,
        ] {
            assert_eq!(Time::from_json(json), None, "{json}");
        }
    }
}
