//! A configuration that delivers, and still does harm: events are dropped, or what waits would be.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use load::consume::{Reader, account};
use serde_json::{Value, json};

use crate::keeping::{keep, keep_in};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, received, wait_for};
use crate::rollout::{SOON, sum, wait_for_state, with_uplink};

/// Offers numbered events one after the other until `done`, also while the agent restarts; returns the number after the last.
fn keep_until(gateway: &mut Gateway, from: u64, mut done: impl FnMut(&mut Gateway) -> bool) -> u64 {
    let mut next = from;
    while !done(gateway) {
        let event = json!({ "intent": "state", "device": "press-3", "id": next, "payload": { "n": next, "t": 0, "pad": "x".repeat(200) }, "ack": next });
        let socket = gateway.path("vision.sock");
        let offered = UnixStream::connect(socket).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            writeln!(stream, "{event}")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)
        });
        next += u64::from(offered.is_ok());
    }
    next
}

fn state_is(state: &'static str) -> impl FnMut(&mut Gateway) -> bool {
    move |gateway| gateway.status()["config"]["state"] == state
}

/// A topic that takes no record of the size that events have.
fn small_topic(kafka: &Kafka) -> String {
    let name = kafka.topic("small");
    let (topic, most) = (name.as_str(), "max.message.bytes=60");
    let arguments = [
        "--create",
        "--topic",
        topic,
        "--partitions",
        "1",
        "--config",
        most,
    ];
    kafka.command("topics", &arguments);
    name
}

#[test]
fn a_file_with_which_a_lane_begins_to_drop_is_gone_back_from() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let small = small_topic(&kafka);
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    keep(&gateway, 0..10);
    let good = sum(&gateway);
    gateway.change(
        &format!("topic = \"{}\"", kafka.topic("state")),
        &format!("topic = \"{small}\""),
    );
    let next = keep_until(&mut gateway, 10, state_is("returned"));
    let config = gateway.status()["config"].clone();
    let why = config["why"].as_str().unwrap();
    assert!(
        why.contains("lane `state` drops events with it (reason: rejected)"),
        "{why}"
    );
    assert_eq!(config["effective"], Value::from(good));
    // The one before drops nothing, and stays.
    keep(&gateway, next..next + 10);
    let records = received(&kafka, "state", next..next + 10);
    assert_eq!(account(&records, next..next + 10).lost, 0);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    assert_eq!(gateway.status()["config"]["state"], "returned");
}

#[test]
fn a_lane_that_drops_with_the_file_before_as_well_is_no_fault_of_the_new_one() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    keep(&gateway, 0..10);
    // The cluster's own limit falls in the moment in which another file comes.
    let topic = kafka.topic("state");
    let limit = [
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        topic.as_str(),
        "--add-config",
        "max.message.bytes=60",
    ];
    kafka.command("configs", &limit);
    gateway.change(
        "[[intent]]\nname = \"diagnostic\"\n",
        "[[intent]]\nname = \"diagnostic\"\nmax_age = \"9h\"\n",
    );
    let next = keep_until(&mut gateway, 10, state_is("returned"));
    keep_until(&mut gateway, next, state_is("kept"));
    assert!(
        gateway
            .log()
            .contains("the lane drops events with the configuration before as well")
    );
    let config = gateway.status()["config"].clone();
    assert_eq!(config["effective"], Value::from(sum(&gateway)));
}

#[test]
fn a_file_in_which_what_waits_has_no_place_is_tried_once_that_is_delivered() {
    needs_kafka!();
    let mut kafka = Kafka::own().started();
    let energy = "[[intent]]\nname = \"energy\"\ntopic = \"energy\"\n";
    let mut gateway = Gateway::new(&(with_uplink(&kafka) + energy)).start();
    wait_for_state(&mut gateway, "kept");
    let before = sum(&gateway);
    kafka.signal("STOP");
    wait_for("the outage", || {
        (gateway.status()["link"]["up"] == false).then_some(())
    });
    keep_in(&gateway, "energy", 0..10);
    for (from, to, said) in [
        (
            energy,
            "",
            "it has no intent `energy` any more, of which 10 events wait",
        ),
        (
            "[fleet]",
            "[fleet]\nserial = 3",
            "it has no intent `energy`",
        ),
    ] {
        gateway.change(from, to);
        let sha256 = sum(&gateway);
        let config = wait_for("the new file", || {
            let config = gateway.status()["config"].clone();
            (config["attempted"] == *sha256).then_some(config)
        });
        assert_eq!(
            (&config["state"], &config["effective"]),
            (&Value::from("received"), &Value::from(before.clone()))
        );
        assert!(config["why"].as_str().unwrap().contains(said), "{config}");
    }
    kafka.signal("CONT");
    wait_for_state(&mut gateway, "kept");
    assert_eq!(
        gateway.status()["config"]["effective"],
        Value::from(sum(&gateway))
    );
    assert_eq!(lost_of(&kafka, "energy", 0..10), 0);
    let log = gateway.log();
    for said in ["the buffer holds events of an intent", "has no such intent"] {
        assert!(!log.contains(said), "{log}");
    }
}

fn lost_of(kafka: &Kafka, topic: &str, numbers: Range<u64>) -> u64 {
    let mut reader = Reader::new(&kafka.plain(), &[topic], &[]);
    let all = numbers.end - numbers.start;
    let records = reader.until(PATIENCE, |records| records.len() as u64 >= all);
    account(&records, numbers).lost
}

#[test]
fn a_cluster_that_does_not_have_a_topic_that_is_used_is_gone_back_from() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let other = Kafka::own().without_autocreate().started();
    for intent in ["health", "critical"] {
        let topic = kafka.topic(intent);
        other.command(
            "topics",
            &["--create", "--topic", &topic, "--partitions", "1"],
        );
    }
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    keep(&gateway, 0..10);
    wait_for_state(&mut gateway, "kept");
    received(&kafka, "state", 0..10);
    gateway.wait_until_drained();
    gateway.change(&kafka.plain(), &other.plain());
    let config = wait_for_state(&mut gateway, "returned");
    let why = config["why"].as_str().unwrap();
    let state = format!("topic `{}`", kafka.topic("state"));
    assert!(why.contains(&state), "feature was never used: {why}");
    keep(&gateway, 10..20);
    let records = received(&kafka, "state", 0..20);
    assert_eq!(account(&records, 0..20).lost, 0);
}

#[test]
fn a_file_with_which_the_memory_of_its_control_group_is_used_up_is_gone_back_from() {
    needs_kafka!();
    let Some(group) = Group::of_bytes(300 << 20) else {
        eprintln!("skipped: no memory cgroup can be made here");
        return;
    };
    let kafka = Kafka::shared();
    // With the usual time to prove itself: a file is not kept before the memory is used up.
    let mut gateway = Gateway::new(&with_uplink(&kafka).replace(SOON, ""));
    let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", group.0.display());
    let inside = ["sh", "-c", &enter, "-"];
    gateway.launch_inside(&inside, &[]);
    wait_for_state(&mut gateway, "kept");
    let good = sum(&gateway);
    let topic = kafka.topic("state");
    gateway.change(&format!("\"{topic}\""), &format!("\"{topic}.other\""));
    wait_for_state(&mut gateway, "proving");
    let hog = "used = bytearray(b'x') * (272 << 20); input()";
    let mut hog = Command::new(inside[0])
        .args(&inside[1..])
        .args(["python3", "-c", hog])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let config = wait_for_state(&mut gateway, "returned");
    hog.kill().unwrap();
    hog.wait().unwrap();
    let why = config["why"].as_str().unwrap();
    assert!(why.contains("MiB of memory are in use, of 300"), "{why}");
    assert_eq!(config["effective"], Value::from(good));
}

/// A control group for memory, of whichever version.
struct Group(PathBuf);

impl Group {
    fn of_bytes(most: u64) -> Option<Group> {
        let name = format!("tidegate-test-{}", std::process::id());
        let places = [("memory/", "memory.limit_in_bytes"), ("", "memory.max")];
        places.into_iter().find_map(|(version, limit)| {
            let path = PathBuf::from(format!("/sys/fs/cgroup/{version}{name}"));
            fs::create_dir(&path).ok()?;
            let group = Group(path);
            fs::write(group.0.join(limit), most.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It has a process until the gateway has ended.
        let removed = wait_for("the group's end", || match fs::remove_dir(&self.0) {
            Err(error) if error.raw_os_error() == Some(16) => None,
            removed => Some(removed),
        });
        drop(removed);
    }
}
