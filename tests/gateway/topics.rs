//! Topics that cannot be written, beside others that can.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::keeping::VISION;
use crate::mends::offer;
use crate::needs_kafka;
use crate::outages::let_pass;
use crate::peers::Trio;
use crate::rig::{Gateway, wait_for};

/// Creates a topic on these replicas, the leader first.
fn create(trio: &mut Trio, intent: &str, replicas: &str, in_sync: &str) {
    let (topic, in_sync) = (
        format!("tidegate.{intent}"),
        format!("min.insync.replicas={in_sync}"),
    );
    let where_it_is = ["--topic", &topic, "--replica-assignment", replicas];
    let arguments = [&["--create"][..], &where_it_is, &["--config", &in_sync]].concat();
    trio.node(1).command("topics", &arguments);
}

fn event(intent: &str, number: u64) -> Value {
    json!({ "intent": intent, "device": "d", "id": number, "ack": number, "payload": number })
}

/// Offers an event of each intent, and waits until each has delivered `number + 1`.
fn deliver(gateway: &mut Gateway, intents: &[&str], number: u64) {
    let events: Vec<Value> = intents.iter().map(|intent| event(intent, number)).collect();
    offer(gateway, &events);
    for intent in intents {
        wait_for(intent, || {
            (gateway.lane(intent)["delivered"] == number + 1).then_some(())
        });
    }
}

/// Without node 3 this topic has too few replicas in sync.
const TOO_FEW: (&str, &str, &str) = ("diagnostic", "3:2", "2");
/// And this one no leader.
const NO_LEADER: (&str, &str, &str) = ("feature", "3", "1");

/// Three brokers, with the topics of other intents on the first two, and these; and a gateway.
fn beside(sick: &[(&str, &str, &str)]) -> (Trio, Gateway) {
    let mut trio = Trio::started();
    let well = [
        ("critical", "1:2", "1"),
        ("state", "2:1", "1"),
        ("health", "1:2", "1"),
    ];
    for (intent, replicas, in_sync) in well.iter().chain(sick) {
        create(&mut trio, intent, replicas, in_sync);
    }
    let config = format!("[uplink]\nbrokers = {}\n{VISION}", trio.brokers());
    let gateway = Gateway::new(&config).start();
    (trio, gateway)
}

/// Other topics go on while one is sick.
fn deliver_in_time(gateway: &mut Gateway, number: u64) {
    let asked = Instant::now();
    deliver(gateway, &["critical", "state"], number);
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(12),
        "an alarm took {took:?}, longer than an election"
    );
}

#[test]
fn a_topic_that_cannot_be_written_keeps_no_other_back() {
    needs_kafka!();
    let (mut trio, mut gateway) = beside(&[TOO_FEW, NO_LEADER]);
    deliver(
        &mut gateway,
        &["critical", "state", "diagnostic", "feature"],
        0,
    );
    trio.node(3).kill_9();
    offer(&gateway, &[event("diagnostic", 1), event("feature", 1)]);
    // Longer than a silent topic was once taken for a lost link, with a quiet while in between.
    let (begun, mut number) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(25) {
        number += 1;
        deliver_in_time(&mut gateway, number);
        let_pass(Duration::from_millis(if number % 5 == 0 {
            6_000
        } else {
            300
        }));
    }
    for intent in ["diagnostic", "feature"] {
        assert_eq!(gateway.lane(intent)["buffered"], 1, "{intent}");
    }
    assert!(
        !gateway.log().contains("uplink lost"),
        "brokers answered all the time"
    );
    trio.node(3).launch();
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

#[test]
fn one_broker_of_three_that_hangs_holds_up_only_the_topics_that_it_leads() {
    needs_kafka!();
    let hangs_with_it = ("diagnostic", "3", "1");
    let (mut trio, mut gateway) = beside(&[hangs_with_it]);
    deliver(&mut gateway, &["critical", "state", "diagnostic"], 0);
    trio.node(3).signal("STOP");
    offer(&gateway, &[event("diagnostic", 1)]);
    let (begun, mut number, mut said) = (Instant::now(), 0, None);
    while begun.elapsed() < Duration::from_secs(20) {
        number += 1;
        deliver_in_time(&mut gateway, number);
        let why = gateway.lane("diagnostic")["waits"].clone();
        let why = why.as_str().filter(|why| why.contains("diagnostic: "));
        said = said.or(why.map(|_| begun.elapsed()));
        let_pass(Duration::from_millis(500));
    }
    let said = said.expect("the topic and its reason are told");
    assert!(said < Duration::from_secs(12), "only after {said:?}");
    assert!(!gateway.log().contains("uplink lost"));
    trio.node(3).signal("CONT");
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

#[test]
fn a_backlog_for_a_topic_that_cannot_be_written_slows_no_other() {
    needs_kafka!();
    let (mut trio, mut gateway) = beside(&[TOO_FEW]);
    deliver(&mut gateway, &["critical", "state", "diagnostic"], 0);
    trio.node(3).kill_9();
    let large = "x".repeat(1_000);
    let backlog = (1..=500).map(|number| {
        let mut event = event("diagnostic", number);
        event["payload"] = json!({ "n": number, "pad": large });
        event.as_object_mut().unwrap().remove("ack");
        event
    });
    offer(&gateway, &backlog.collect::<Vec<_>>());
    let said = wait_for("the reason", || {
        let why = gateway.lane("diagnostic")["waits"].clone();
        why.as_str()
            .filter(|why| why.contains("its topic"))
            .map(str::to_owned)
    });
    let (begun, mut number) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(10) {
        number += 1;
        let asked = Instant::now();
        deliver(&mut gateway, &["critical", "state"], number);
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}, {said}");
    }
    assert!(!gateway.log().contains("uplink lost"));
    trio.node(3).launch();
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    gateway.wait_for_log("the cluster takes this topic again");
}
