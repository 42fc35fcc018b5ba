//! Full lanes, full disks, and records that nobody will take.

use load::consume::account;
use load::publish::Publish;

use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, dropped, received, run, wait_for};

/// Publishes events of `size` bytes that do not compress.
pub(crate) fn fill(port: u16, numbers: std::ops::Range<u64>, size: usize) {
    run(Publish {
        port,
        topic: "plant/{d}/state/temp".into(),
        devices: 10,
        numbers,
        rate: 0,
        size,
        qos: 1,
        noise: true,
    });
}

fn full_lane(policy: &str) -> Rig {
    let intents = format!("budget = \"1 MiB\"\nmemory = \"128 KiB\"\nwhen_full = \"{policy}\"");
    let mut rig = Rig::start(Kafka::own(), &[("state", &intents)]);
    fill(rig.mqtt.port, 0..4_000, 1_000);
    wait_for("the lane to be full", || {
        let lane = rig.gateway.lane("state");
        let dropped = dropped(&lane);
        let taken = lane["accepted"].as_u64()? >= 4_000;
        (lane["refused"].as_u64()? > 0 || (taken && dropped > 0)).then_some(())
    });
    let disk = rig.gateway.lane("state")["disk_bytes"].as_u64().unwrap();
    assert!(disk <= 1 << 20, "{disk} bytes on disk are over the budget");
    rig.gateway.assert_account_closes();
    rig.kafka.launch();
    rig
}

#[test]
fn a_full_lane_that_refuses_leaves_events_with_the_broker_and_loses_none() {
    needs_kafka!();
    let rig = full_lane("refuse");
    let account = rig.account("state", 0..4_000);
    assert_eq!((account.lost, account.doubled), (0, 0), "{account:?}");
}

#[test]
fn a_full_lane_that_drops_its_oldest_counts_each_and_keeps_the_newest() {
    needs_kafka!();
    let mut rig = full_lane("drop_oldest");
    rig.gateway.wait_until_drained();
    rig.gateway.assert_account_closes();
    let lane = rig.gateway.lane("state");
    let dropped = dropped(&lane);
    let newest = received(&rig.kafka, "state", 3_900..4_000);
    let account = account(&newest, 0..4_000);
    assert_eq!(
        (account.distinct + dropped, account.out_of_order),
        (4_000, 0),
        "{account:?}"
    );
    assert!(
        rig.gateway
            .log()
            .contains("events dropped lane=state reason=\"budget\"")
    );
}

#[test]
fn a_full_lane_that_coalesces_keeps_the_latest_of_every_device() {
    needs_kafka!();
    let mut rig = full_lane("coalesce_latest");
    rig.gateway.wait_until_drained();
    rig.gateway.assert_account_closes();
    let account = account(&received(&rig.kafka, "state", 3_990..4_000), 3_990..4_000);
    assert_eq!(account.lost, 0, "the latest of all ten devices is there");
    let lane = rig.gateway.lane("state");
    let by_reason = |reason: &str| {
        lane["dropped"]
            .as_array()
            .unwrap()
            .iter()
            .find(|drop| drop[0] == reason)
            .unwrap()[1]
            .as_u64()
    };
    assert!(by_reason("coalesced") > Some(1_000), "{lane}");
}

#[test]
fn a_record_too_large_for_the_cluster_is_set_aside_and_holds_up_nobody() {
    needs_kafka!();
    let kafka = Kafka::shared();
    kafka.command(
        "topics",
        &[
            "--create",
            "--topic",
            &kafka.topic("state"),
            "--partitions",
            "1",
            "--config",
            "max.message.bytes=20000",
        ],
    );
    let mut rig = Rig::start(kafka, &[]);
    rig.publish("plant/{d}/state/temp", 0..5, 0);
    fill(rig.mqtt.port, 10..11, 60_000);
    rig.publish("plant/{d}/state/temp", 5..10, 0);
    let records = rig.received("state", 0..10);
    assert_eq!(account(&records, 0..11).lost, 1, "only the large one is");
    rig.gateway.wait_until_drained();
    rig.gateway.assert_account_closes();
    let kept = std::fs::read_to_string(rig.gateway.path("state/set-aside/rejected.jsonl")).unwrap();
    assert!(
        kept.contains("\"lane\":\"state\"") && kept.lines().count() == 1,
        "{kept}"
    );
}

#[test]
fn a_topic_that_the_cluster_does_not_take_holds_up_only_itself() {
    needs_kafka!();
    let (kafka, mqtt) = (
        Kafka::own().without_autocreate().started(),
        Mosquitto::start(""),
    );
    kafka.command(
        "topics",
        &["--create", "--topic", "known.temp", "--partitions", "1"],
    );
    kafka.command(
        "topics",
        &[
            "--create",
            "--topic",
            "tidegate.health",
            "--partitions",
            "1",
        ],
    );
    let config =
        Rig::config(&mqtt, &kafka).replace("[uplink]\n", "[uplink]\ntopic_retry = \"1s\"\n");
    let config = config + "[[intent]]\nname = \"state\"\ntopic = \"known.{kind}\"\n";
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    let send = |kind: &str, numbers| {
        crate::rig::publish_to(
            mqtt.port,
            &format!("plant/{{d}}/state/{kind}"),
            numbers,
            0,
            1,
        );
    };
    send("unknown", 0..10);
    send("temp", 10..20);
    let read = |topic: &str, numbers: std::ops::Range<u64>| {
        let mut reader = load::consume::Reader::new(&kafka.plain(), &[topic], &[]);
        let count = numbers.end - numbers.start;
        account(
            &reader.until(crate::rig::PATIENCE, |records| {
                records.len() as u64 >= count
            }),
            numbers,
        )
    };
    assert_eq!(read("known.temp", 10..20).lost, 0, "another topic passes");
    gateway.wait_for_log("the cluster does not take this topic");
    assert_eq!(gateway.lane("state")["buffered"], 10);
    kafka.command(
        "topics",
        &["--create", "--topic", "known.unknown", "--partitions", "1"],
    );
    let late = read("known.unknown", 0..10);
    assert_eq!(
        (late.lost, late.out_of_order),
        (0, 0),
        "they waited in order"
    );
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}
