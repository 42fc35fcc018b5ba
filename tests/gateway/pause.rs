//! What can wait, waits: brokers and clients that send faster than the disk writes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::hostile::packet;
use crate::keeping::AWAY;
use crate::limits::fill;
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, dropped, publish_to, received, wait_for};

/// As little memory as there can be, so that a burst is more than it holds.
const TINY: &str = "[memory]\nprofile = \"tiny\"\n";

/// Bulk and alarms, each from a source of its own.
fn sources(version: &str, port: u16) -> String {
    let source = |name: &str, topic: &str, intent: &str| {
        format!(
            "[[mqtt]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nversion = \"{version}\"\n\
             [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/{topic}/+\"\nintent = \"{intent}\"\n"
        )
    };
    source("plant", "state", "diagnostic") + &source("alarms", "alarm", "critical")
}

pub(crate) fn assert_nothing_is_dropped(gateway: &mut Gateway) {
    for lane in ["diagnostic", "critical"] {
        let lane = gateway.lane(lane);
        let dropped = dropped(&lane);
        assert_eq!((dropped, lane["refused"].as_u64()), (0, Some(0)), "{lane}");
    }
    gateway.assert_account_closes();
}

#[test]
fn a_burst_in_an_outage_waits_for_the_disk_and_holds_up_no_alarm_of_another_source() {
    for version in ["3.1.1", "5"] {
        let mqtt = Mosquitto::start("max_inflight_messages 5000");
        let small = "[[intent]]\nname = \"diagnostic\"\nmemory = \"128 KiB\"\n";
        let config = [AWAY, TINY, small, &sources(version, mqtt.port)].concat();
        let mut gateway = Gateway::new(&config).start();
        gateway.wait_until_connected("plant");
        gateway.wait_until_connected("alarms");
        let port = mqtt.port;
        let bulk = std::thread::spawn(move || fill(port, 0..20_000, 2_000));
        publish_to(port, "plant/{d}/alarm/door", 0..50, 100, 1);
        wait_for("the alarms", || {
            (gateway.lane("critical")["accepted"] == 50).then_some(())
        });
        bulk.join().unwrap();
        wait_for("the burst", || {
            (gateway.lane("diagnostic")["buffered"] == 20_000).then_some(())
        });
        assert_nothing_is_dropped(&mut gateway);
        let status = gateway.status();
        assert!(status["sources"][0]["pauses"].is_u64(), "{status}");
    }
}

#[test]
fn a_burst_with_the_cluster_up_arrives_whole() {
    needs_kafka!();
    let (kafka, mqtt) = (
        Kafka::shared(),
        Mosquitto::start("max_inflight_messages 5000"),
    );
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
    let small = [("diagnostic", "memory = \"128 KiB\"")];
    let topics = kafka.topics(&small);
    let plant = sources("3.1.1", mqtt.port);
    let config = [uplink.as_str(), TINY, &plant, &topics];
    let mut gateway = Gateway::new(&config.concat()).start();
    gateway.wait_until_connected("plant");
    fill(mqtt.port, 0..20_000, 2_000);
    assert_eq!(received(&kafka, "diagnostic", 0..20_000).len(), 20_000);
    gateway.wait_until_drained();
    assert_nothing_is_dropped(&mut gateway);
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text.as_bytes()].concat()
}

/// A PUBLISH of QoS 1.
fn publish(flags: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let body = [&text(topic)[..], &packet_id.to_be_bytes(), payload].concat();
    packet(0x32 | flags, &body)
}

/// Leaves retained messages with a broker, one in each of `count` topics.
fn retain(port: u16, count: u16, payload: &[u8]) {
    let mut broker = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let connect = [&text("MQTT")[..], &[4, 2, 0, 60], &text("retains")].concat();
    broker.write_all(&packet(0x10, &connect)).unwrap();
    broker.read_exact(&mut [0; 4]).unwrap();
    for number in 1..=count {
        let topic = format!("plant/d{number}/state/map");
        broker
            .write_all(&publish(1, &topic, number, payload))
            .unwrap();
        broker.read_exact(&mut [0; 4]).unwrap();
    }
    broker.write_all(&packet(0xe0, &[])).unwrap();
}

#[test]
fn large_retained_messages_at_the_start_are_all_kept() {
    for version in ["3.1.1", "5"] {
        let mqtt = Mosquitto::start("");
        retain(
            mqtt.port,
            300,
            &load::Numbered::new(1, 40_000, true).pad.into_bytes(),
        );
        let config = [AWAY, TINY, &sources(version, mqtt.port)].concat();
        let mut gateway = Gateway::new(&config).start();
        wait_for("all of them", || {
            (gateway.lane("diagnostic")["buffered"] == 300).then_some(())
        });
        assert_nothing_is_dropped(&mut gateway);
    }
}

/// Reads one packet of at most 127 bytes.
fn read_packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

#[test]
fn equal_messages_with_one_packet_identifier_are_two_unless_the_broker_says_that_it_repeats() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = broker.local_addr().unwrap().port();
    let config = AWAY.to_owned()
        + sources("3.1.1", port)
            .split("[[mqtt]]\nname = \"alarms\"")
            .next()
            .unwrap();
    let mut gateway = Gateway::new(&config);
    gateway.spawn();
    let (mut session, _) = broker.accept().unwrap();
    session.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_packet(&mut session).0, 0x10, "CONNECT");
    session.write_all(&[0x20, 2, 0, 0]).unwrap();
    let (_, subscribe) = read_packet(&mut session);
    let granted = [0x90, 3, subscribe[0], subscribe[1], 1];
    session.write_all(&granted).unwrap();
    // The third is the second again, and says so.
    for dup in [0, 0, 8] {
        session
            .write_all(&publish(dup, "plant/d1/state/door", 1, b"open"))
            .unwrap();
        assert_eq!(read_packet(&mut session), (0x40, vec![0, 1]), "PUBACK");
    }
    let records = || cat_lane_marks(&gateway);
    wait_for("all three", || (records().len() == 3).then_some(()));
    let marks = records();
    assert_ne!(marks[0], marks[1], "two messages");
    assert_eq!(marks[1], marks[2], "a repeat");
}

fn cat_lane_marks(gateway: &Gateway) -> Vec<String> {
    let output = crate::keeping::buffer(gateway, &["cat", "--lane", "diagnostic"]);
    let text = crate::keeping::out(&output);
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|record| record["mark"].to_string())
        .collect()
}

#[test]
fn a_client_that_never_reads_its_replies_is_closed_and_holds_up_no_stop() {
    let mut gateway = Gateway::new(&format!(
        "{AWAY}[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n"
    ))
    .start();
    let mut client = UnixStream::connect(gateway.path("vision.sock")).unwrap();
    client
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let asking = json!({ "intent": "diagnostic", "ack": "a".repeat(4_000), "payload": 1 });
    let line = format!("{asking}\n");
    // Until the gateway reads nothing more, as it cannot reply.
    while client.write_all(line.as_bytes()).is_ok() {}
    gateway.wait_for_log("did not read its replies");
    assert!(
        gateway
            .log()
            .contains(&format!("process={}", std::process::id()))
    );
    let mut other = UnixStream::connect(gateway.path("vision.sock")).unwrap();
    while other
        .set_write_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && other.write_all(line.as_bytes()).is_ok()
    {}
    let begun = Instant::now();
    gateway.stop();
    assert!(begun.elapsed() < Duration::from_secs(15));
}
