//! A new configuration that a fleet tries in waves: each gateway at a moment of its own.

use std::fs;

use load::consume::account;

use crate::keeping::{answer, keep, offer};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::pulled::{config, sum, text, wait_for_config, with_uplink};
use crate::rig::{Gateway, received, send_signal, tidegate};
use crate::signed::put;

/// The seconds that this gateway waits before it tries a text.
fn turn(gateway: &Gateway, text: &str) -> u64 {
    let path = gateway.path("candidate.toml");
    fs::write(&path, text).unwrap();
    let ids = gateway.path("ids");
    fs::write(&ids, "gw-1\n").unwrap();
    let mut command = tidegate();
    command.args(["config", "waves", "-c"]).arg(path);
    let said = command.stdin(fs::File::open(ids).unwrap()).output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    let (seconds, _) = said.split_once('\t').expect("a time and an id");
    seconds.parse().unwrap()
}

#[test]
fn a_new_file_is_tried_when_its_time_has_come_or_somebody_wants_it() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let spread = "[fleet]\nprove_within = \"8s\"\nspread = \"7d\"\n";
    // A first file is not waited with.
    let mut gateway = Gateway::new(&with_uplink(&kafka, spread)).start();
    let first = text(&gateway);
    wait_for_config(&mut gateway, "kept", "file", &first);
    gateway.change("plant7", "plant8");
    let second = text(&gateway);
    let received = wait_for_config(&mut gateway, "received", "file", &first);
    assert_eq!(received["attempted"], sum(&second));
    let why = received["why"].as_str().unwrap();
    assert!(why.contains("is tried at 20"), "{why}");
    let said = config(&gateway, &["status", "--wait", "1s"]);
    let said_text = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.status.code() == Some(4) && said_text.contains("is tried at 20"),
        "{said_text}"
    );
    // Neither a signal nor a start makes it come sooner.
    send_signal(gateway.process(), "HUP");
    gateway.kill_9();
    gateway.launch();
    wait_for_config(&mut gateway, "received", "file", &first);
    assert!(answer(offer(&gateway, 0..10)).contains("\"ack\""));
    // It is withdrawn, and delivered once more.
    gateway.change("plant8", "plant7");
    wait_for_config(&mut gateway, "kept", "file", &first);
    gateway.change("plant7", "plant8");
    wait_for_config(&mut gateway, "received", "file", &first);
    assert!(config(&gateway, &["retry"]).status.success());
    wait_for_config(&mut gateway, "kept", "file", &second);
    // One that is in a hurry comes by itself.
    let hurried = second.replace("7d", "30s");
    let numbered = (0..).map(|number| format!("{hurried}# {number}\n"));
    let third = numbered
        .into_iter()
        .find(|one| (5..25).contains(&turn(&gateway, one)));
    let third = third.unwrap();
    put(&gateway, "gateway.toml", third.as_bytes());
    let received = wait_for_config(&mut gateway, "received", "file", &second);
    assert_eq!(received["attempted"], sum(&third));
    wait_for_config(&mut gateway, "kept", "file", &third);
    gateway.assert_account_closes();
}

#[test]
fn a_topic_that_the_cluster_does_not_have_is_gone_back_from_with_what_waited_for_it() {
    needs_kafka!();
    let kafka = Kafka::own().without_autocreate().started();
    for intent in ["state", "health", "state.new"] {
        let topic = kafka.topic(intent);
        kafka.command(
            "topics",
            &["--create", "--topic", &topic, "--partitions", "1"],
        );
    }
    let mut gateway =
        Gateway::new(&with_uplink(&kafka, "[fleet]\nprove_within = \"1m\"\n")).start();
    let first = text(&gateway);
    wait_for_config(&mut gateway, "kept", "file", &first);
    let is = format!("topic = \"{}\"", kafka.topic("state"));
    put(
        &gateway,
        "gateway.toml",
        first.replace(&is, "topic = \"nowhere\"").as_bytes(),
    );
    gateway.wait_for_log("the agent goes on with it");
    keep(&gateway, 0..10);
    let config = wait_for_config(&mut gateway, "returned", "file", &first);
    let why = config["why"].as_str().unwrap();
    assert!(
        why.contains("topic `nowhere`: the cluster does not know it"),
        "{why}"
    );
    let account = account(&received(&kafka, "state", 0..10), 0..10);
    assert_eq!((account.lost, account.out_of_order), (0, 0), "{account:?}");
    // One that is there is kept, also before anything was sent to it.
    let other = first.replace(&is, &format!("topic = \"{}.new\"", kafka.topic("state")));
    put(&gateway, "gateway.toml", other.as_bytes());
    wait_for_config(&mut gateway, "kept", "file", &other);
    assert_eq!(gateway.log().matches("tidegate started").count(), 1);
}
