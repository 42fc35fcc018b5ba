//! Inputs out of the ordinary.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use load::publish::Publish;

use crate::rig::{Gateway, Rig, publish_to, received, run, wait_for};
use crate::signals::begin_anew;

const AWAY: &str = "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n";

pub(crate) fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_frame_of_cbor_is_acknowledged_and_its_bytes_arrive_as_they_are() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let config = format!(
        "[uplink]\nbrokers = [\"{}\"]\n[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\nintent = \"feature\"\n",
        kafka.plain()
    ) + &kafka.topics(&[]);
    let gateway = Gateway::new(&config).start();
    let mut stream = UnixStream::connect(gateway.path("vision.sock")).unwrap();
    // {"device": "cam-1", "ack": 5, "payload": h'00ff0a'}, behind its length.
    let event = b"\xa3\x66device\x65cam-1\x63ack\x05\x67payload\x43\x00\xff\x0a";
    let length = u32::try_from(event.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, &event[..]].concat()).unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"ack\":5}\n");
    let mut reader = load::consume::Reader::new(&kafka.plain(), &[&kafka.topic("feature")], &[]);
    let records = reader.until(crate::rig::PATIENCE, |records| !records.is_empty());
    assert_eq!(records[0].payload, [0x00, 0xff, 0x0a]);
    assert_eq!(records[0].key, "cam-1");
}

#[test]
fn a_fifo_is_followed_also_when_its_writer_goes_and_another_comes() {
    let mut gateway = Gateway::new(&format!(
        "{AWAY}[[inference]]\nname = \"results\"\ntail = \"$DIR/results\"\n"
    ));
    let path = gateway.path("results");
    make_fifo(&path);
    gateway.launch();
    for count in 1..=2 {
        fs::write(&path, format!("{{\"score\":{count}}}\n")).unwrap();
        wait_for("the line", || {
            (gateway.lane("diagnostic")["buffered"] == count).then_some(())
        });
    }
}

#[test]
fn a_fifo_that_is_written_without_a_pause_loses_no_line_over_reloads() {
    let mut gateway = Gateway::new(&format!(
        "{AWAY}[[inference]]\nname = \"results\"\ntail = \"$DIR/results\"\n"
    ));
    let path = gateway.path("results");
    make_fifo(&path);
    gateway.launch();
    // Held open for reading as well, so that it outlives the agents.
    let mut pipe = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let lines = 60_000;
    let writing = std::thread::spawn(move || {
        for number in 0..lines {
            writeln!(pipe, "{{\"n\":{number}}}").unwrap();
        }
        pipe
    });
    for reload in 1..=4 {
        begin_anew(&gateway);
        wait_for("the reload", || {
            (gateway.log().matches("tidegate started").count() == 1 + reload).then_some(())
        });
    }
    drop(writing.join().unwrap());
    wait_for("all lines", || {
        (gateway.lane("diagnostic")["buffered"] == lines).then_some(())
    });
    assert_eq!(
        gateway.lane("diagnostic")["accepted"].as_u64().unwrap()
            + gateway.lane("diagnostic")["recovered"].as_u64().unwrap(),
        lines
    );
}

#[test]
fn a_subscription_that_the_broker_refuses_is_said_loudly_and_the_others_go_on() {
    needs_kafka!();
    let directory = TempDir::new().unwrap();
    let rights = directory.path().join("rights.json");
    let all = json!({ "publishClientSend": true, "publishClientReceive": true, "subscribe": true, "unsubscribe": true });
    let denied =
        json!([{ "acltype": "subscribeLiteral", "topic": "plant/+/diag/+", "allow": false }]);
    let text = json!({ "defaultACLAccess": all, "clients": [], "anonymousGroup": "all",
        "groups": [{ "groupname": "all", "roles": [{ "rolename": "all" }] }],
        "roles": [{ "rolename": "all", "acls": denied }] });
    fs::write(&rights, text.to_string()).unwrap();
    // Mosquitto's rights file cannot refuse a subscription; its plugin can.
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let plugin = format!(
        "plugin {libraries}/mosquitto_dynamic_security.so\nplugin_opt_config_file {}",
        rights.display()
    );
    for version in ["3.1.1", "5"] {
        let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(&plugin));
        let config = Rig::config(&mqtt, &kafka)
            .replace("[[mqtt]]", &format!("[[mqtt]]\nversion = \"{version}\""));
        let mut gateway = Gateway::new(&(config + &kafka.topics(&[]))).start();
        gateway.wait_for_log("the broker refused the subscription");
        assert!(gateway.log().contains("plant/+/diag/+"));
        gateway.wait_until_connected("plant");
        publish_to(mqtt.port, "plant/{d}/state/temp", 0..5, 0, 1);
        assert_eq!(received(&kafka, "state", 0..5).len(), 5);
        let error = gateway.status()["sources"][0]["last_error"].to_string();
        assert!(error.contains("refused the subscription"), "{error}");
    }
}

/// mosquitto sends more than `receive_maximum` where acknowledgements come late; what it sends is not to be dropped for it.
#[test]
fn a_broker_that_sends_faster_than_the_disk_writes_waits_for_it() {
    let mqtt = Mosquitto::start("");
    let source = format!(
        "[memory]\nprofile = \"tiny\"\n[[intent]]\nname = \"diagnostic\"\nmemory = \"128 KiB\"\n[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\n\
         port = {}\nwindow = 50\n[[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/+\"\nintent = \"diagnostic\"\n",
        mqtt.port
    );
    let mut gateway = Gateway::new(&(AWAY.to_owned() + &source)).start();
    gateway.wait_until_connected("plant");
    run(Publish {
        port: mqtt.port,
        topic: "plant/{d}/state/temp".into(),
        devices: 10,
        numbers: 0..20_000,
        rate: 0,
        size: 1000,
        qos: 1,
        noise: true,
    });
    wait_for("all events", || {
        (gateway.lane("diagnostic")["buffered"] == 20_000).then_some(())
    });
    gateway.assert_account_closes();
}
