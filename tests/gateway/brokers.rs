//! Brokers with limits and manners: messages that are too large, brokers that refuse or hang up, what they keep and what they
//! remember of us.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::json;

use crate::keeping::AWAY;
use crate::limits::fill;
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, Rig, dropped, free_port, publish_to, send_signal, wait_for};
use crate::signals::begin_anew;

fn plant(port: u16, version: &str, filter: &str) -> String {
    format!(
        "[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {port}\nversion = \"{version}\"\n\
         [[mqtt.subscribe]]\ntopic = \"{filter}\"\nintent = \"state\"\n"
    )
}

const STATES: &str = "plant/{device}/state/{kind}";

#[test]
fn a_message_of_five_megabytes_is_counted_and_named_and_what_is_behind_it_is_taken() {
    for version in ["3.1.1", "5"] {
        let mqtt = Mosquitto::start("");
        let mut gateway = Gateway::new(&(AWAY.to_owned() + &plant(mqtt.port, version, STATES)));
        gateway.launch();
        gateway.wait_until_connected("plant");
        fill(mqtt.port, 0..1, 5_000_000);
        fill(mqtt.port, 1..3, 300);
        wait_for("all to be taken", || {
            (gateway.lane("state")["accepted"] == 3).then_some(())
        });
        let lane = gateway.lane("state");
        assert_eq!((dropped(&lane), &lane["buffered"]), (1, &json!(2)));
        assert_eq!(gateway.status()["too_large"], 1);
        gateway.assert_account_closes();
        gateway.wait_for_log("reason=\"too_large\"");
        gateway.wait_for_log("a message is larger than is read");
        assert!(!gateway.log().contains("source lost"), "one connection");
    }
}

/// A broker that answers each CONNECT with these bytes and hangs up, and counts how often.
fn hangs_up(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 512];
            if stream.read(&mut head).is_ok() {
                stream.write_all(answer).ok();
            }
        }
    });
    port
}

#[test]
fn a_broker_that_refuses_or_hangs_up_is_told_of_once_and_in_words() {
    for (version, answer, words) in [
        ("3.1.1", &[0x20, 2, 0, 5][..], "Not authorized (5)"),
        (
            "5",
            &[0x20, 9, 0, 0x9c, 6, 0x1c, 0, 3, b'b', b'-', b'2'],
            "names the server `b-2`",
        ),
        (
            "5",
            &[0x20, 3, 0, 0, 0, 0xe0, 1, 0x8b],
            "Server shutting down, 0x8B",
        ),
        ("5", &[0x20, 3, 0, 0, 0], ""),
    ] {
        let port = hangs_up(answer);
        let mut gateway = Gateway::new(&(AWAY.to_owned() + &plant(port, version, STATES)));
        gateway.launch();
        wait_for("five attempts", || {
            let attempts = gateway.status()["sources"][0]["errors"].as_u64()?;
            (attempts >= 5).then_some(())
        });
        let log = gateway.log();
        let mut lines = log.lines().filter(|line| line.contains("source lost"));
        let line = lines.next().unwrap();
        assert!(line.contains(words), "{line}");
        assert_eq!(lines.next(), None);
    }
}

#[test]
fn a_filter_that_is_taken_out_of_the_configuration_is_unsubscribed_at_the_reload() {
    for version in ["3.1.1", "5"] {
        let mqtt = Mosquitto::start("");
        let mut gateway = Gateway::new(&(AWAY.to_owned() + &plant(mqtt.port, version, STATES)));
        gateway.launch();
        gateway.wait_until_connected("plant");
        gateway.change(STATES, "plant/{device}/diag/{kind}");
        send_signal(gateway.process(), "HUP");
        gateway.wait_for_log("unsubscribed from what is no longer configured");
        publish_to(mqtt.port, "plant/{d}/state/temp", 0..10, 0, 1);
        publish_to(mqtt.port, "plant/{d}/diag/temp", 10..20, 0, 1);
        wait_for("what is configured", || {
            (gateway.lane("state")["accepted"] == 10).then_some(())
        });
        assert_eq!(gateway.lane("diagnostic")["accepted"], 0, "nothing else");
        assert!(!gateway.log().contains("no [[mqtt.subscribe]] matches"));
    }
}

/// Publishes one message that the broker is to keep, with 3.1.1 and QoS 1.
fn retain(port: u16, topic: &str, payload: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p";
    stream.write_all(connect).unwrap();
    let publish = crate::hostile::publish(1, topic, None, payload.as_bytes());
    let retained = [&[publish[0] | 1], &publish[1..]].concat();
    stream.write_all(&retained).unwrap();
    let mut answers = [0; 8];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!(answers, [0x20, 2, 0, 0, 0x40, 2, 0, 1]);
}

#[test]
fn what_a_broker_keeps_arrives_once_and_marked_over_reloads_and_restarts() {
    needs_kafka!();
    for version in ["3.1.1", "5"] {
        let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
        retain(mqtt.port, "plant/press-3/state/mode", "kept");
        let config = Rig::config(&mqtt, &kafka)
            .replace("[[mqtt]]", &format!("[[mqtt]]\nversion = \"{version}\""));
        let mut gateway = Gateway::new(&(config + &kafka.topics(&[])));
        gateway.launch();
        gateway.wait_until_connected("plant");
        let mut reader = load::consume::Reader::new(&kafka.plain(), &[&kafka.topic("state")], &[]);
        reader.until(PATIENCE, |records| !records.is_empty());
        begin_anew(&gateway);
        wait_for("the reload", || {
            (gateway.log().matches("mqtt source connected").count() == 2).then_some(())
        });
        gateway.stop();
        gateway.launch();
        gateway.wait_until_connected("plant");
        publish_to(mqtt.port, "plant/{d}/state/temp", 0..10, 0, 1);
        let mut reader = load::consume::Reader::new(&kafka.plain(), &[&kafka.topic("state")], &[]);
        let records = reader.until(PATIENCE, |records| records.len() >= 11);
        assert_eq!(records.len(), 11, "the retained one came once");
        let of = |record: &load::consume::Record| {
            let text = String::from_utf8_lossy(&record.payload).into_owned();
            (text, record.header("tg-retained") == "true")
        };
        let wrong = records
            .iter()
            .map(of)
            .filter(|(text, is_marked)| (text == "kept") != *is_marked);
        assert_eq!(wrong.collect::<Vec<_>>(), [], "{version}: marks");
    }
}

#[test]
fn a_self_signed_certificate_is_refused_in_words_and_taken_when_it_is_pinned() {
    let port = free_port();
    let mut gateway = Gateway::new(&(AWAY.to_owned() + &plant(port, "5", STATES)));
    let path = |name: &str| gateway.path(name).display().to_string();
    let (certificate, key) = (path("broker.crt"), path("broker.key"));
    // As `openssl req -x509` makes it, it is one of an authority.
    let make = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=broker -keyout {key} -out {certificate}"
    );
    openssl(&make);
    let printed = openssl(&format!(
        "x509 -noout -fingerprint -sha256 -in {certificate}"
    ));
    let (_, pin) = printed.trim().split_once('=').unwrap();
    let _mqtt = Mosquitto::start(&format!(
        "listener {port} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\nuser root"
    ));
    gateway.change(
        "[[mqtt.subscribe]]",
        &format!("[mqtt.tls]\nca_file = \"{certificate}\"\n[[mqtt.subscribe]]"),
    );
    gateway.launch();
    gateway.wait_for_log("is that of an authority (CA:TRUE)");
    gateway.change(
        &format!("ca_file = \"{certificate}\""),
        &format!("pin = \"{pin}\""),
    );
    send_signal(gateway.process(), "HUP");
    gateway.wait_until_connected("plant");
}

/// Returns what it prints.
fn openssl(arguments: &str) -> String {
    let output = Command::new("openssl").args(arguments.split(' ')).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}
