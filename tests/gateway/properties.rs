//! What a message of MQTT 5 says of itself: user properties, its content type, how long it is of use; and empty ones, which delete.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use load::consume::{Reader, Record};
use serde_json::json;

use crate::hostile::publish;
use crate::keeping::AWAY;
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, dropped, wait_for};

const TAKES: &str = "headers = [\"trace-id\", \"content-type\"]\n";

fn plant(mqtt: &Mosquitto, more: &str) -> String {
    let subscribe = |level: &str, intent: &str| {
        format!("[[mqtt.subscribe]]\ntopic = \"plant/{{device}}/{level}\"\nintent = \"{intent}\"\n")
    };
    format!(
        "[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {}\n{more}{}{}{}",
        mqtt.port,
        subscribe("state", "state"),
        subscribe("diag", "diagnostic"),
        subscribe("alarm", "critical"),
    )
}

/// A publisher of MQTT 5.
struct Publisher {
    stream: TcpStream,
    last: u16,
}

impl Publisher {
    fn new(port: u16) -> Publisher {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let connect = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01p";
        stream.write_all(connect).unwrap();
        assert_eq!(packet(&mut stream)[0], 0x20, "CONNACK");
        Publisher { stream, last: 0 }
    }

    /// Returns when the broker has it.
    fn publish(&mut self, topic: &str, retain: bool, properties: &[Vec<u8>], payload: &str) {
        self.last += 1;
        let properties = properties.concat();
        let mut bytes = publish(self.last, topic, Some(&properties), payload.as_bytes());
        bytes[0] |= u8::from(retain);
        self.stream.write_all(&bytes).unwrap();
        assert_eq!(packet(&mut self.stream)[0], 0x40, "PUBACK");
    }
}

/// A packet of less than 128 bytes.
fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet).unwrap();
    packet.resize(2 + usize::from(packet[1]), 0);
    stream.read_exact(&mut packet[2..]).unwrap();
    packet
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn user(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], text(name), text(value)].concat()
}

fn content_type(value: &str) -> Vec<u8> {
    [vec![0x03], text(value)].concat()
}

/// Seconds.
fn expiry(seconds: u32) -> Vec<u8> {
    [vec![0x02], seconds.to_be_bytes().to_vec()].concat()
}

fn records(kafka: &Kafka, intent: &str, count: usize) -> Vec<Record> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic(intent)], &[]);
    reader.until(PATIENCE, |records| records.len() >= count)
}

fn uplink(kafka: &Kafka) -> String {
    format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain())
}

#[test]
fn properties_that_are_named_become_headers_and_a_text_that_is_too_long_is_counted() {
    needs_kafka!();
    let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
    let config = uplink(&kafka) + &plant(&mqtt, TAKES) + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    let all = [
        user("trace-id", "1"),
        user("ce_id", "forged"),
        content_type("text/plain"),
        user("trace-id", "2"),
    ];
    let too_long = [user("trace-id", &"x".repeat(1025))];
    let mut publisher = Publisher::new(mqtt.port);
    publisher.publish("plant/press-3/state", false, &all, "all");
    publisher.publish("plant/press-3/state", false, &too_long, "too long");
    publisher.publish("plant/press-3/state", false, &[], "none");
    let records = records(&kafka, "state", 3);
    let headers = |name: &str| -> Vec<Option<&str>> {
        let all = records.iter().map(|record| record.headers.get(name));
        all.map(|text| text.map(String::as_str)).collect()
    };
    assert_eq!(headers("trace-id"), [Some("2"), None, None]);
    assert_eq!(headers("content-type"), [Some("text/plain"), None, None]);
    assert!(headers("ce_id").iter().all(|id| *id != Some("forged")));
    assert_eq!(gateway.status()["sources"][0]["errors"], 1);
    gateway.wait_for_log("a property of a message is too long to be a header");
}

#[test]
fn what_expired_in_an_outage_is_dropped_and_counted_and_an_alarm_is_marked() {
    needs_kafka!();
    let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
    let tombstones = [("state", "tombstones = true\n")];
    let mut gateway =
        Gateway::new(&(AWAY.to_owned() + &plant(&mqtt, TAKES) + &kafka.topics(&tombstones)));
    gateway.launch();
    gateway.wait_until_connected("plant");
    let mut publisher = Publisher::new(mqtt.port);
    let traced = [user("trace-id", "7"), expiry(3600)];
    publisher.publish("plant/press-3/state", true, &traced, "on");
    publisher.publish("plant/press-3/state", true, &[], "");
    publisher.publish("plant/press-3/diag", false, &[expiry(1)], "short");
    publisher.publish("plant/press-3/diag", false, &[expiry(3600)], "long");
    publisher.publish("plant/press-3/diag", false, &[], "");
    publisher.publish("plant/press-3/alarm", false, &[expiry(1)], "alarm");
    let published = Instant::now();
    wait_for("all to be taken", || {
        let lanes = [("state", 2), ("diagnostic", 3), ("critical", 1)];
        let mut lanes = lanes.into_iter();
        lanes
            .all(|(lane, count)| gateway.lane(lane)["accepted"] == count)
            .then_some(())
    });
    gateway.stop();
    wait_for("what is short to expire", || {
        (published.elapsed() > Duration::from_secs(4)).then_some(())
    });
    gateway.change(AWAY, &uplink(&kafka));
    gateway.launch();
    let of = |intent, count| -> Vec<(String, bool)> {
        let records = records(&kafka, intent, count);
        let text = |record: Record| String::from_utf8(record.payload).unwrap();
        let is_marked = |record: &Record| record.header("tg-expired") == "true";
        let all = records.into_iter().map(|one| (is_marked(&one), one));
        all.map(|(marked, one)| (text(one), marked)).collect()
    };
    let unmarked = |text: &str| (text.to_owned(), false);
    assert_eq!(of("diagnostic", 2), [unmarked("long"), unmarked("")]);
    assert_eq!(of("critical", 1), [("alarm".to_owned(), true)]);
    let kept = records(&kafka, "diagnostic", 2);
    assert!(kept.iter().all(|record| !record.is_tombstone));
    let states = records(&kafka, "state", 2);
    let is: Vec<(&str, bool, &str)> = states
        .iter()
        .map(|one| (&*one.key, one.is_tombstone, one.header("trace-id")))
        .collect();
    assert_eq!(is, [("press-3", false, "7"), ("press-3", true, "")]);
    gateway.wait_until_drained();
    let lane = gateway.lane("diagnostic");
    assert_eq!(dropped(&lane), 1);
    let drops = lane["dropped"].as_array().unwrap();
    assert!(drops.contains(&json!(["age", 1])), "{lane}");
    gateway.assert_account_closes();
    gateway.wait_for_log("events dropped lane=diagnostic reason=\"age\"");
}
