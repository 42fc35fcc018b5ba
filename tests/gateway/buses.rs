//! Modbus lines with sick slaves.

use std::collections::HashMap;
use std::time::Duration;

use load::consume::{Reader, Record};
use load::slave::{Bus, Fault, SlaveLine};
use serde_json::{Value, json};

use crate::foreign::{ForeignSlave, Hands};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE};

pub(crate) fn config(kafka: &Kafka, line: &SlaveLine, slaves: &[u8]) -> String {
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
    uplink + &section("bus", "slave", line, slaves) + &kafka.topics(&[])
}

/// A line, and its devices with a name in common.
fn section(name: &str, device: &str, line: &SlaveLine, slaves: &[u8]) -> String {
    let slave = |address: &u8| {
        format!(
            "[[modbus.slave]]\naddress = {address}\ndevice = \"{device}-{address}\"\n[[modbus.slave.group]]\nname = \"g\"\n\
             interval = \"200ms\"\nintent = \"feature\"\n[[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n"
        )
    };
    let slaves: String = slaves.iter().map(slave).collect();
    format!(
        "[[modbus]]\nname = \"{name}\"\nline = {{ port = \"{}\", baud = 19200 }}\ntimeout = \"150ms\"\n\
         retries = 1\n{slaves}",
        line.path()
    )
}

/// Good and bad events of each device over some seconds, and every value that was called good.
fn watch(kafka: &Kafka, seconds: i64) -> HashMap<String, (i64, i64, Vec<Value>)> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("feature")], &[]);
    let records = reader.until(PATIENCE, |records| {
        let times = records.iter().map(|record| record.timestamp);
        times
            .clone()
            .max()
            .zip(times.min())
            .is_some_and(|(last, first)| last - first > seconds * 1000)
    });
    let mut devices: HashMap<String, (i64, i64, Vec<Value>)> = HashMap::new();
    for record in records {
        let (good, bad, values) = devices.entry(record.key.clone()).or_default();
        let report: Value = serde_json::from_slice(&record.payload).unwrap();
        if report["quality"] == "good" {
            *good += 1;
            values.push(report["values"]["x"]["value"].clone());
        } else {
            assert!(
                report["reason"].is_string() && record.header("tg-quality") == "bad",
                "{report}"
            );
            *bad += 1;
        }
    }
    devices
}

/// Beside a line of which all slaves are well: where the machine has no processor to spare, that one is slow too.
#[test]
fn a_dead_slave_and_one_that_sends_garbage_do_not_slow_the_others() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[
        (1, Fault::None),
        (2, Fault::None),
        (4, Fault::Garbage),
        (5, Fault::Exception),
    ]);
    let healthy = SlaveLine::start(&[1, 2, 3, 4, 5].map(|address| (address, Fault::None)));
    let beside = section("healthy", "healthy", &healthy, &[1, 2, 3, 4, 5]);
    let mut gateway = Gateway::new(&(config(&kafka, &line, &[1, 2, 3, 4, 5]) + &beside)).start();
    let devices = watch(&kafka, 15);
    let (due, unread) = match &devices["healthy-1"] {
        (read, unread, _) if gateway.is_starved() => ((*read).min(15 * 5), *unread),
        _ => (15 * 5, 0),
    };
    for (device, value) in [("slave-1", 104), ("slave-2", 204)] {
        let (good, bad, values) = &devices[device];
        assert!(
            *good >= due * 9 / 10,
            "{device} was read {good} times in 15 s, {due} are due, as beside"
        );
        assert!(*bad <= unread, "{device}: {bad}, beside {unread}");
        assert!(
            values.iter().all(|read| *read == value),
            "{device}: {values:?}"
        );
    }
    for (device, least) in [("slave-3", 3), ("slave-4", 3), ("slave-5", due * 4 / 5)] {
        let (good, bad, _) = &devices[device];
        assert_eq!(*good, 0, "{device}");
        assert!(*bad >= least, "{device} was reported bad {bad} times");
    }
    gateway.assert_account_closes();
    assert!(gateway.log().contains("modbus slave does not answer"));
}

#[test]
fn a_late_answer_is_never_taken_for_the_next_one() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::Behind), (2, Fault::None)]);
    let text = config(&kafka, &line, &[1, 2]).replace(
        "[[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n[[modbus.slave]]\naddress = 2",
        "[[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n[[modbus.slave.group]]\nname = \"h\"\ninterval = \"200ms\"\n\
         intent = \"feature\"\n[[modbus.slave.group.field]]\nname = \"x\"\naddress = 90\n[[modbus.slave]]\naddress = 2",
    );
    let _gateway = Gateway::new(&text).start();
    let devices = watch(&kafka, 5);
    assert!(devices["slave-2"].0 > 15);
    let allowed = [104, 190];
    assert!(
        devices["slave-1"]
            .2
            .iter()
            .all(|value| allowed.iter().any(|known| value == known))
    );
}

#[test]
fn whatever_sick_slaves_say_on_a_real_line_no_wrong_value_is_called_good() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let sick = (1..).zip(Fault::NOW_AND_THEN).collect::<Vec<_>>();
    let line = SlaveLine::of(&Bus {
        baud: 115_200,
        slaves: sick.clone(),
        one_in: 10,
        seed: 7,
    });
    let slaves: Vec<u8> = sick.iter().map(|(address, _)| *address).collect();
    let text = config(&kafka, &line, &slaves).replace("baud = 19200", "baud = 115200");
    let mut gateway = Gateway::new(&text).start();
    let devices = watch(&kafka, 20);
    for (address, fault) in sick {
        let (good, bad, values) = &devices[&format!("slave-{address}")];
        let right = u64::from(address) * 100 + 4;
        assert!(
            values.iter().all(|value| *value == right),
            "{fault:?}: {values:?}"
        );
        assert!(*good > 5, "{fault:?}: {good} good, {bad} bad");
    }
    gateway.assert_account_closes();
}

#[test]
fn a_register_that_a_device_does_not_know_costs_itself_alone() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::UnknownRegister)]);
    let fields: String = (0..12)
        .map(|address| {
            format!("[[modbus.slave.group.field]]\nname = \"r{address}\"\naddress = {address}\n")
        })
        .collect();
    let one = "[[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n";
    let text = config(&kafka, &line, &[1]);
    assert!(text.contains(one));
    let gateway = Gateway::new(&text.replace(one, &fields)).start();
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("feature")], &[]);
    let records = reader.until(PATIENCE, |records| records.len() >= 3);
    for record in records {
        let report: Value = serde_json::from_slice(&record.payload).unwrap();
        for address in 0..12 {
            let field = &report["values"][format!("r{address}")];
            let (value, quality) = match address {
                7 => (Value::Null, "bad"),
                _ => (json!(100 + address), "good"),
            };
            assert_eq!(
                (&field["value"], &field["quality"]),
                (&value, &json!(quality)),
                "{report}"
            );
        }
    }
    gateway.wait_for_log("modbus slave refuses these registers");
    let told = slave_health(&kafka, 1);
    let refused = (
        &told[0]["state"],
        &told[0]["first"],
        &told[0]["registers"],
        &told[0]["exception"],
    );
    assert_eq!(
        refused,
        (&json!("refuses"), &json!(7), &json!(1), &json!(2))
    );
}

#[test]
fn a_slave_that_falls_silent_is_reported_once_and_so_is_its_return() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::None), (2, Fault::None)]);
    let mut gateway = Gateway::new(&config(&kafka, &line, &[1, 2])).start();
    gateway.wait_until_connected("bus");
    line.set(2, Fault::Dead);
    gateway.wait_for_log("modbus slave does not answer");
    line.set(2, Fault::None);
    gateway.wait_for_log("modbus slave answers again");
    let told = slave_health(&kafka, 2);
    let states: Vec<_> = told
        .iter()
        .map(|one| (&one["slave"], &one["state"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!(2), &json!("silent")),
            (&json!(2), &json!("answers"))
        ]
    );
}

/// The first reports on slaves.
fn slave_health(kafka: &Kafka, count: usize) -> Vec<Value> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("health")], &[]);
    let is_of_slave = |record: &&Record| record.header("ce_subject").starts_with("bus/");
    let records = reader.until(PATIENCE, |records| {
        records.iter().filter(is_of_slave).count() >= count
    });
    let of_slaves = records.iter().filter(is_of_slave);
    of_slaves
        .map(|record| serde_json::from_slice(&record.payload).unwrap())
        .collect()
}

#[test]
fn a_port_that_vanishes_is_opened_again_when_it_is_back() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::None)]);
    let mut gateway = Gateway::new("");
    let link = gateway.path("tty");
    std::os::unix::fs::symlink(line.path(), &link).unwrap();
    let text = config(&kafka, &line, &[1]).replace(line.path(), link.to_str().unwrap());
    let config_path = gateway.path("gateway.toml");
    let base = std::fs::read_to_string(&config_path).unwrap();
    std::fs::write(&config_path, base + &text).unwrap();
    gateway.launch();
    gateway.wait_until_connected("bus");
    drop(line);
    gateway.wait_for_log("source lost; reconnecting until it works");
    let line = SlaveLine::start(&[(1, Fault::None)]);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(line.path(), &link).unwrap();
    gateway.wait_until_connected("bus");
    let before = gateway.lane("feature")["accepted"].as_u64().unwrap();
    crate::rig::wait_for("new readings", || {
        (gateway.lane("feature")["accepted"].as_u64()? > before + 3).then_some(())
    });
}

/// All four functions of the foreign slave at address 9, one group each.
fn foreign(line: &str, kafka: &Kafka) -> String {
    let group = |name: &str, function: u8, fields: &str| {
        format!(
            "[[modbus.slave.group]]\nname = \"{name}\"\nfunction = {function}\ninterval = \"200ms\"\nintent = \"feature\"\n{fields}"
        )
    };
    let field = |name: &str, address: u16, kind: &str| {
        format!(
            "[[modbus.slave.group.field]]\nname = \"{name}\"\naddress = {address}\ntype = \"{kind}\"\n"
        )
    };
    format!(
        "[uplink]\nbrokers = [\"{}\"]\n[[modbus]]\nname = \"bus\"\nline = {{ {line} }}\n\
         [[modbus.slave]]\naddress = 9\ndevice = \"foreign\"\n",
        kafka.plain()
    ) + &group(
        "coils",
        1,
        &(field("on", 0, "bool") + &field("off", 1, "bool")),
    ) + &group("inputs", 2, &field("closed", 1, "bool"))
        + &group(
            "holding",
            3,
            &(field("near", 2, "u16") + &field("far", 140, "u32")),
        )
        + &group(
            "measured",
            4,
            &(field("temperature", 0, "f32") + &field("level", 2, "i16")),
        )
        + &kafka.topics(&[])
}

fn expect_foreign(kafka: &Kafka) {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("feature")], &[]);
    let mut groups: HashMap<String, Value> = HashMap::new();
    let expected = [
        ("coils", "on", json!(true)),
        ("coils", "off", json!(false)),
        ("inputs", "closed", json!(true)),
        ("holding", "near", json!(102)),
        ("holding", "far", json!(240 * 65_536 + 241)),
        ("measured", "temperature", json!(21.5)),
        ("measured", "level", json!(-2)),
    ];
    let begun = std::time::Instant::now();
    while groups.len() < 4 && begun.elapsed() < PATIENCE {
        let Some(record) = reader.next(Duration::from_millis(100)) else {
            continue;
        };
        let report: Value = serde_json::from_slice(&record.payload).unwrap();
        if report["quality"] == "good" {
            let group = record.header("ce_subject").rsplit('/').next().unwrap();
            groups.insert(group.to_owned(), report["values"].clone());
        }
    }
    for (group, field, value) in expected {
        assert_eq!(groups[group][field]["value"], value, "{group}.{field}");
    }
}

#[test]
fn slaves_by_other_hands_are_read_over_a_serial_line() {
    needs_kafka!();
    for (hands, framing) in [
        (Hands::Pymodbus, "rtu"),
        (Hands::Libmodbus, "rtu"),
        (Hands::Pymodbus, "ascii"),
    ] {
        let (kafka, slave) = (Kafka::shared(), ForeignSlave::on_a_line(hands, framing));
        // A pseudo-terminal has eight bits always.
        let line = format!(
            "port = \"{}\", baud = 115200, framing = \"{framing}\", data_bits = 8",
            slave.place
        );
        let _gateway = Gateway::new(&foreign(&line, &kafka)).start();
        expect_foreign(&kafka);
    }
}

#[test]
fn slaves_by_other_hands_are_read_over_tcp() {
    needs_kafka!();
    for (hands, slaves, framing) in [
        (Hands::Pymodbus, "tcp", "tcp"),
        (Hands::Libmodbus, "tcp", "tcp"),
        (Hands::Pymodbus, "rtu-over-tcp", "rtu"),
    ] {
        let (kafka, slave) = (Kafka::shared(), ForeignSlave::on_tcp(hands, slaves));
        let line = format!("tcp = \"{}\", framing = \"{framing}\"", slave.place);
        let _gateway = Gateway::new(&foreign(&line, &kafka)).start();
        expect_foreign(&kafka);
    }
}

#[test]
fn what_does_not_change_is_not_repeated_and_a_window_is_one_event() {
    needs_kafka!();
    let (kafka, line) = (Kafka::shared(), SlaveLine::start(&[(1, Fault::None)]));
    let one = "[[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n";
    let text = config(&kafka, &line, &[1]).replace(
        "interval = \"200ms\"",
        "interval = \"50ms\"\nreport = \"change\"",
    ) + "[[modbus.slave.group]]\nname = \"h\"\ninterval = \"50ms\"\nwindow = \"1s\"\nintent = \"state\"\n"
        + &one
            .replace("\"x\"", "\"mode\"")
            .replace("4\n", "4\nnames = { 104 = \"auto\" }\n")
        + &one
            .replace("\"x\"", "\"pair\"")
            .replace("4\n", "8\ncount = 2\n")
        + one;
    let mut gateway = Gateway::new(&text).start();
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("state")], &[]);
    let windows = reader.until(PATIENCE, |records| records.len() >= 3);
    let report: Value = serde_json::from_slice(&windows[2].payload).unwrap();
    let values = &report["values"];
    assert_eq!(values["mode"]["value"], "auto");
    assert_eq!(values["pair"]["value"], json!([108, 109]));
    let x = &values["x"];
    assert_eq!(
        (&x["value"], &x["min"], &x["mean"]),
        (&json!(104), &json!(104.0), &json!(104.0))
    );
    assert!(x["count"].as_u64().unwrap() > 10, "{report}");
    assert_eq!(
        gateway.lane("feature")["accepted"],
        1,
        "nothing changed since the first"
    );
    gateway.assert_account_closes();
}
