//! A good day.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use load::consume::Reader;
use load::slave::{Fault, SlaveLine};
use serde_json::{Value, json};

use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, Rig, publish_to, wait_for};

fn bus(line: &SlaveLine) -> String {
    format!(
        "[[modbus]]\nname = \"press-bus\"\nline = {{ port = \"{}\", baud = 19200 }}\n[[modbus.slave]]\naddress = 7\n\
         device = \"meter-7\"\n[[modbus.slave.group]]\nname = \"power\"\ninterval = \"100ms\"\nintent = \"feature\"\n\
         [[modbus.slave.group.field]]\nname = \"voltage\"\naddress = 0\nscale = 0.1\nunit = \"V\"\n\
         [[modbus.slave.group.field]]\nname = \"energy\"\naddress = 2\ntype = \"u32\"\n",
        line.path()
    )
}

#[test]
fn events_of_all_three_inputs_arrive_in_their_intents_topics() {
    needs_kafka!();
    let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
    let line = SlaveLine::start(&[(7, Fault::None)]);
    let config = Rig::config(&mqtt, &kafka)
        + &bus(&line)
        + &kafka.topics(&[("state", "key = \"{device}/{kind}\"")]);
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    publish_to(mqtt.port, "plant/{d}/state/temp", 0..20, 0, 1);
    let acknowledged = tell(
        &gateway,
        &json!({ "intent": "critical", "device": "cam-1", "kind": "intruder",
        "time": 1_700_000_000, "ack": 1, "payload": { "score": 0.97 } }),
    );
    assert_eq!(acknowledged, json!({ "ack": 1 }));

    expect_states(&kafka);
    let alarm = first(&kafka, "critical");
    assert_eq!(
        (alarm.key.as_str(), alarm.timestamp),
        ("cam-1", 1_700_000_000_000)
    );
    assert_eq!(
        alarm.payload, br#"{"score":0.97}"#,
        "the payload is as it came"
    );
    assert_eq!(alarm.header("ce_time"), "2023-11-14T22:13:20Z");
    expect_readings(&kafka);
    let start: Value = serde_json::from_slice(&first(&kafka, "health").payload).unwrap();
    assert_eq!(
        (&start["epoch"], &start["recovered"]),
        (&json!(1), &json!(0))
    );
    gateway.assert_account_closes();
}

fn expect_states(kafka: &Kafka) {
    let state = crate::rig::received(kafka, "state", 0..20);
    for record in &state {
        let number = load::Numbered::parse(&record.payload).unwrap().n;
        assert_eq!(record.key, format!("d{}/temp", number % 10));
        assert_eq!(
            record.header("ce_subject"),
            format!("plant/d{}/state/temp", number % 10)
        );
        assert_eq!(
            (record.header("ce_specversion"), record.header("ce_source")),
            ("1.0", "/gw-1/plant")
        );
        assert_eq!(
            (record.header("ce_type"), record.header("tg-lane")),
            ("tidegate.mqtt.temp", "state")
        );
        assert_eq!(
            (record.header("tg-replay"), record.header("tg-clock")),
            ("false", "synced")
        );
        assert_eq!(record.header("ce_id").len(), 36);
    }
    let mut sequences: Vec<u64> = state
        .iter()
        .map(|record| record.header("tg-seq").parse().unwrap())
        .collect();
    sequences.sort_unstable();
    assert_eq!(
        sequences,
        (0..20).collect::<Vec<_>>(),
        "sequences are dense"
    );
}

fn expect_readings(kafka: &Kafka) {
    let power = first(kafka, "feature");
    let report: Value = serde_json::from_slice(&power.payload).unwrap();
    assert_eq!(
        (power.key.as_str(), power.header("ce_subject")),
        ("meter-7", "press-bus/7/power")
    );
    assert_eq!(report["quality"], "good");
    assert_eq!(
        report["values"]["voltage"],
        json!({ "value": 70.0, "unit": "V", "quality": "good" })
    );
    assert_eq!(
        report["values"]["energy"],
        json!({ "value": 702 * 65_536 + 703, "quality": "good" })
    );
}

fn first(kafka: &Kafka, intent: &str) -> load::consume::Record {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic(intent)], &[]);
    reader
        .until(PATIENCE, |records| !records.is_empty())
        .into_iter()
        .next()
        .expect("something arrives")
}

/// Says one thing to the inference socket and returns the answer.
fn tell(gateway: &Gateway, message: &Value) -> Value {
    let mut stream = UnixStream::connect(gateway.path("vision.sock")).unwrap();
    writeln!(stream, "{message}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn a_malformed_inference_event_is_refused_with_its_reason_and_the_next_is_taken() {
    let mut gateway = Gateway::new("[uplink]\nbrokers = [\"127.0.0.1:9\"]\n[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\nmax_event = \"200\"\n").start();
    let mut stream = UnixStream::connect(gateway.path("vision.sock")).unwrap();
    let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(300));
    writeln!(stream, "not json\n{long}\n{{\"ack\":\"a\"}}").unwrap();
    let answers: Vec<String> = BufReader::new(stream)
        .lines()
        .take(3)
        .map(Result::unwrap)
        .collect();
    assert!(answers[0].contains("not JSON"), "{answers:?}");
    assert!(answers[1].contains("longer than 200 bytes"), "{answers:?}");
    assert_eq!(answers[2], r#"{"ack":"a"}"#);
    assert_eq!(gateway.lane("diagnostic")["buffered"], 1);
}

#[test]
fn lines_of_a_followed_file_are_taken_once_also_over_a_kill_and_a_rotation() {
    let mut gateway = Gateway::new(
        "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n[[inference]]\nname = \"results\"\ntail = \"$DIR/results.jsonl\"\n",
    );
    let path = gateway.path("results.jsonl");
    std::fs::write(&path, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    gateway.launch();
    wait_for("two lines", || {
        (gateway.lane("diagnostic")["buffered"] == 2).then_some(())
    });
    wait_for("the place to be remembered", || {
        std::fs::read_to_string(gateway.path("state/inference/results")).ok()
    });
    gateway.kill_9();
    gateway.launch();
    std::fs::rename(&path, gateway.path("results.jsonl.1")).unwrap();
    std::fs::write(&path, "{\"a\":3}\n").unwrap();
    wait_for("the third line", || {
        (gateway.lane("diagnostic")["buffered"] == 3).then_some(())
    });
}

#[test]
fn the_agent_comes_up_before_its_brokers_do() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    let socket = "[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n";
    let port = crate::rig::free_port();
    let config = format!(
        "[uplink]\nbrokers = [\"{}\"]\n[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/+\"\nintent = \"state\"\n{socket}",
        kafka.plain()
    );
    let mut gateway = Gateway::new(&(config + &kafka.topics(&[]))).start();
    for number in 0..5 {
        let told = tell(
            &gateway,
            &json!({ "intent": "state", "device": "cam", "ack": number, "payload": { "n": number, "t": 0 } }),
        );
        assert_eq!(
            told,
            json!({ "ack": number }),
            "kept although there is no cluster"
        );
    }
    kafka.launch();
    let mqtt = Mosquitto::on_port(port);
    gateway.wait_until_connected("plant");
    publish_to(mqtt.port, "plant/{d}/state/temp", 5..25, 0, 1);
    let records = crate::rig::received(&kafka, "state", 0..25);
    assert_eq!(load::consume::account(&records, 0..25).lost, 0);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

#[test]
fn both_versions_of_mqtt_and_every_qos_arrive_and_qos_1_survives_a_kill() {
    needs_kafka!();
    for version in ["3.1.1", "5"] {
        let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
        let config = format!(
            "[uplink]\nbrokers = [\"{}\"]\n[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {}\nversion = \"{version}\"\n\
             [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/+\"\nqos = 2\nintent = \"state\"\n",
            kafka.plain(),
            mqtt.port
        );
        let mut gateway = Gateway::new(&(config + &kafka.topics(&[]))).start();
        gateway.wait_until_connected("plant");
        // What a client publishes with QoS 2 beyond mosquitto's window of 20 is kept by mosquitto 2.0.11.
        for (qos, numbers) in [(0, 0..300), (1, 300..600), (2, 600..615)] {
            publish_to(mqtt.port, "plant/{d}/state/temp", numbers, 0, qos);
            if qos == 1 {
                gateway.kill_9();
                gateway.launch();
                gateway.wait_until_connected("plant");
            }
        }
        let account =
            load::consume::account(&crate::rig::received(&kafka, "state", 300..615), 300..615);
        assert_eq!(
            (account.lost, account.doubled, account.out_of_order),
            (0, 0, 0),
            "version {version}: {account:?}"
        );
    }
}
