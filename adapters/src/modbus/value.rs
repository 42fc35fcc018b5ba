//! Values from registers. Pure.

mod moment;

mod number;

use serde_json::{Map, Value, json};

use self::number::Power;
use super::section::{FieldSection, TypeName, WordOrder};

/// What a field says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub(super) value: Value,
    /// The value as a number, where it is one.
    pub(super) number: Option<f64>,
    /// A counter as it stands, unscaled.
    pub(super) count: Option<Count>,
    pub(super) quality: FieldQuality,
}

/// A count, and the power of ten that the device scales it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) number: u64,
    pub(super) power: i32,
}

impl Count {
    /// What a rise of so many counts is in the unit of the field.
    pub(super) fn amount(self, rise: u64, field: &FieldSection) -> f64 {
        number::shifted(float(rise) * field.scale.unwrap_or(1.0), self.power)
    }
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

/// A block as it was read: its first register (or bit), and the data.
pub(super) type Part<'a> = (u16, &'a [u8]);

/// What `field` says in `data`, the answer to a read of `function` that began at `first`.
pub(super) fn reading(field: &FieldSection, function: u8, first: u16, data: &[u8]) -> Reading {
    reading_of(field, function, |_| Some((first, data)))
}

/// What `field` says in what was read; `part` gives the block that holds so many registers (or bits) from a first one. An
/// array is missing or bad where one of its values is.
pub(super) fn reading_of<'a>(
    field: &FieldSection,
    function: u8,
    part: impl Fn((u16, u16)) -> Option<Part<'a>>,
) -> Reading {
    let all = if function <= 2 {
        bits(field, function, part)
    } else {
        values(field, function, part)
    };
    let Some(all) = all else {
        return Reading::BAD;
    };
    let not_good = all.iter().find(|one| one.quality != FieldQuality::Good);
    match (field.count, not_good, all.first()) {
        (Some(_), None, _) => Reading::good(all.into_iter().map(|one| one.value).collect()),
        (Some(_), Some(one), _) | (None, _, Some(one)) => one.clone(),
        (None, _, None) => Reading::BAD,
    }
}

/// `None` where one of them was not read.
fn bits<'a>(
    field: &FieldSection,
    function: u8,
    part: impl Fn((u16, u16)) -> Option<Part<'a>>,
) -> Option<Vec<Reading>> {
    let count = field.registers(function);
    let (first, data) = part((field.address, count))?;
    let place = usize::from(field.address.checked_sub(first)?);
    let bit = |place: usize| {
        let byte = data.get(place / 8)?;
        Some(Reading::good(Value::Bool(byte >> (place % 8) & 1 == 1)))
    };
    (place..place + usize::from(count)).map(bit).collect()
}

/// `None` where a register of theirs was not read.
fn values<'a>(
    field: &FieldSection,
    function: u8,
    part: impl Fn((u16, u16)) -> Option<Part<'a>>,
) -> Option<Vec<Reading>> {
    let registers = |(at, count): (u16, u16)| {
        let (first, data) = part((at, count))?;
        let from = usize::from(at.checked_sub(first)?) * 2;
        data.get(from..from + usize::from(count) * 2)
    };
    let power = match field.scale_from.map(|at| registers((at, 1))) {
        None => Ok(0),
        Some(None) => Err(FieldQuality::Bad),
        Some(Some(raw)) => match *ordered(raw, field) {
            [high, low] => number::power([high, low]),
            _ => Err(FieldQuality::Bad),
        },
    };
    let own = if field.addresses.is_empty() {
        registers((field.address, field.registers(function)))?.to_vec()
    } else {
        let words: Option<Vec<&[u8]>> = field
            .addresses
            .iter()
            .map(|at| registers((*at, 1)))
            .collect();
        words?.concat()
    };
    let each = usize::from(field.each(function)).max(1) * 2;
    let value = |raw| of_registers(field, function, raw, power);
    Some(own.chunks(each).map(value).collect())
}

fn of_registers(field: &FieldSection, function: u8, raw: &[u8], power: Power) -> Reading {
    let (kind, raw) = (field.kind(function), ordered(raw, field));
    if field.missing.iter().any(|one| one.is(&raw)) {
        return Reading::MISSING;
    }
    let word = raw
        .iter()
        .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    let bits = u32::try_from(raw.len()).unwrap_or(8) * 8;
    match kind {
        TypeName::Bool => Reading::good(Value::Bool(word != 0)),
        TypeName::U16 | TypeName::U32 | TypeName::U64 => counter(word, field, power),
        TypeName::Bcd => {
            decimal(word, bits).map_or(Reading::BAD, |number| counter(number, field, power))
        }
        TypeName::I16 | TypeName::I32 | TypeName::I64 => {
            let unused = 64 - bits.min(64);
            signed((word << unused).cast_signed() >> unused, field, power)
        }
        TypeName::F32 => {
            let raw = f32::from_bits(u32::try_from(word).unwrap_or(u32::MAX));
            real(number::of_f32(raw), field, power)
        }
        TypeName::F64 => real(f64::from_bits(word), field, power),
        TypeName::String => {
            let text = raw.split(|byte| *byte == 0).next().unwrap_or_default();
            let text = String::from_utf8_lossy(text);
            Reading::good(json!(text.trim_end_matches(' ')))
        }
        TypeName::Bits => {
            let (bit, bits) = (field.bit.unwrap_or(0), field.bits.unwrap_or(1));
            let taken = word >> bit & ((1 << bits) - 1);
            if bits == 1 && field.names.is_empty() {
                Reading::good(Value::Bool(taken == 1))
            } else {
                unsigned(taken, field, power)
            }
        }
        TypeName::Datetime => moment::text(field.format(), &raw)
            .map_or(Reading::BAD, |text| Reading::good(Value::String(text))),
    }
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

fn counter(number: u64, field: &FieldSection, power: Power) -> Reading {
    let reading = unsigned(number, field, power);
    let is_good = reading.quality == FieldQuality::Good;
    let power = power.ok().filter(|_| is_good);
    Reading {
        count: power.map(|power| Count { number, power }),
        ..reading
    }
}

fn real(raw: f64, field: &FieldSection, power: Power) -> Reading {
    if raw.is_nan() {
        return Reading::MISSING;
    }
    scaled(raw, field, power)
}

fn unsigned(raw: u64, field: &FieldSection, power: Power) -> Reading {
    if !field.flags.is_empty() {
        let flag = |(bit, name): (&String, &String)| {
            let bit: u32 = bit.parse().unwrap_or(63);
            (name.clone(), Value::Bool(raw >> bit & 1 == 1))
        };
        let flags = field.flags.iter().map(flag).collect::<Map<_, _>>();
        return Reading::good(Value::Object(flags));
    }
    let exact = number::whole(json!(raw), raw, field);
    named_or_scaled(raw.into(), exact, float(raw), field, power)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a scaled value is a float, with a float's precision"
)]
fn signed(raw: i64, field: &FieldSection, power: Power) -> Reading {
    let exact = number::whole(json!(raw), raw.unsigned_abs(), field);
    named_or_scaled(raw.into(), exact, raw as f64, field, power)
}

fn named_or_scaled(
    raw: i128,
    exact: Value,
    float: f64,
    field: &FieldSection,
    power: Power,
) -> Reading {
    let name = if field.names.is_empty() {
        None
    } else {
        field.names.get(&raw.to_string())
    };
    match name {
        Some(name) => Reading::good(json!(name)),
        None if number::is_scaled(field) => scaled(float, field, power),
        None => Reading {
            number: Some(float),
            ..Reading::good(exact)
        },
    }
}

fn scaled(raw: f64, field: &FieldSection, power: Power) -> Reading {
    match power {
        Err(quality) => Reading::without(quality),
        Ok(power) => number::scaled(raw, field, power)
            .map_or(Reading::BAD, |value| Reading::good(json!(value))),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a scaled value is a float, with a float's precision"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
