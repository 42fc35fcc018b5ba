//! Values from registers. Pure.

use serde_json::{Value, json};

use super::section::{FieldSection, TypeName, WordOrder};

/// The value of `field` in `data`, the answer to a read of `function` that began at `first`.
///
/// `None` when the field does not lie in the data, or is no number JSON can hold (NaN).
pub(super) fn value(field: &FieldSection, function: u8, first: u16, data: &[u8]) -> Option<Value> {
    let place = usize::from(field.address.checked_sub(first)?);
    if function <= 2 {
        let byte = data.get(place / 8)?;
        return Some(Value::Bool(byte >> (place % 8) & 1 == 1));
    }
    let length = usize::from(field.registers(function)) * 2;
    let raw = ordered(data.get(place * 2..place * 2 + length)?, field);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let word = number(&raw);
    match field.kind(function) {
        TypeName::Bool => Some(Value::Bool(word != 0)),
        TypeName::U16 | TypeName::U32 | TypeName::U64 => Some(unsigned(word, field)),
        TypeName::I16 => Some(signed(
            i64::from(i16::from_be_bytes(raw.try_into().ok()?)),
            field,
        )),
        TypeName::I32 => Some(signed(
            i64::from(i32::from_be_bytes(raw.try_into().ok()?)),
            field,
        )),
        TypeName::I64 => Some(signed(i64::from_be_bytes(raw.try_into().ok()?), field)),
        TypeName::F32 => real(f64::from(f32::from_be_bytes(raw.try_into().ok()?)), field),
        TypeName::F64 => real(f64::from_be_bytes(raw.try_into().ok()?), field),
        TypeName::String => {
            let text = String::from_utf8_lossy(&raw);
            Some(json!(text.trim_end_matches(['\0', ' '])))
        }
        TypeName::Bits => {
            let (bit, bits) = (field.bit.unwrap_or(0), field.bits.unwrap_or(1));
            let taken = word >> bit & ((1 << bits) - 1);
            Some(if bits == 1 {
                Value::Bool(taken == 1)
            } else {
                unsigned(taken, field)
            })
        }
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
    // A string's registers follow each other whatever the order of numbers.
    if matches!(field.order, WordOrder::Cdab | WordOrder::Dcba)
        && field.kind != Some(TypeName::String)
    {
        words.reverse();
    }
    words.concat()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a scaled value is a float, with a float's precision"
)]
fn unsigned(raw: u64, field: &FieldSection) -> Value {
    if is_scaled(field) {
        scaled(raw as f64, field).map_or(Value::Null, |value| json!(value))
    } else {
        json!(raw)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a scaled value is a float, with a float's precision"
)]
fn signed(raw: i64, field: &FieldSection) -> Value {
    if is_scaled(field) {
        scaled(raw as f64, field).map_or(Value::Null, |value| json!(value))
    } else {
        json!(raw)
    }
}

fn real(raw: f64, field: &FieldSection) -> Option<Value> {
    scaled(raw, field).map(|value| json!(value))
}

fn is_scaled(field: &FieldSection) -> bool {
    field.scale.is_some() || field.offset.is_some()
}

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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(text: &str) -> FieldSection {
        toml::from_str(&format!("name = \"x\"\n{text}")).unwrap()
    }

    #[test]
    fn every_type_in_every_order() {
        let data = [0x3F, 0x80, 0x00, 0x00, 0xFF, 0xFE, 0x41, 0x42, 0x43, 0x00];
        for (text, expected) in [
            ("address = 10\ntype = \"f32\"", json!(1.0)),
            ("address = 12\ntype = \"i16\"", json!(-2)),
            ("address = 12", json!(65534)),
            ("address = 12\nscale = 0.1\noffset = -10.0", json!(6543.4)),
            ("address = 12\ntype = \"bits\"\nbit = 1\nbits = 2", json!(3)),
            ("address = 12\ntype = \"bits\"\nbit = 0", json!(false)),
            ("address = 12\ntype = \"bool\"", json!(true)),
            ("address = 13\ntype = \"string\"\nlength = 2", json!("ABC")),
            ("address = 12\ntype = \"u32\"", json!(0xFFFE_4142_u32)),
            (
                "address = 12\ntype = \"u32\"\norder = \"cdab\"",
                json!(0x4142_FFFE_u32),
            ),
            (
                "address = 12\ntype = \"u32\"\norder = \"badc\"",
                json!(0xFEFF_4241_u32),
            ),
            (
                "address = 12\ntype = \"u32\"\norder = \"dcba\"",
                json!(0x4241_FEFF_u32),
            ),
            (
                "address = 10\ntype = \"u64\"\norder = \"cdab\"",
                json!(0x4142_FFFE_0000_3F80_u64),
            ),
        ] {
            assert_eq!(value(&field(text), 3, 10, &data), Some(expected), "{text}");
        }
        assert_eq!(
            value(&field("address = 14\ntype = \"u32\""), 3, 10, &data),
            None,
            "past the end"
        );
        assert_eq!(
            value(&field("address = 21"), 1, 10, &[0x00, 0x08]),
            Some(json!(true))
        );
    }

    proptest! {
        /// Swapping words and bytes of what goes in, and saying so, changes nothing.
        #[test]
        fn an_order_undoes_itself(number in any::<i32>()) {
            let [a, b, c, d] = number.to_be_bytes();
            for (order, wire) in [("abcd", [a, b, c, d]), ("cdab", [c, d, a, b]), ("badc", [b, a, d, c]), ("dcba", [d, c, b, a])] {
                let field = field(&format!("address = 0\ntype = \"i32\"\norder = \"{order}\""));
                prop_assert_eq!(value(&field, 3, 0, &wire), Some(json!(number)));
            }
        }

        #[test]
        fn no_data_makes_a_decoder_panic(data in prop::collection::vec(any::<u8>(), 0..20), address in 0u16..12, first in 0u16..12) {
            for kind in ["u16", "i64", "f64", "f32", "bits", "bool"] {
                let field = field(&format!("address = {address}\ntype = \"{kind}\"\nscale = 0.01"));
                let decoded = value(&field, 3, first, &data);
                prop_assert!(decoded.is_none() || address >= first);
            }
        }
    }
}
