//! Values from registers. Pure.

mod moment;

use serde_json::{Map, Value, json};

use super::section::{FieldSection, TypeName, WordOrder};

/// What a field says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub(super) value: Value,
    /// The value as a number, where it is one.
    pub(super) number: Option<f64>,
    /// A counter as it stands, unscaled.
    pub(super) count: Option<u64>,
    pub(super) quality: FieldQuality,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldQuality {
    Good,
    /// The slave says itself that there is no value.
    Missing,
    /// It could not be read, or means nothing.
    Bad,
}

impl FieldQuality {
    pub(super) fn name(self) -> &'static str {
        match self {
            FieldQuality::Good => "good",
            FieldQuality::Missing => "missing",
            FieldQuality::Bad => "bad",
        }
    }
}

impl Reading {
    pub(super) const BAD: Reading = Reading::without(FieldQuality::Bad);
    const MISSING: Reading = Reading::without(FieldQuality::Missing);

    const fn without(quality: FieldQuality) -> Reading {
        Reading {
            value: Value::Null,
            number: None,
            count: None,
            quality,
        }
    }

    fn good(value: Value) -> Reading {
        Reading {
            number: value.as_f64(),
            value,
            count: None,
            quality: FieldQuality::Good,
        }
    }
}

/// What `field` says in `data`, the answer to a read of `function` that began at `first`. An array is missing or bad where
/// one of its values is.
pub(super) fn reading(field: &FieldSection, function: u8, first: u16, data: &[u8]) -> Reading {
    let (each, count) = (usize::from(field.each(function)), field.count.unwrap_or(1));
    let Some(place) = field.address.checked_sub(first).map(usize::from) else {
        return Reading::BAD;
    };
    let mut all = (0..usize::from(count)).map(|index| {
        let place = place + index * each;
        if function <= 2 {
            let byte = data.get(place / 8);
            return byte.map_or(Reading::BAD, |byte| {
                Reading::good(Value::Bool(byte >> (place % 8) & 1 == 1))
            });
        }
        data.get(place * 2..(place + each) * 2)
            .map_or(Reading::BAD, |raw| of_registers(field, function, raw))
    });
    if field.count.is_none() {
        return all.next().unwrap_or(Reading::BAD);
    }
    let all: Vec<Reading> = all.collect();
    match all.iter().find(|one| one.quality != FieldQuality::Good) {
        Some(one) => one.clone(),
        None => Reading::good(all.into_iter().map(|one| one.value).collect()),
    }
}

fn of_registers(field: &FieldSection, function: u8, raw: &[u8]) -> Reading {
    let (kind, raw) = (field.kind(function), ordered(raw, field));
    let word = raw
        .iter()
        .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    let bits = u32::try_from(raw.len()).unwrap_or(8) * 8;
    if field.missing.iter().any(|one| one.word(bits) == word) {
        return Reading::MISSING;
    }
    let value = match kind {
        TypeName::Bool => Some(Value::Bool(word != 0)),
        TypeName::U16 | TypeName::U32 | TypeName::U64 => return counter(word, field),
        TypeName::Bcd => match decimal(word, bits) {
            Some(number) => return counter(number, field),
            None => None,
        },
        TypeName::I16 | TypeName::I32 | TypeName::I64 => {
            let unused = 64 - bits.min(64);
            Some(signed((word << unused).cast_signed() >> unused, field))
        }
        TypeName::F32 => return real(word_as_f32(word), field),
        TypeName::F64 => return real(f64::from_bits(word), field),
        TypeName::String => {
            let text = String::from_utf8_lossy(&raw);
            Some(json!(text.trim_end_matches(['\0', ' '])))
        }
        TypeName::Bits => {
            let (bit, bits) = (field.bit.unwrap_or(0), field.bits.unwrap_or(1));
            let taken = word >> bit & ((1 << bits) - 1);
            Some(if bits == 1 && field.names.is_empty() {
                Value::Bool(taken == 1)
            } else {
                unsigned(taken, field)
            })
        }
        TypeName::Datetime => moment::text(field.format(), &raw).map(Value::String),
    };
    value.map_or(Reading::BAD, Reading::good)
}

/// The bytes of a value, big endian.
fn ordered(raw: &[u8], field: &FieldSection) -> Vec<u8> {
    let mut words: Vec<[u8; 2]> = raw.as_chunks::<2>().0.to_vec();
    if matches!(field.order, WordOrder::Badc | WordOrder::Dcba) {
        for word in &mut words {
            word.reverse();
        }
    }
    // The registers of texts and times follow each other whatever the order of numbers.
    if matches!(field.order, WordOrder::Cdab | WordOrder::Dcba)
        && !matches!(field.kind, Some(TypeName::String | TypeName::Datetime))
    {
        words.reverse();
    }
    words.concat()
}

/// Four digits a register; `None` where one of them is over 9.
fn decimal(word: u64, bits: u32) -> Option<u64> {
    (0..bits / 4).rev().try_fold(0, |number, digit| {
        let digit = word >> (digit * 4) & 0xF;
        (digit <= 9).then_some(number * 10 + digit)
    })
}

fn counter(number: u64, field: &FieldSection) -> Reading {
    Reading {
        count: Some(number),
        ..Reading::good(unsigned(number, field))
    }
}

fn word_as_f32(word: u64) -> f64 {
    f64::from(f32::from_bits(u32::try_from(word).unwrap_or(u32::MAX)))
}

fn real(raw: f64, field: &FieldSection) -> Reading {
    if raw.is_nan() {
        return Reading::MISSING;
    }
    scaled(raw, field).map_or(Reading::BAD, |value| Reading::good(json!(value)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a scaled value is a float, with a float's precision"
)]
fn unsigned(raw: u64, field: &FieldSection) -> Value {
    if !field.flags.is_empty() {
        let flag = |(bit, name): (&String, &String)| {
            let bit: u32 = bit.parse().unwrap_or(63);
            (name.clone(), Value::Bool(raw >> bit & 1 == 1))
        };
        return Value::Object(field.flags.iter().map(flag).collect::<Map<_, _>>());
    }
    named_or_scaled(raw.into(), json!(raw), raw as f64, field)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a scaled value is a float, with a float's precision"
)]
fn signed(raw: i64, field: &FieldSection) -> Value {
    named_or_scaled(raw.into(), json!(raw), raw as f64, field)
}

fn named_or_scaled(raw: i128, exact: Value, float: f64, field: &FieldSection) -> Value {
    let name = if field.names.is_empty() {
        None
    } else {
        field.names.get(&raw.to_string())
    };
    match name {
        Some(name) => json!(name),
        None if is_scaled(field) => scaled(float, field).map_or(Value::Null, |value| json!(value)),
        None => exact,
    }
}

fn is_scaled(field: &FieldSection) -> bool {
    field.scale.is_some() || field.offset.is_some()
}

/// `None` where it is no number that JSON can hold.
fn scaled(raw: f64, field: &FieldSection) -> Option<f64> {
    let value = raw * field.scale.unwrap_or(1.0) + field.offset.unwrap_or(0.0);
    // 0.1 x 215 is 21.500000000000004 only to a computer.
    let tidy = (value * 1e9).round() / 1e9;
    if !value.is_finite() {
        None
    } else if is_scaled(field) && tidy.is_finite() && value.abs() < 1e6 {
        Some(tidy)
    } else {
        Some(value)
    }
}

#[cfg(test)]
mod tests;
