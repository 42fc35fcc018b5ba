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
            json!(0x4142_FFFE_0000_3F80_u64.to_string()),
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

/// Registers 0 to 3 are a value and scale factors.
#[test]
fn the_scale_factor_of_another_register_is_never_guessed() {
    for (text, registers, value, quality) in [
        ("type = \"i16\"", [2301, -1, 0, 0], json!(230.1), "good"),
        ("type = \"i16\"", [-5, 3, 0, 0], json!(-5000.0), "good"),
        ("type = \"i16\"", [7, 0, 0, 0], json!(7.0), "good"),
        ("type = \"i16\"", [7, -10, 0, 0], json!(7e-10), "good"),
        ("type = \"i16\"", [7, 10, 0, 0], json!(7e10), "good"),
        (
            "type = \"i16\"",
            [7, i16::MIN, 0, 0],
            Value::Null,
            "missing",
        ),
        ("type = \"i16\"", [7, -11, 0, 0], Value::Null, "bad"),
        ("type = \"i16\"", [7, 11, 0, 0], Value::Null, "bad"),
        ("type = \"i16\"", [7, i16::MAX, 0, 0], Value::Null, "bad"),
        ("missing = [9]", [9, 1, 0, 0], Value::Null, "missing"),
        ("missing = [9]", [9, 11, 0, 0], Value::Null, "missing"),
        ("offset = -0.3", [5, -1, 0, 0], json!(0.2), "good"),
        ("order = \"badc\"", [0x100, -2, 0, 0], Value::Null, "bad"),
        ("order = \"badc\"", [0x100, -257, 0, 0], json!(0.01), "good"),
        ("names = { 3 = \"on\" }", [3, 11, 0, 0], json!("on"), "good"),
        ("names = { 3 = \"on\" }", [4, 11, 0, 0], Value::Null, "bad"),
        ("type = \"bcd\"", [0x12, 2, 0, 0], json!(1200.0), "good"),
    ] {
        let data: Vec<u8> = registers.iter().flat_map(|r| r.to_be_bytes()).collect();
        let read = reading(
            &field(&format!("address = 0\nscale_from = 1\n{text}")),
            3,
            0,
            &data,
        );
        assert_eq!(
            (&read.value, read.quality.name()),
            (&value, quality),
            "{text} {registers:?}"
        );
        assert_eq!(read.number.is_some(), value.is_number(), "{text}");
    }
    let array = field("address = 1\ncount = 2\nscale_from = 0");
    let read = reading(&array, 3, 0, &[0xFF, 0xFE, 0, 5, 0, 15]);
    assert_eq!(read.value, json!([0.05, 0.15]));
    let alone = field("address = 0\nscale_from = 100");
    assert_eq!(
        reading(&alone, 3, 0, &[0, 5]),
        Reading::BAD,
        "it was not read"
    );
}

#[test]
fn registers_that_are_no_neighbours_make_one_value() {
    let blocks: [(u16, &[u8]); 2] = [(78, &[0x41, 0x42]), (80, &[0x43, 0x44, 0x00, 0x07])];
    let read = |text: &str| {
        reading_of(&field(text), 4, |(first, count)| {
            let holds = |(at, data): &&(u16, &[u8])| {
                *at <= first && usize::from(first - at + count) * 2 <= data.len()
            };
            blocks.iter().find(holds).copied()
        })
    };
    for (text, value) in [
        ("addresses = [78, 80]\ntype = \"u32\"", json!(0x4142_4344)),
        ("addresses = [80, 78]\ntype = \"u32\"", json!(0x4344_4142)),
        (
            "addresses = [78, 80]\ntype = \"u32\"\norder = \"cdab\"",
            json!(0x4344_4142),
        ),
        (
            "addresses = [78, 80]\ntype = \"u32\"\norder = \"badc\"",
            json!(0x4241_4443),
        ),
        (
            "addresses = [80, 78]\ntype = \"string\"\nlength = 2",
            json!("CDAB"),
        ),
        ("addresses = [81]", json!(7)),
        (
            "addresses = [78]\nscale_from = 81",
            json!(f64::from(0x4142) * 1e7),
        ),
    ] {
        assert_eq!(read(text).value, value, "{text}");
    }
    for text in [
        "addresses = [78, 79]\ntype = \"u32\"",
        "addresses = [82, 78]\ntype = \"u32\"",
    ] {
        assert_eq!(read(text), Reading::BAD, "{text}");
    }
}

#[test]
fn a_text_ends_at_its_first_nul() {
    for (raw, text) in [
        (b"AB\0junk\0", "AB"),
        (b"AB  \0  X", "AB"),
        (b"AB CD   ", "AB CD"),
        (b"\0ABCDEFG", ""),
        (b"ABCDEFGH", "ABCDEFGH"),
    ] {
        let field = field("address = 0\ntype = \"string\"\nlength = 4");
        assert_eq!(reading(&field, 3, 0, raw).value, json!(text));
    }
}

#[test]
fn what_means_that_there_is_no_value_is_compared_with_all_of_it() {
    let text = |missing: &str| {
        field(&format!(
            "address = 0\ntype = \"string\"\nlength = 5\nmissing = [{missing}]"
        ))
    };
    for (missing, raw, quality) in [
        ("0", b"\0\0\0\0\0\0\0\0\0\0", FieldQuality::Missing),
        ("0", b"AB\0\0\0\0\0\0\0\0", FieldQuality::Good),
        ("-1", &[0xFF; 10], FieldQuality::Missing),
        (
            "-1",
            b"AB\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            FieldQuality::Good,
        ),
    ] {
        assert_eq!(
            reading(&text(missing), 3, 0, raw).quality,
            quality,
            "{raw:?}"
        );
    }
}

#[test]
fn whole_numbers_that_a_double_cannot_hold_are_texts_of_their_digits() {
    const EXACT: u64 = (1 << 53) - 1;
    let signed = |number: i64| number.cast_unsigned();
    for (text, word, value) in [
        ("type = \"u64\"", EXACT, json!(EXACT)),
        ("type = \"u64\"", EXACT + 1, json!("9007199254740992")),
        ("type = \"u64\"", u64::MAX, json!("18446744073709551615")),
        (
            "type = \"i64\"",
            signed(-9_007_199_254_740_991),
            json!(-9_007_199_254_740_991_i64),
        ),
        (
            "type = \"i64\"",
            signed(-9_007_199_254_740_992),
            json!("-9007199254740992"),
        ),
        (
            "type = \"i64\"",
            signed(i64::MIN),
            json!("-9223372036854775808"),
        ),
        ("type = \"u64\"\njson = \"string\"", 5, json!("5")),
        ("type = \"i64\"\njson = \"string\"", signed(-5), json!("-5")),
        (
            "type = \"u64\"\njson = \"number\"",
            u64::MAX,
            json!(u64::MAX),
        ),
        (
            "type = \"bcd\"\nlength = 4",
            0x9999_9999_9999_9999,
            json!("9999999999999999"),
        ),
        (
            "type = \"u64\"\ncount = 1",
            u64::MAX,
            json!(["18446744073709551615"]),
        ),
    ] {
        let field = field(&format!("address = 0\n{text}"));
        let read = reading(&field, 3, 0, &word.to_be_bytes());
        assert_eq!(read.value, value, "{text} {word}");
        assert!(read.number.is_some() || field.count.is_some(), "{text}");
    }
}

#[test]
fn a_scaled_value_that_no_double_holds_is_bad() {
    let field = field("address = 0\nscale = 1e308");
    assert_eq!(reading(&field, 3, 0, &[0, 1]).value, json!(1e308));
    assert_eq!(reading(&field, 3, 0, &[0, 2]), Reading::BAD);
}

#[test]
fn scaled_values_keep_their_digits_and_show_none_of_a_computers() {
    for (raw, scale, value) in [
        (3, "1e-12", "3e-12"),
        (215, "0.1", "21.5"),
        (0, "-0.1", "0.0"),
        (3, "0.333333333333333", "0.999999999999999"),
        (65_535, "1e300", "6.5535e+304"),
        (1, "1.7976931348623157e308", "1.7976931348623157e+308"),
    ] {
        let field = field(&format!("address = 0\nscale = {scale}"));
        let read = reading(&field, 3, 0, &u16::to_be_bytes(raw));
        assert_eq!(read.value.to_string(), value);
    }
    for (raw, scale, value) in [
        (9_007_199_254_740_991, "1.0", "9007199254740991.0"),
        (12_345_678_901_234_567, "0.5", "6172839450617284.0"),
    ] {
        let field = field(&format!("address = 0\ntype = \"u64\"\nscale = {scale}"));
        let read = reading(&field, 3, 0, &u64::to_be_bytes(raw));
        assert_eq!(read.value.to_string(), value, "no digit is rounded off");
    }
}

proptest! {
    /// A scale that is a power of ten only moves the point.
    #[test]
    fn a_decimal_scale_moves_the_point_and_nothing_else(raw in any::<i32>(), power in -10_i32..=10, is_read in any::<bool>()) {
        let expected: f64 = format!("{raw}e{power}").parse().unwrap();
        let key = if is_read { "scale_from = 2".to_owned() } else { format!("scale = 1e{power}") };
        let field = field(&format!("address = 0\ntype = \"i32\"\n{key}"));
        let factor = i16::try_from(power).unwrap();
        let data = [&raw.to_be_bytes()[..], &factor.to_be_bytes()].concat();
        prop_assert_eq!(reading(&field, 3, 0, &data).value, json!(expected));
    }

    /// What is printed is the shortest text that reads back the same float, also through a double.
    #[test]
    fn a_float_is_printed_as_one(bits in any::<u32>()) {
        let raw = f32::from_bits(bits);
        prop_assume!(raw.is_finite());
        let read = reading(&field("address = 0\ntype = \"f32\""), 3, 0, &raw.to_be_bytes());
        let text = read.value.to_string();
        prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), bits, "{}", &text);
        #[expect(clippy::cast_possible_truncation, reason = "that is how a reader makes a float of it")]
        let through = text.parse::<f64>().unwrap() as f32;
        prop_assert_eq!(through.to_bits(), bits, "{}", &text);
        let digits = |text: &str| text.split('e').next().unwrap().replace(['.', '-'], "").trim_matches('0').len();
        prop_assert_eq!(digits(&text), digits(&format!("{raw:e}")), "{}", &text);
    }

    /// No factor but -10 to 10 makes a number.
    #[test]
    fn a_scale_factor_out_of_range_makes_no_value(raw in any::<u16>(), factor in any::<i16>()) {
        let data = [raw.to_be_bytes(), factor.to_be_bytes()].concat();
        let read = reading(&field("address = 0\nscale_from = 1"), 3, 0, &data);
        prop_assert_eq!(read.quality == FieldQuality::Good, (-10..=10).contains(&factor));
        prop_assert_eq!(read.number.is_some(), read.quality == FieldQuality::Good);
        prop_assert_eq!(read.count.is_some(), read.quality == FieldQuality::Good);
    }

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
