//! Numbers as events have them. Pure.

use serde_json::{Value, json};

use super::super::section::{FieldSection, JsonForm};
use super::FieldQuality;

/// The power of ten that a value is scaled with, or why there is none.
pub(super) type Power = Result<i32, FieldQuality>;

/// Whole numbers up to here are exact in a double, as which JavaScript and others read them (RFC 7493 section 2.2).
const EXACT_MOST: u64 = (1 << 53) - 1;
/// Raw values from here on have more digits than a double keeps for certain.
const DIGITS_15: f64 = 1e15;

/// What the register of a scale factor says (`sunssf` of `SunSpec`).
pub(super) fn power(raw: [u8; 2]) -> Power {
    match i16::from_be_bytes(raw) {
        power @ -10..=10 => Ok(power.into()),
        i16::MIN => Err(FieldQuality::Missing),
        _ => Err(FieldQuality::Bad),
    }
}

/// By division for negative powers: they are no exact doubles, the others are.
pub(super) fn shifted(number: f64, power: i32) -> f64 {
    let by = 10_f64.powi(power.abs());
    if power < 0 { number / by } else { number * by }
}

pub(super) fn is_scaled(field: &FieldSection) -> bool {
    field.scale.is_some() || field.scale_from.is_some() || field.offset.is_some()
}

/// `None` where it is no number that JSON can hold.
pub(super) fn scaled(raw: f64, field: &FieldSection, power: i32) -> Option<f64> {
    if !is_scaled(field) {
        return raw.is_finite().then_some(raw);
    }
    let value = shifted(raw * field.scale.unwrap_or(1.0), power) + field.offset.unwrap_or(0.0);
    let keeps_all = raw.abs() < DIGITS_15;
    value
        .is_finite()
        .then(|| if keeps_all { tidy(value) } else { value })
}

/// To 15 digits: 0.1 x 215 is 21.500000000000004 only to a computer.
fn tidy(value: f64) -> f64 {
    let tidy = format!("{value:.14e}").parse();
    tidy.ok()
        .filter(|tidy: &f64| tidy.is_finite())
        .unwrap_or(value)
}

/// The double with the fewest digits that is this float to whoever reads it as one: 0.1 instead of 0.10000000149011612.
pub(super) fn of_f32(raw: f32) -> f64 {
    format!("{raw:e}").parse().unwrap_or(f64::from(raw))
}

/// `number` as JSON; `magnitude` is its absolute value.
pub(super) fn whole(number: Value, magnitude: u64, field: &FieldSection) -> Value {
    let is_text = match field.json {
        Some(form) => form == JsonForm::String,
        None => magnitude > EXACT_MOST,
    };
    if is_text {
        json!(number.to_string())
    } else {
        number
    }
}
