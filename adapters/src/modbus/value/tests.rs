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
        let read = reading(&field(text), 3, 10, &data);
        assert_eq!(
            (read.value, read.quality),
            (expected, FieldQuality::Good),
            "{text}"
        );
    }
    assert_eq!(
        reading(&field("address = 14\ntype = \"u32\""), 3, 10, &data),
        Reading::BAD,
        "past the end"
    );
    assert_eq!(
        reading(&field("address = 21"), 1, 10, &[0x00, 0x08]).value,
        json!(true)
    );
}

#[test]
fn what_devices_pack_into_registers() {
    let data = [0x12, 0x34, 0x80, 0x01, 0x7F, 0xC0, 0x00, 0x00];
    for (text, expected) in [
        ("address = 0\ntype = \"bcd\"", json!(1234)),
        (
            "address = 0\ntype = \"bcd\"\nlength = 2\nscale = 0.01",
            json!(123_480.01),
        ),
        ("address = 0\ncount = 2", json!([0x1234, 0x8001])),
        (
            "address = 0\ncount = 2\nscale = 0.5",
            json!([2330.0, 16384.5]),
        ),
        (
            "address = 1\ntype = \"i16\"\nnames = { -32767 = \"cold\" }",
            json!("cold"),
        ),
        ("address = 1\nnames = { 1 = \"on\" }", json!(0x8001)),
        (
            "address = 1\nflags = { 0 = \"door\", 1 = \"fan\", 15 = \"fault\" }",
            json!({ "door": true, "fan": false, "fault": true }),
        ),
        (
            "address = 1\ntype = \"bits\"\nbit = 0\nnames = { 0 = \"auto\", 1 = \"manual\" }",
            json!("manual"),
        ),
    ] {
        let read = reading(&field(text), 3, 0, &data);
        assert_eq!(
            (read.value, read.quality),
            (expected, FieldQuality::Good),
            "{text}"
        );
    }
    for (text, quality) in [
        ("address = 1\nmissing = [0x8001]", FieldQuality::Missing),
        (
            "address = 1\ntype = \"i16\"\nmissing = [-32767]",
            FieldQuality::Missing,
        ),
        (
            "address = 0\ncount = 2\nmissing = [0x8001]",
            FieldQuality::Missing,
        ),
        ("address = 2\ntype = \"f32\"", FieldQuality::Missing),
        ("address = 2\ntype = \"bcd\"", FieldQuality::Bad),
        ("address = 3\ncount = 2", FieldQuality::Bad),
    ] {
        assert_eq!(
            reading(&field(text), 3, 0, &data).quality,
            quality,
            "{text}"
        );
    }
}

proptest! {
    /// Swapping words and bytes of what goes in, and saying so, changes nothing.
    #[test]
    fn an_order_undoes_itself(number in any::<i32>()) {
        let [a, b, c, d] = number.to_be_bytes();
        for (order, wire) in [("abcd", [a, b, c, d]), ("cdab", [c, d, a, b]), ("badc", [b, a, d, c]), ("dcba", [d, c, b, a])] {
            let field = field(&format!("address = 0\ntype = \"i32\"\norder = \"{order}\""));
            prop_assert_eq!(reading(&field, 3, 0, &wire).value, json!(number));
        }
    }

    #[test]
    fn no_data_makes_a_decoder_panic(data in prop::collection::vec(any::<u8>(), 0..20), address in 0u16..12, first in 0u16..12) {
        for kind in ["u16", "i64", "f64", "f32", "bits", "bool", "bcd", "datetime"] {
            let field = field(&format!("address = {address}\ntype = \"{kind}\"\nscale = 0.01"));
            let decoded = reading(&field, 3, first, &data);
            prop_assert!(decoded == Reading::BAD || address >= first);
        }
    }
}
