//! Durations and sizes as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration: `"500ms"`, `"2s"`, `"1m 30s"`, `"24h"`, `"7d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// A size: `"64 MiB"`, `"500 kB"`, `"8192"` (bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

const SPANS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnitError {
    #[error(
        "`{0}` is not a duration; write one like \"500ms\", \"2s\", \"1m 30s\", \"24h\" or \"7d\""
    )]
    Span(String),
    #[error("`{0}` is not a size; write one like \"64 MiB\", \"500 kB\" or \"8192\" (bytes)")]
    Size(String),
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Span, UnitError> {
        sum(text, &SPANS, None)
            .map(|us| Span(Duration::from_micros(us)))
            .ok_or_else(|| UnitError::Span(text.into()))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Size, UnitError> {
        sum(text, &SIZES, Some(1))
            .map(Size)
            .ok_or_else(|| UnitError::Size(text.into()))
    }
}

/// Adds up `number unit` pairs; `bare` is the unit of a number without one.
fn sum(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: Option<u64> = None;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match rest.get(..letters)? {
            "" => bare?,
            name => units.iter().find(|(known, _)| *known == name)?.1,
        };
        rest = rest.get(letters..)?.trim_start();
        total = Some(total.unwrap_or(0).checked_add(number.checked_mul(unit)?)?);
    }
    total.or_else(|| (text.trim() == "0").then_some(0))
}

fn largest(value: u64, units: &[(&str, u64)]) -> (u64, String) {
    let unit = units
        .iter()
        .filter(|(_, size)| value.is_multiple_of(*size))
        .max_by_key(|(_, size)| *size);
    unit.filter(|_| value > 0)
        .map_or((value, String::new()), |(name, size)| {
            (value / size, (*name).to_owned())
        })
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (number, unit) = largest(
            u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX),
            &SPANS,
        );
        write!(f, "{number}{}", if unit.is_empty() { "s" } else { &unit })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (number, unit) = largest(self.0, &SIZES);
        write!(
            f,
            "{number}{}{unit}",
            if unit.is_empty() { "" } else { " " }
        )
    }
}

macro_rules! as_text {
    ($type:ty, $error:ty, $example:literal) => {
        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "examples": [$example] })
            }
        }
    };
}

as_text!(Span, UnitError, "500ms");
as_text!(Size, UnitError, "64 MiB");

/// `90s` as `1m30s`.
#[must_use]
pub fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ages are small and not negative"
    )]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{}s", whole / 60, whole % 60),
        _ => format!("{}h{}m", whole / 3600, whole % 3600 / 60),
    }
}

/// `2048` as `2K`.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{}K", bytes / 1024),
        _ => format!("{}M", bytes / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_people_write_them() {
        for (text, micros) in [
            ("500ms", 500_000),
            ("2s", 2_000_000),
            ("1m 30s", 90_000_000),
            ("24h", 86_400_000_000),
            ("0s", 0),
        ] {
            assert_eq!(
                text.parse::<Span>().unwrap().0.as_micros(),
                micros,
                "{text}"
            );
        }
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("500 kB", 500_000),
            ("8192", 8192),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse::<Size>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "fast", "5", "5 parsecs", "-1s", "1.5s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "64 Mib", "-5", "99999999999 GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["500ms", "90s", "24h", "0s", "7d"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!(
            (
                "64 MiB".parse::<Size>().unwrap().to_string(),
                Size(1000).to_string()
            ),
            ("64 MiB".into(), "1 kB".into())
        );
    }
}
