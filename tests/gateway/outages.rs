//! Bad days: the cluster hangs or dies, the gateway is killed, somebody says stop.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use load::Numbered;
use load::consume::account;
use serde_json::{Value, json};

use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Rig, publish_to, received, wait_for};

/// How long the cluster is gone.
fn outage() -> Duration {
    let seconds = std::env::var("TIDEGATE_OUTAGE_S")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Lets time pass in which something happens elsewhere.
pub(crate) fn let_pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end - Instant::now());
    }
}

/// A program that offers numbered events until each is acknowledged, also over restarts of the agent.
struct InferenceClient {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl InferenceClient {
    fn start(socket: PathBuf) -> InferenceClient {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        InferenceClient {
            stop,
            thread: std::thread::spawn(move || offer(&socket, &stopped)),
        }
    }

    /// Stops offering, and returns how many events were acknowledged.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client did not panic")
    }
}

fn offer(socket: &std::path::Path, stop: &AtomicBool) -> u64 {
    let (mut next, mut unacked) = (0_u64, VecDeque::<(u64, Value)>::new());
    while !(stop.load(Ordering::Relaxed) && unacked.is_empty()) {
        let Ok(mut stream) = UnixStream::connect(socket) else {
            std::thread::park_timeout(Duration::from_millis(20));
            continue;
        };
        let mut answers = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        let mut again: VecDeque<Value> = unacked.iter().map(|(_, event)| event.clone()).collect();
        loop {
            if again.is_empty() && !stop.load(Ordering::Relaxed) && unacked.len() < 20 {
                let payload = serde_json::to_value(Numbered::new(next, 200, false))
                    .expect("numbers are JSON");
                let event = json!({ "intent": "feature", "device": "cam-1", "id": next, "ack": next, "payload": payload });
                unacked.push_back((next, event.clone()));
                again.push_back(event);
                next += 1;
            }
            let sent = again
                .drain(..)
                .try_for_each(|event| writeln!(stream, "{event}"));
            let mut answer = String::new();
            let alive = sent.is_ok()
                && (unacked.is_empty()
                    || answers
                        .read_line(&mut answer)
                        .is_ok_and(|length| length > 0));
            if !alive || unacked.is_empty() {
                break;
            }
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            if answer["ack"] == unacked[0].0 {
                unacked.pop_front();
            } else {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    next
}

#[test]
fn an_outage_with_two_kills_loses_nothing_and_keeps_every_device_in_order() {
    needs_kafka!();
    let mut rig = Rig::start(Kafka::own().started(), &[]);
    let port = rig.mqtt.port;
    let total = (outage().as_secs() + 20) * 400;
    let state =
        std::thread::spawn(move || publish_to(port, "plant/{d}/state/temp", 0..total, 400, 1));
    let diag = std::thread::spawn(move || {
        publish_to(port, "plant/{d}/diag/log", total..total * 2, 400, 1);
    });
    let client = InferenceClient::start(rig.gateway.path("vision.sock"));

    let_pass(Duration::from_secs(5));
    rig.kafka.signal("STOP");
    let_pass(outage() / 3);
    rig.gateway.kill_9();
    rig.gateway.launch();
    let_pass(outage() / 3);
    rig.gateway.kill_9();
    rig.gateway.launch();
    let_pass(outage() / 3);
    rig.kafka.kill_9();
    rig.kafka.launch();

    state.join().expect("the publisher did not panic");
    diag.join().expect("the publisher did not panic");
    let offered = client.finish();
    for (intent, numbers) in [
        ("state", 0..total),
        ("diagnostic", total..total * 2),
        ("feature", 0..offered),
    ] {
        let account = account(&received(&rig.kafka, intent, numbers.clone()), numbers);
        eprintln!("{intent}: {account:?}");
        assert_eq!(
            (account.lost, account.doubled, account.out_of_order),
            (0, 0, 0),
            "{intent}: {account:?}"
        );
    }
    rig.gateway.wait_until_drained();
    rig.gateway.assert_account_closes();
}

#[test]
fn a_stop_under_load_loses_nothing() {
    needs_kafka!();
    let mut rig = Rig::start(Kafka::shared(), &[]);
    let port = rig.mqtt.port;
    let load =
        std::thread::spawn(move || publish_to(port, "plant/{d}/state/temp", 0..6_000, 1_000, 1));
    for _ in 0..3 {
        let_pass(Duration::from_millis(1_200));
        rig.gateway.stop();
        rig.gateway.launch();
    }
    load.join().expect("the publisher did not panic");
    let account = rig.account("state", 0..6_000);
    assert_eq!(
        (account.lost, account.doubled, account.out_of_order),
        (0, 0, 0),
        "{account:?}"
    );
    assert!(
        rig.gateway.log().contains("last_stop={\"buffered\""),
        "the start says how the last stop was"
    );
}

#[test]
fn what_waited_out_an_outage_says_so_and_alarms_pass_it() {
    needs_kafka!();
    let mut rig = Rig::start(Kafka::own().started(), &[("state", "events_per_s = 100")]);
    rig.publish("plant/{d}/state/temp", 0..10, 0);
    assert_eq!(rig.account("state", 0..10).lost, 0);
    rig.kafka.signal("STOP");
    rig.publish("plant/{d}/state/temp", 10..20, 0);
    rig.gateway.wait_for_log("uplink lost");
    rig.publish("plant/{d}/state/temp", 20..4_000, 0);
    let_pass(Duration::from_secs(6));
    rig.kafka.signal("CONT");
    wait_for("the link", || {
        (rig.gateway.status()["link"]["up"] == true).then_some(())
    });
    let mut stream = UnixStream::connect(rig.gateway.path("vision.sock")).unwrap();
    for number in 0..20 {
        writeln!(stream, "{}", json!({ "intent": "critical", "device": "door", "payload": Numbered::new(number, 0, false) })).unwrap();
        let_pass(Duration::from_millis(20));
    }
    let alarms = account(&rig.received("critical", 0..20), 0..20);
    assert_eq!((alarms.lost, alarms.out_of_order), (0, 0));
    let left = rig.gateway.lane("state")["buffered"].as_u64().unwrap();
    assert!(
        left > 500,
        "the alarms arrived while the backlog was being drained; {left} were left"
    );
    let records = rig.received("state", 0..4_000);
    let replayed = records
        .iter()
        .filter(|record| record.header("tg-replay") == "true")
        .count();
    assert!(
        replayed > 1_000,
        "{replayed} of {} say that they waited",
        records.len()
    );
    assert_eq!(records[0].header("tg-replay"), "false");
}
