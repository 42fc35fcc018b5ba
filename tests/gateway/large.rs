//! Events of up to 900 kB, events that no lane can hold, and sequences over restarts.

use std::collections::{BTreeMap, BTreeSet};

use load::Numbered;
use load::consume::{Reader, Record};
use serde_json::{Value, json};

use crate::keeping::{AWAY, VISION, buffer, cat, logs, out};
use crate::limits::fill;
use crate::mends::{letters, offer};
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, Rig, received, wait_for};

/// With receipts, one after the other. Returns the payloads.
fn offer_large(gateway: &Gateway, intent: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    let mut payloads = Vec::new();
    for number in numbers {
        let payload = json!({ "n": number, "pad": letters(number, 900_000) });
        let event = json!({ "intent": intent, "device": "cam-1", "id": number, "payload": payload, "ack": number });
        assert_eq!(offer(gateway, &[event]), [json!({ "ack": number })]);
        payloads.push(payload.to_string());
    }
    payloads
}

#[test]
fn events_of_900_kb_outlast_an_outage_and_a_kill_and_arrive_as_they_were() {
    needs_kafka!();
    let (mut kafka, mqtt) = (Kafka::own(), Mosquitto::start(""));
    let config = Rig::config(&mqtt, &kafka)
        + "max_event = \"900 KiB\"\n"
        + &kafka.topics(&[("state", "memory = \"32 MiB\"")]);
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    fill(mqtt.port, 0..10, 900_000);
    let payloads = offer_large(&gateway, "critical", 0..5);
    wait_for("all to be on disk", || {
        let stored = gateway.lane("state")["disk_bytes"].as_u64()? > 6_000_000;
        stored.then_some(())
    });
    gateway.wait_for_log("inference socket open");
    let verified = buffer(&gateway, &["verify"]);
    assert!(verified.status.success(), "{}", out(&verified));
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("critical")["recovered"], 5);
    kafka.launch();
    let states = received(&kafka, "state", 0..10);
    for record in &states {
        let event = Numbered::parse(&record.payload).unwrap();
        assert_eq!(serde_json::to_vec(&event).unwrap(), record.payload);
        let published = Numbered::new(event.n, 900_000, true);
        assert!(event.pad == published.pad, "event {} is another", event.n);
    }
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("critical")], &[]);
    let critical = reader.until(PATIENCE, |records| records.len() >= 5);
    let arrived: BTreeSet<&[u8]> = critical.iter().map(|r| r.payload.as_slice()).collect();
    assert_eq!(arrived, payloads.iter().map(String::as_bytes).collect());
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

fn dropped(lane: &Value, reason: &str) -> u64 {
    let all = lane["dropped"].as_array().unwrap();
    let drop = all.iter().find(|drop| drop[0] == reason).unwrap();
    drop[1].as_u64().unwrap()
}

#[test]
fn an_event_that_no_lane_can_hold_is_dropped_and_named() {
    let mqtt = Mosquitto::start("");
    let mut gateway = Gateway::new(&format!(
        "{AWAY}[memory]\nprofile = \"tiny\"\n[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {}\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/{{kind}}\"\nintent = \"state\"\n",
        mqtt.port
    ))
    .start();
    gateway.wait_until_connected("plant");
    fill(mqtt.port, 0..1, 300);
    fill(mqtt.port, 1..2, 300_000);
    fill(mqtt.port, 2..3, 240_000);
    wait_for("all to be taken", || {
        (gateway.lane("state")["accepted"] == 3).then_some(())
    });
    let lane = gateway.lane("state");
    assert_eq!(
        (dropped(&lane, "too_large"), &lane["buffered"]),
        (1, &json!(2))
    );
    assert_eq!(gateway.status()["too_large"], 1);
    gateway.assert_account_closes();
    gateway.wait_for_log("reason=\"too_large\"");
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("too_large")).unwrap();
    assert!(line.contains("subject=\"plant/d1/state/temp\"") && line.contains("limit=262144"));
    let notice = wait_for("the notice", || {
        let health = out(&buffer(&gateway, &["cat", "--lane", "health"]));
        let notices = health.lines().filter_map(|line| {
            let record: Value = serde_json::from_str(line).ok()?;
            serde_json::from_str::<Value>(record["payload"].as_str()?).ok()
        });
        notices
            .into_iter()
            .find(|notice| notice["reason"] == "too_large")
    });
    assert_eq!(
        (&notice["subject"], &notice["count"]),
        (&json!("plant/d1/state/temp"), &json!(1))
    );
    assert!(notice["bytes"].as_u64() > Some(300_000), "{notice}");
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 2);
    gateway.assert_account_closes();
}

fn sequences(records: &[Record]) -> BTreeMap<u64, String> {
    let number = |record: &Record| Numbered::parse(&record.payload).unwrap().n;
    let sequence = |record: &Record| record.header("tg-seq").to_owned();
    records.iter().map(|r| (number(r), sequence(r))).collect()
}

#[test]
fn sequences_go_on_where_all_was_delivered_from_memory() {
    needs_kafka!();
    let mut rig = Rig::start(Kafka::shared(), &[]);
    let end = |rig: &mut Rig, numbers: std::ops::Range<u64>| {
        rig.publish("plant/{d}/diag/temp", numbers.clone(), 0);
        rig.received("diagnostic", numbers);
        rig.gateway.wait_until_drained();
        rig.gateway.assert_account_closes();
    };
    end(&mut rig, 0..10);
    rig.gateway.stop();
    rig.gateway.launch();
    rig.gateway.wait_until_connected("plant");
    end(&mut rig, 10..20);
    rig.gateway.kill_9();
    rig.gateway.launch();
    rig.gateway.wait_until_connected("plant");
    end(&mut rig, 20..30);
    let sequences = sequences(&rig.received("diagnostic", 0..30));
    let distinct: BTreeSet<u64> = sequences.values().map(|s| s.parse().unwrap()).collect();
    assert_eq!(distinct.len(), 30, "{sequences:?}");
    let distinct: Vec<u64> = distinct.into_iter().collect();
    assert_eq!(distinct[10], distinct[9] + 1, "exact after a stop");
}

#[test]
fn an_event_over_what_librdkafka_is_told_to_take_is_set_aside_and_holds_up_nobody() {
    needs_kafka!();
    let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
    let config = Rig::config(&mqtt, &kafka)
        + "[uplink.kafka]\n\"message.max.bytes\" = \"200000\"\n"
        + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    fill(mqtt.port, 0..5, 300);
    fill(mqtt.port, 10..11, 400_000);
    fill(mqtt.port, 5..10, 300);
    assert!(received(&kafka, "state", 0..10).len() >= 10);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    assert_eq!(dropped(&gateway.lane("state"), "rejected"), 1);
    let kept = std::fs::read_to_string(gateway.path("state/set-aside/rejected.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 1);
}

#[test]
fn a_limit_over_what_the_profile_holds_is_named_by_check() {
    let config = format!("{AWAY}{VISION}max_event = \"600 KiB\"\n");
    for (profile, most) in [
        ("normal", None),
        ("small", Some("496 KiB")),
        ("tiny", Some("240 KiB")),
    ] {
        let gateway = Gateway::new(&format!("{config}[memory]\nprofile = \"{profile}\"\n"));
        let mut check = crate::rig::tidegate();
        let output = check.arg("check").arg(gateway.path("gateway.toml"));
        let output = output.output().unwrap();
        let said = String::from_utf8([&output.stderr[..], &output.stdout].concat()).unwrap();
        assert_eq!(output.status.success(), most.is_none(), "{said}");
        if let Some(most) = most {
            assert!(
                said.contains("inference[0].max_event") && said.contains(most),
                "{said}"
            );
        }
    }
}

/// Flips a bit in the piece of a block that is `number` in a file.
fn flip_piece(file: &std::path::Path, number: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let five = bytes.windows(5).enumerate();
    let mut pieces = five.filter(|(_, five)| five == b"TGBLK");
    let (at, _) = pieces.nth(number).unwrap();
    bytes[at + 60_000] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_record_of_several_blocks_of_which_a_middle_one_is_damaged_is_named_and_all_others_are_taken_elsewhere()
 {
    let config = format!("{AWAY}{VISION}max_event = \"900 KiB\"\n");
    let mut gateway = Gateway::new(&config).start();
    let payloads = offer_large(&gateway, "state", 0..4);
    gateway.stop();
    let listed = out(&buffer(&gateway, &["ls"]));
    assert!(listed.contains("state: 4 waiting"), "{listed}");
    let verified = buffer(&gateway, &["verify"]);
    assert!(verified.status.success() && out(&verified).contains("state: 4 records"));
    let kept = cat(&gateway, &["--waiting"]);
    for (number, payload) in (0..).zip(&payloads) {
        assert!(kept[&number]["payload"] == **payload, "event {number}");
    }
    // In the first record, which has about seven of them.
    flip_piece(logs(&gateway).first().unwrap(), 3);
    let verified = buffer(&gateway, &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let said = out(&verified);
    assert!(said.contains("1 records are damaged"), "{said}");
    assert!(said.contains("0 blocks cannot be decoded") && said.contains("state: 3 records"));
    assert!(cat(&gateway, &[]).keys().copied().eq(1..4), "the others");

    let mut other = Gateway::new(&config);
    let target = other.path("state").display().to_string();
    let exported = buffer(&gateway, &["export", &target]);
    assert!(exported.status.success());
    other.launch();
    assert_eq!(other.lane("state")["buffered"], 3);
    let taken = cat(&other, &["--waiting"]);
    assert!((1..4).all(|n| taken[&n]["payload"] == *payloads[usize::try_from(n).unwrap()]));

    let repaired = out(&buffer(&gateway, &["repair"]));
    assert!(repaired.contains("1 records are lost") && repaired.contains("1 generations repaired"));
    assert!(buffer(&gateway, &["verify"]).status.success());
    gateway.launch();
    assert_eq!(gateway.lane("state")["buffered"], 3);
    gateway.assert_account_closes();
}
