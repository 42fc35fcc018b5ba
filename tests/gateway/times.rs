//! Clocks that are wrong: an event with a time that the cluster does not take is delivered all the same.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use load::consume::{Reader, Record, account};
use serde_json::{Value, json};

use crate::keeping::VISION;
use crate::mends::offer;
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, dropped};

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn event(intent: &str, number: u64, time: Option<i64>) -> Value {
    let mut event = json!({ "intent": intent, "device": "cam-1", "id": number, "ack": number,
        "payload": { "d": 0, "n": number, "t": 0 } });
    if let Some(ms) = time {
        event["time"] = json!(ms / 1000);
    }
    event
}

fn arrived(kafka: &Kafka, intent: &str, count: u64) -> Vec<Record> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic(intent)], &[]);
    reader.until(PATIENCE, |records| {
        let ids: HashSet<&str> = records.iter().map(|one| one.header("ce_id")).collect();
        ids.len() as u64 >= count
    })
}

#[test]
fn an_alarm_of_a_camera_whose_clock_is_two_hours_ahead_arrives_with_its_own_time_beside() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let config =
        format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain()) + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config).start();
    let ahead = unix_ms() + 2 * 3_600_000;
    offer(
        &gateway,
        &[
            event("critical", 0, None),
            event("critical", 1, Some(ahead)),
        ],
    );
    let records = arrived(&kafka, "critical", 2);
    gateway.wait_until_drained();
    assert_eq!(gateway.lane("critical")["delivered"], 2);
    assert_eq!(records[0].header("tg-clamped"), "");
    let alarm = &records[1];
    assert_eq!(alarm.header("tg-clamped"), "true");
    assert!((alarm.timestamp - unix_ms()).abs() < 120_000, "{alarm:?}");
    let own: jiff::Timestamp = alarm.header("ce_time").parse().unwrap();
    assert_eq!(own.as_second(), ahead / 1000);
}

/// Offers 3,000 events to a topic that limits the time of a record, one of a hundred outside of the limit; all must arrive, in
/// order, those with their own time beside the one that the topic takes.
fn assert_limits(limit: &str, away: i64) {
    let kafka = Kafka::shared();
    let topic = kafka.topic("state");
    let create = ["--create", "--topic", &topic, "--partitions", "1"];
    kafka.command("topics", &[&create[..], &["--config", limit]].concat());
    let config =
        format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain()) + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config).start();
    let own = unix_ms() + away;
    let events: Vec<Value> = (0..3_000)
        .map(|number| event("state", number, (number % 100 == 50).then_some(own)))
        .collect();
    offer(&gateway, &events);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    assert_eq!(dropped(&gateway.lane("state")), 0);
    let records = arrived(&kafka, "state", 3_000);
    let account = account(&records, 0..3_000);
    let order: Vec<String> = records
        .iter()
        .map(|one| format!("{}:{}", one.header("tg-seq"), one.timestamp % 1_000_000))
        .collect();
    assert_eq!(
        (account.lost, account.out_of_order),
        (0, 0),
        "{limit}: {account:?} {}",
        order.join(" ")
    );
    let clamped: Vec<&Record> = records
        .iter()
        .filter(|record| record.header("tg-clamped") == "true")
        .collect();
    let kept = clamped.iter().filter(|record| {
        let time: jiff::Timestamp = record.header("ce_time").parse().unwrap();
        let moved = (record.timestamp - own).abs() > away.abs() / 2;
        moved && time.as_second() == own / 1000
    });
    assert!(kept.count() >= 30, "{limit}: of {}", clamped.len());
    gateway.wait_for_log("it is sent with a timestamp that the cluster takes");
}

#[test]
fn a_topic_that_limits_the_future_costs_neither_an_event_nor_an_order() {
    needs_kafka!();
    // Ahead of what the topic takes, and of our own clock.
    assert_limits("message.timestamp.after.max.ms=60000", 30 * 60_000);
}

#[test]
fn a_topic_that_limits_the_past_costs_neither_an_event_nor_an_order() {
    needs_kafka!();
    // Of an outage of days, and of half an hour where a topic takes ten minutes.
    assert_limits("message.timestamp.before.max.ms=3600000", -50 * 3_600_000);
    assert_limits("message.timestamp.before.max.ms=600000", -30 * 60_000);
}

#[test]
fn a_gateway_whose_clock_is_three_hours_ahead_loses_nothing() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let config =
        format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain()) + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config);
    gateway.launch_with(&[
        ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
        ("FAKETIME", "+3h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    let events: Vec<Value> = (0..10)
        .map(|number| event("critical", number, None))
        .collect();
    offer(&gateway, &events);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    assert_eq!(dropped(&gateway.lane("critical")), 0);
    assert_eq!(dropped(&gateway.lane("health")), 0);
    let records = arrived(&kafka, "critical", 10);
    assert_eq!(account(&records, 0..10).lost, 0);
    let ahead = unix_ms() + 3 * 3_600_000;
    let first: jiff::Timestamp = records[0].header("ce_time").parse().unwrap();
    assert!(
        (first.as_millisecond() - ahead).abs() < 120_000,
        "the clock is the gateway's own: {first}"
    );
}
