//! Models of Modbus devices as the field has them.

use load::consume::Reader;
use load::slave::{Fault, SlaveLine};
use serde_json::{Value, json};

use crate::buses::config;
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE};

/// Register `r` of slave 247 holds 24,700 + r, modulo 65,536: so 40,834 says -2, 40,847 says 11, and 8,068 says 0x8000.
#[test]
fn scale_factors_in_registers_and_scattered_values_are_read_into_one_event() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(247, Fault::None)]);
    let one = "[[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n";
    let fields = [
        ("volts", "address = 4\nscale_from = 40834"),
        (
            "beside",
            "address = 40833\ntype = \"i16\"\nscale_from = 40834",
        ),
        ("none", "address = 4\nscale_from = 8068"),
        ("wrong", "address = 4\nscale_from = 40847"),
        ("scattered", "addresses = [78, 80]\ntype = \"u32\""),
        (
            "turned",
            "addresses = [78, 80]\ntype = \"u32\"\norder = \"cdab\"\njson = \"string\"",
        ),
        ("large", "address = 78\ntype = \"u64\""),
        ("small", "address = 4\nscale = 1e-14"),
    ];
    let fields: String = fields
        .map(|(name, keys)| format!("[[modbus.slave.group.field]]\nname = \"{name}\"\n{keys}\n"))
        .concat();
    let text = config(&kafka, &line, &[247]);
    assert!(text.contains(one));
    let mut gateway = Gateway::new(&text.replace(one, &fields)).start();
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("feature")], &[]);
    let records = reader.until(PATIENCE, |records| records.len() >= 2);
    let (high, low) = (24_778_u64, 24_780_u64);
    let large = [24_778_u64, 24_779, 24_780, 24_781]
        .iter()
        .fold(0, |all, word| all << 16 | word);
    for record in records {
        let report: Value = serde_json::from_slice(&record.payload).unwrap();
        for (name, value, quality) in [
            ("volts", json!(247.04), "good"),
            ("beside", json!(-0.03), "good"),
            ("none", Value::Null, "missing"),
            ("wrong", Value::Null, "bad"),
            ("scattered", json!(high << 16 | low), "good"),
            ("turned", json!((low << 16 | high).to_string()), "good"),
            ("large", json!(large.to_string()), "good"),
            ("small", json!(2.4704e-10), "good"),
        ] {
            let read = &report["values"][name];
            let expected = (&value, &json!(quality));
            assert_eq!((&read["value"], &read["quality"]), expected, "{report}");
        }
    }
    gateway.assert_account_closes();
}
