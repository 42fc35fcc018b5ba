//! A push that changes one thing: all else keeps its connections, its counters and its order.

use std::collections::BTreeSet;
use std::fs;

use load::consume::account;

use crate::keeping::{VISION, keep};
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, publish_to, received, send_signal, wait_for};
use crate::rollout::sum;

const GOES_ON: &str = "the agent goes on with it";

/// Inodes of the gateway's TCP connections to `port`, as the kernel has them.
fn sockets(gateway: &Gateway, port: u16) -> BTreeSet<String> {
    let process = format!("/proc/{}", gateway.process());
    let open: BTreeSet<String> = fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    let all = fs::read_to_string(format!("{process}/net/tcp")).unwrap();
    let remote = format!(":{port:04X}");
    let lines = all.lines().map(|line| line.split_whitespace().collect());
    lines
        .filter(|fields: &Vec<&str>| fields[2].ends_with(&remote) && fields[3] == "01")
        .map(|fields| fields[9].to_owned())
        .filter(|inode| open.contains(&format!("socket:[{inode}]")))
        .collect()
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// Has the gateway take another configuration, in place.
fn push(gateway: &Gateway, from: &str, to: &str) {
    let said = || gateway.log().matches(GOES_ON).count();
    let before = said();
    gateway.change(from, to);
    send_signal(gateway.process(), "HUP");
    wait_for("the change", || (said() == before + 1).then_some(()));
}

fn hall(port: u16, filter: &str) -> String {
    format!(
        "[[mqtt]]\nname = \"hall\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         [[mqtt.subscribe]]\ntopic = \"{filter}\"\nintent = \"state\"\n"
    )
}

#[test]
fn of_a_push_only_the_source_that_it_changes_gets_another_connection() {
    needs_kafka!();
    let (kafka, plant, other) = (Kafka::shared(), Mosquitto::start(""), Mosquitto::start(""));
    let config = Rig::config(&plant, &kafka) + &hall(other.port, "hall/{device}/a/{kind}");
    let mut gateway = Gateway::new(&(config + &kafka.topics(&[]))).start();
    gateway.wait_until_connected("plant");
    gateway.wait_until_connected("hall");
    publish_to(plant.port, "plant/{d}/state/t", 0..50, 0, 1);
    publish_to(other.port, "hall/{d}/a/t", 50..100, 0, 1);
    received(&kafka, "state", 0..100);
    gateway.wait_until_drained();
    let ports = [port_of(&kafka.plain()), plant.port, other.port];
    let before = ports.map(|port| sockets(&gateway, port));
    assert!(before.iter().all(|some| !some.is_empty()), "{before:?}");
    assert_eq!(before[0].len(), 2, "an urgent connection and another");
    let epoch = gateway.status()["epoch"].clone();

    // Messages come all the while.
    let (port, begun) = (plant.port, 100);
    let publishing =
        std::thread::spawn(move || publish_to(port, "plant/{d}/state/t", begun..600, 100, 1));
    push(&gateway, "hall/{device}/a", "hall/{device}/b");
    gateway.wait_until_connected("hall");
    publish_to(other.port, "hall/{d}/b/t", 600..650, 0, 1);
    publishing.join().unwrap();
    let records = received(&kafka, "state", 0..650);
    let account = account(&records, 0..650);
    assert_eq!(
        (account.lost, account.doubled, account.repeated),
        (0, 0, 0),
        "{account:?}"
    );
    let after = ports.map(|port| sockets(&gateway, port));
    assert_eq!(after[..2], before[..2], "the others kept theirs");
    assert!(
        after[2].is_disjoint(&before[2]),
        "{after:?} after {before:?}"
    );
    let status = gateway.status();
    let taken = |name: &str| {
        let sources = status["sources"].as_array().unwrap();
        let source = sources.iter().find(|source| source["name"] == name);
        source.unwrap()["received"].clone()
    };
    assert_eq!(
        (taken("plant").as_u64(), taken("hall").as_u64()),
        (Some(550), Some(50))
    );
    assert_eq!(status["epoch"], epoch);
    assert_eq!(gateway.lane("state")["accepted"], 650);
    assert_eq!(gateway.log().matches("tidegate started").count(), 1);
}

#[test]
fn a_source_that_is_taken_out_goes_and_one_that_is_put_in_comes_and_the_same_again_is_nothing() {
    needs_kafka!();
    let rig = Rig::start(Kafka::shared(), &[]);
    let other = Mosquitto::start("");
    let (mut gateway, kafka) = (rig.gateway, rig.kafka);
    let ports = [port_of(&kafka.plain()), rig.mqtt.port];
    wait_for("both connections", || {
        (sockets(&gateway, ports[0]).len() == 2).then_some(())
    });
    let before = ports.map(|port| sockets(&gateway, port));
    let hall = hall(other.port, "c/{device}/{kind}");
    push(&gateway, "[[inference]]", &format!("{hall}[[inference]]"));
    gateway.wait_until_connected("hall");
    publish_to(other.port, "c/{d}/t", 0..50, 0, 1);
    received(&kafka, "state", 0..50);
    push(&gateway, &hall, "");
    wait_for("the source to go", || {
        sockets(&gateway, other.port).is_empty().then_some(())
    });
    assert_eq!(gateway.status()["sources"].as_array().unwrap().len(), 2);
    push(&gateway, "[[inference]]", "[[inference]]");
    gateway.wait_for_log("changed=\"nothing\"");
    assert_eq!(ports.map(|port| sockets(&gateway, port)), before);
    assert_eq!(gateway.log().matches("tidegate started").count(), 1);
}

#[test]
fn another_topic_weight_pace_or_level_of_the_log_touches_no_connection() {
    needs_kafka!();
    let mut rig = Rig::start(Kafka::shared(), &[]);
    let topic = rig.kafka.topic("state");
    rig.publish("plant/{d}/state/t", 0..50, 0);
    rig.received("state", 0..50);
    rig.gateway.wait_until_drained();
    let ports = [port_of(&rig.kafka.plain()), rig.mqtt.port];
    let before = ports.map(|port| sockets(&rig.gateway, port));
    let is = format!("topic = \"{topic}\"\n");
    let more = "weight = 2\nlinger = \"10ms\"\nevents_per_s = 100000\n";
    push(&rig.gateway, &is, &format!("topic = \"{topic}\"\n{more}"));
    push(&rig.gateway, &is, &format!("topic = \"{topic}.moved\"\n"));
    rig.publish("plant/{d}/state/t", 50..100, 0);
    let mut moved =
        load::consume::Reader::new(&rig.kafka.plain(), &[&format!("{topic}.moved")], &[]);
    let records = moved.until(crate::rig::PATIENCE, |records| records.len() >= 50);
    let account = account(&records, 50..100);
    assert_eq!((account.lost, account.repeated), (0, 0), "{account:?}");
    push(
        &rig.gateway,
        "[uplink]",
        "[log]\nlevel = \"debug\"\n[uplink]",
    );
    rig.gateway.wait_for_log("the log has another level");
    push(&rig.gateway, "events_per_s = 0\n", "events_per_s = 50000\n");
    assert_eq!(ports.map(|port| sockets(&rig.gateway, port)), before);
    assert_eq!(rig.gateway.lane("state")["accepted"], 100);
    wait_for("the configuration to be kept", || {
        rig.publish("plant/{d}/state/t", 100..101, 0);
        (rig.gateway.status()["config"]["state"] == "kept").then_some(())
    });
}

#[test]
fn events_that_wait_for_a_topic_that_the_cluster_does_not_take_go_to_the_one_that_it_is_mended_to()
{
    needs_kafka!();
    let kafka = Kafka::own().without_autocreate().started();
    let right = kafka.topic("state");
    kafka.command(
        "topics",
        &["--create", "--topic", &right, "--partitions", "1"],
    );
    let wrong = format!("{right}.missing");
    let config = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain());
    let topics = kafka
        .topics(&[])
        .replace(&format!("\"{right}\""), &format!("\"{wrong}\""));
    let mut gateway = Gateway::new(&(config + &topics)).start();
    keep(&gateway, 0..40);
    gateway.wait_for_log("the cluster does not take this topic");
    push(&gateway, &wrong, &right);
    let account = account(&received(&kafka, "state", 0..40), 0..40);
    assert_eq!((account.lost, account.out_of_order), (0, 0), "{account:?}");
    wait_for("the lane", || {
        (gateway.lane("state")["buffered"] == 0).then_some(())
    });
}

#[test]
fn another_cluster_gets_connections_of_its_own_and_the_sources_keep_theirs() {
    needs_kafka!();
    let rig = Rig::start(Kafka::own().started(), &[]);
    let (mut gateway, mqtt, kafka) = (rig.gateway, rig.mqtt, rig.kafka);
    publish_to(mqtt.port, "plant/{d}/state/t", 0..50, 0, 1);
    received(&kafka, "state", 0..50);
    gateway.wait_until_drained();
    let before = sockets(&gateway, mqtt.port);
    let other = Kafka::own().started();
    push(&gateway, &kafka.plain(), &other.plain());
    publish_to(mqtt.port, "plant/{d}/state/t", 50..100, 0, 1);
    let mut reader = load::consume::Reader::new(&other.plain(), &[&kafka.topic("state")], &[]);
    let records = reader.until(crate::rig::PATIENCE, |records| records.len() >= 50);
    assert_eq!(account(&records, 50..100).lost, 0);
    assert_eq!(sockets(&gateway, mqtt.port), before);
    assert!(sockets(&gateway, port_of(&kafka.plain())).is_empty());
    let second = sum(&gateway);
    wait_for("it to be kept", || {
        let config = gateway.status()["config"].clone();
        (config["state"] == "kept" && config["effective"] == *second).then_some(())
    });
    // One that cannot be reached is gone back from, and nothing that was taken is lost.
    push(&gateway, &other.plain(), "127.0.0.1:9");
    publish_to(mqtt.port, "plant/{d}/state/t", 100..150, 0, 1);
    wait_for("the way back", || {
        (gateway.status()["config"]["state"] == "returned").then_some(())
    });
    let records = reader.until(crate::rig::PATIENCE, |records| records.len() >= 50);
    assert_eq!(account(&records, 100..150).lost, 0);
    assert_eq!(sockets(&gateway, mqtt.port), before);
    assert_eq!(gateway.log().matches("tidegate started").count(), 1);
}
