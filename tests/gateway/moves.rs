//! Brokers that are somewhere else than they were, or others than they were.

use std::fs;
use std::path::Path;
use std::process::Command;

use load::consume::{Reader, account};

use crate::keeping::{VISION, keep};
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, Rig, publish_to, tidegate, wait_for};

/// Whether a process can be given an `/etc/hosts` of its own.
fn names_can_be_ours() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).status();
    let can = tried.is_ok_and(|status| status.success());
    assert!(
        can || std::env::var_os("CI").is_none(),
        "CI needs the right to mount"
    );
    if !can {
        eprintln!("skipped: needs the right to mount");
    }
    can
}

/// Where the names of the brokers lead.
fn lead_to(hosts: &Path, address: &str) {
    let text = format!("127.0.0.1 localhost\n{address} cluster.test broker.test\n");
    fs::write(hosts, text).unwrap();
}

#[test]
fn names_that_lead_somewhere_else_are_followed_without_a_restart() {
    needs_kafka!();
    if !names_can_be_ours() {
        return;
    }
    let mut kafka = Kafka::own().started();
    let mqtt = Mosquitto::start("");
    let port = mqtt.port;
    let config =
        Rig::config(&mqtt, &kafka).replace("host = \"127.0.0.1\"", "host = \"broker.test\"");
    let config = config.replace("brokers = [\"127.0.0.1:", "brokers = [\"cluster.test:");
    assert!(config.contains("broker.test") && config.contains("cluster.test"));
    let mut gateway = Gateway::new(&(config + &kafka.topics(&[])));
    let hosts = gateway.path("hosts");
    lead_to(&hosts, "127.0.0.1");
    let own_names = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let file = hosts.display().to_string();
    let inside = ["unshare", "--mount", "sh", "-c", own_names, &file];
    gateway.launch_inside(&inside, &[]);
    gateway.wait_until_connected("plant");
    publish_to(port, "plant/{d}/state/temp", 0..50, 0, 1);
    gateway.wait_until_drained();
    // Both brokers go, and come back at another address, with what they had.
    drop(mqtt);
    kafka.kill_9();
    keep(&gateway, 50..60);
    let elsewhere = "127.0.0.2";
    kafka.set("KAFKA_HOST", elsewhere);
    kafka.launch();
    let _mqtt = Mosquitto::start(&format!(
        "listener {port} {elsewhere}\nallow_anonymous true\n"
    ));
    lead_to(&hosts, elsewhere);
    gateway.wait_until_drained();
    gateway.wait_until_connected("plant");
    gateway.assert_account_closes();
    let brokers = kafka.plain().replace("127.0.0.1", elsewhere);
    let mut reader = Reader::new(&brokers, &[&kafka.topic("state")], &[]);
    let all = reader.until(PATIENCE, |records| account(records, 0..60).lost == 0);
    assert_eq!(account(&all, 0..60).lost, 0);
}

#[test]
fn a_cluster_that_is_another_one_than_before_is_told_and_events_go_on_to_it() {
    needs_kafka!();
    let mut kafka = Kafka::own().started();
    let config =
        format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain()) + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config).start();
    keep(&gateway, 0..10);
    gateway.wait_until_drained();
    let id = gateway.path("state/cluster");
    let first = "tidegateTestClusterAAA";
    wait_for("the cluster's id", || {
        (fs::read_to_string(&id).ok()? == first).then_some(())
    });
    assert!(gateway.status()["link"]["other_cluster"].is_null());
    kafka.kill_9();
    keep(&gateway, 10..20);
    let mut other = kafka.another();
    other.launch();
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    gateway.wait_for_log("the brokers belong to another cluster than before");
    let said = wait_for("the status", || {
        let said = gateway.status()["link"]["other_cluster"].clone();
        said.as_str().map(str::to_owned)
    });
    assert!(said.contains(first) && said.contains("tidegateOtherClusterAA"));
    let state = gateway.path("state");
    let shown = tidegate().args(["status", "--state"]).arg(state).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(shown.contains("ANOTHER CLUSTER"), "{shown}");
    let mut reader = Reader::new(&other.plain(), &[&other.topic("state")], &[]);
    let all = reader.until(PATIENCE, |records| account(records, 10..20).lost == 0);
    assert_eq!(account(&all, 10..20).lost, 0);
}
