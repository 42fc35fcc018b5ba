//! Modbus peers of bad manners, as the field has them.

use std::time::{Duration, Instant};

use load::consume::{Reader, Record};
use load::slave::{Fault, SlaveLine};
use load::unit::{Manner, TcpUnit};
use serde_json::{Value, json};

use crate::buses;
use crate::needs_kafka;
use crate::operator::{get, with_port};
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, tidegate, wait_for};

/// A bus of one unit and two groups.
fn config(kafka: &Kafka, unit: &TcpUnit, address: u8, interval: &str) -> String {
    let group = |name: &str, register: u16| {
        format!(
            "[[modbus.slave.group]]\nname = \"{name}\"\n[[modbus.slave.group.field]]\nname = \"x\"\naddress = {register}\n"
        )
    };
    format!(
        "[uplink]\nbrokers = [\"{}\"]\n[[modbus]]\nname = \"bus\"\nline = {{ tcp = \"{}\" }}\n[[modbus.slave]]\n\
         address = {address}\ndevice = \"plc\"\nintent = \"feature\"\ninterval = \"{interval}\"\n{}{}{}",
        kafka.plain(),
        unit.address,
        group("one", 1),
        group("two", 200),
        kafka.topics(&[])
    )
}

/// Reports of an intent, until there are enough.
fn reports(kafka: &Kafka, intent: &str, mut enough: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic(intent)], &[]);
    let report = |record: &Record| {
        let mut report: Value = serde_json::from_slice(&record.payload).unwrap_or_default();
        report["subject"] = json!(record.header("ce_subject"));
        report["ms"] = json!(record.timestamp);
        report
    };
    let of = |records: &[Record]| records.iter().map(report).collect::<Vec<_>>();
    of(&reader.until(PATIENCE, |records| enough(&of(records))))
}

fn count(reports: &[Value], key: &str, value: &str) -> usize {
    reports.iter().filter(|one| one[key] == value).count()
}

#[test]
fn a_session_that_goes_deaf_is_made_again() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let unit = TcpUnit::start(Manner::default());
    let mut gateway = Gateway::new(&config(&kafka, &unit, 1, "500ms")).start();
    gateway.wait_until_connected("bus");
    unit.deafen();
    let (before, deaf) = (unit.answers(), Instant::now());
    wait_for("answers on another connection", || {
        (unit.answers() > before + 1).then_some(())
    });
    assert!(deaf.elapsed() < Duration::from_secs(10));
    assert_eq!(unit.connections(), 2);
    let told = gateway.log().matches("it is made again").count();
    assert_eq!(told, 1);
}

#[test]
fn a_unit_that_is_dead_does_not_have_its_connection_made_again_and_again() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let unit = TcpUnit::start(Manner {
        skips: Some(1),
        ..Manner::default()
    });
    let gateway = Gateway::new(&config(&kafka, &unit, 1, "100ms")).start();
    gateway.wait_for_log("modbus slave does not answer");
    wait_for("a rest", || (unit.answers() >= 5).then_some(()));
    assert_eq!(unit.connections(), 1);
}

#[test]
fn a_gateway_that_closes_idle_connections_is_read_on_time_and_without_a_word() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let unit = TcpUnit::start(Manner {
        idle: Some(Duration::from_millis(200)),
        ..Manner::default()
    });
    let gateway = Gateway::new(&config(&kafka, &unit, 1, "1s")).start();
    let of = |reports: &[Value], group: &str| -> Vec<i64> {
        let ours = reports
            .iter()
            .filter(|one| one["subject"] == format!("bus/1/{group}"));
        ours.filter_map(|one| one["ms"].as_i64()).collect()
    };
    let all = reports(&kafka, "feature", |all| {
        of(all, "one").len() >= 5 && of(all, "two").len() >= 5
    });
    assert_eq!(count(&all, "quality", "bad"), 0);
    for group in ["one", "two"] {
        let times = of(&all, group);
        let (first, last) = (times[0], times[times.len() - 1]);
        let mean = (last - first) / (i64::try_from(times.len()).unwrap() - 1);
        assert!((900..1300).contains(&mean), "{group} every {mean} ms");
    }
    assert!(unit.connections() >= 8, "it closed them");
    let log = gateway.log();
    assert!(!log.contains("WARN") || !log.contains("bus"), "{log}");
}

#[test]
fn one_that_takes_a_connection_and_hangs_up_is_asked_less_and_less_and_told_once() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let unit = TcpUnit::start(Manner {
        hangs_up: true,
        ..Manner::default()
    });
    let mut gateway = Gateway::new(&config(&kafka, &unit, 1, "200ms")).start();
    let begun = Instant::now();
    let missed = reports(&kafka, "feature", |all| all.len() >= 40);
    assert!(
        missed
            .iter()
            .all(|one| one["quality"] == "bad" && one["reason"] == "line"),
        "{missed:?}"
    );
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let most = 8 + seconds;
    assert!(
        unit.connections() <= most,
        "{} in {seconds} s",
        unit.connections()
    );
    let log = gateway.log();
    assert_eq!(log.matches("source lost").count(), 1, "{log}");
    unit.set(Manner::default());
    gateway.wait_for_log("modbus line answers again");
    gateway.wait_until_connected("bus");
    let line = |all: &[Value]| -> Vec<Value> {
        let ours = all.iter().filter(|one| one["subject"] == "bus/line/health");
        ours.map(|one| one["state"].clone()).collect()
    };
    let told = reports(&kafka, "health", |all| line(all).len() >= 2);
    assert_eq!(line(&told), [json!("gone"), json!("back")]);
}

#[test]
fn a_serial_line_that_is_gone_gives_bad_events_at_the_interval() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::None)]);
    let mut gateway = Gateway::new(&buses::config(&kafka, &line, &[1])).start();
    gateway.wait_until_connected("bus");
    drop(line);
    let all = reports(&kafka, "feature", |all| count(all, "reason", "line") >= 11);
    let gone: Vec<i64> = all
        .iter()
        .filter(|one| one["reason"] == "line")
        .filter_map(|one| one["ms"].as_i64())
        .collect();
    let mean = (gone[gone.len() - 1] - gone[0]) / (i64::try_from(gone.len()).unwrap() - 1);
    assert!((180..400).contains(&mean), "every {mean} ms, of 200");
    let status = gateway.status();
    assert_eq!(status["sources"][0]["connected"], false, "{status}");
}

#[test]
fn a_unit_with_a_number_of_its_own_is_taken_and_told_once() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let unit = TcpUnit::start(Manner {
        unit: Some(7),
        ..Manner::default()
    });
    let gateway = Gateway::new(&config(&kafka, &unit, 255, "100ms")).start();
    let all = reports(&kafka, "feature", |all| all.len() >= 10);
    let first = &all[0]["values"]["x"]["value"];
    assert!([json!(101), json!(300)].contains(first), "{first}");
    assert_eq!(count(&all, "quality", "good"), all.len());
    let told = gateway.log().matches("another modbus unit answers").count();
    assert_eq!(told, 1);
}

#[test]
fn stray_bytes_before_an_answer_are_skipped_and_counted() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::NoiseBefore)]);
    let mut gateway = Gateway::new(&buses::config(&kafka, &line, &[1])).start();
    let all = reports(&kafka, "feature", |all| all.len() >= 10);
    let good: Vec<&Value> = all.iter().filter(|one| one["quality"] == "good").collect();
    assert!(good.len() >= 8, "{all:?}");
    assert!(good.iter().all(|one| one["values"]["x"]["value"] == 104));
    let skipped = gateway.status()["sources"][0]["skipped_bytes"].as_u64();
    assert!(skipped.is_some_and(|bytes| bytes >= 20), "{skipped:?}");
}

#[test]
fn a_source_whose_only_slave_is_dead_is_not_up() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::None)]);
    let mut gateway = Gateway::new(&buses::config(&kafka, &line, &[1])).start();
    gateway.wait_until_connected("bus");
    line.set(1, Fault::Dead);
    gateway.wait_for_log("modbus slave does not answer");
    wait_for("the source to be down", || {
        (gateway.status()["sources"][0]["connected"] == false).then_some(())
    });
    line.set(1, Fault::None);
    gateway.wait_until_connected("bus");
}

#[test]
fn status_and_metrics_say_which_slave_of_a_bus_does_not_answer() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let line = SlaveLine::start(&[(1, Fault::None), (2, Fault::Dead)]);
    let (mut gateway, port) = with_port(&buses::config(&kafka, &line, &[1, 2]));
    gateway.wait_until_connected("bus");
    gateway.wait_for_log("modbus slave does not answer");
    wait_for("what is known of both slaves", || {
        let status = gateway.status();
        let slaves = status["sources"][0]["slaves"].as_array()?;
        let [one, two] = slaves.as_slice() else {
            return None;
        };
        let is_well = one["slave"] == 1 && one["answers"] == true && one["answered"] != 0;
        let is_dead = two["slave"] == 2 && two["answers"] == false && two["answered"] == 0;
        (is_well && is_dead && two["failed"].as_u64()? >= 3).then_some(())
    });
    let (_, metrics) = get(port, "/metrics");
    for line in [
        "tidegate_slave_answers{source=\"bus\",slave=\"1\"} 1.0",
        "tidegate_slave_answers{source=\"bus\",slave=\"2\"} 0.0",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn two_buses_on_one_line_are_warned_of() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let unit = TcpUnit::start(Manner::default());
    let one = config(&kafka, &unit, 1, "1s");
    let begins = one.find("[[modbus]]").unwrap();
    let ends = one.find("device = ").unwrap();
    let two = one[begins..ends].replace("\"bus\"", "\"other\"");
    let two = two
        + "device = \"b\"\n[[modbus.slave.group]]\nname = \"g\"\n[[modbus.slave.group.field]]\nname = \"x\"\naddress = 0\n";
    let gateway = Gateway::new(&(one + &two));
    let checked = tidegate()
        .arg("check")
        .arg(gateway.path("gateway.toml"))
        .output()
        .unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success(), "{said}");
    let told = format!(
        "modbus[1].line.tcp: `{}` is the line of `bus` too",
        unit.address
    );
    assert!(said.contains(&told), "{said}");
}
