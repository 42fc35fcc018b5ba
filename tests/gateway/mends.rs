//! Incidents of which each lost data or silenced a gateway once.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use load::consume::{Reader, account};
use load::mock::{Cluster, RDKafkaRespErr as Refusal, Requests};
use serde_json::{Value, json};

use crate::keeping::{AWAY, VISION, answer, buffer, cat, keep, out};
use crate::needs_kafka;
use crate::outages::let_pass;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, Rig, publish_to, send_signal, wait_for};
use crate::signals::begin_anew;

const REBUILT: &str = "it is rebuilt and sends again what was in flight";

#[test]
fn after_a_broker_lost_the_end_of_its_logs_events_flow_again() {
    needs_kafka!();
    let mut rig = Rig::start(Kafka::own().started(), &[]);
    rig.publish("plant/{d}/state/temp", 0..3_000, 0);
    assert_eq!(rig.account("state", 0..3_000).lost, 0);
    let port = rig.mqtt.port;
    // Some are under way when it happens. What the cluster had acknowledged, and lost, is the cluster's loss.
    let during = std::thread::spawn(move || {
        publish_to(port, "plant/{d}/state/temp", 10_000..12_000, 500, 1);
    });
    let_pass(Duration::from_secs(1));
    assert!(rig.kafka.lose_power() > 0);
    during.join().expect("the publisher did not panic");
    rig.publish("plant/{d}/state/temp", 20_000..22_000, 0);
    rig.kafka.launch();
    let records = rig.received("state", 20_000..22_000);
    assert_eq!(account(&records, 20_000..22_000).lost, 0);
    let out_of_order = account(&records, 10_000..22_000).out_of_order;
    assert_eq!(out_of_order, 0, "the new producer begins with the oldest");
    rig.gateway.wait_until_drained();
    rig.gateway.assert_account_closes();
    assert_eq!(
        rig.gateway.log().matches(REBUILT).count(),
        1,
        "it says so once"
    );
    rig.gateway.wait_for_log("the new kafka producer delivers");
}

/// Events that the mock cluster got, of those that the client offered.
fn delivered_by(cluster: &Cluster, gateway: &mut Gateway, numbers: std::ops::Range<u64>) {
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    let mut reader = Reader::new(&cluster.brokers(), &["tidegate.state"], &[]);
    let count = numbers.end - numbers.start;
    let records = reader.until(PATIENCE, |records| records.len() as u64 >= count);
    let account = account(&records, numbers);
    assert_eq!((account.lost, account.out_of_order), (0, 0), "{account:?}");
}

#[test]
fn a_fatal_error_of_a_producer_costs_a_new_producer_and_no_event() {
    use Refusal as R;
    let topics = ["tidegate.critical", "tidegate.state", "tidegate.health"];
    for (requests, errors) in [
        (
            Requests::Produce,
            vec![R::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
        ),
        // More than one in a row, as from a cluster that goes on forgetting.
        (
            Requests::Produce,
            vec![R::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 3],
        ),
        // No right to write (yet).
        (
            Requests::Identity,
            vec![R::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED; 3],
        ),
    ] {
        let cluster = Cluster::start(&topics).unwrap();
        cluster.refuse(requests, &errors);
        let config = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", cluster.brokers());
        let mut gateway = Gateway::new(&config).start();
        gateway.wait_for_log(REBUILT);
        keep(&gateway, 0..50);
        delivered_by(&cluster, &mut gateway, 0..50);
        gateway.wait_for_log("the new kafka producer delivers");
        let said = gateway.log().matches(REBUILT).count();
        assert!(
            said <= 2,
            "not once for each connection but {said} times, for {requests:?} {errors:?}"
        );
    }
}

/// Offers one event a line; returns what is answered until the last acknowledgement.
pub(crate) fn offer(gateway: &Gateway, events: &[Value]) -> Vec<Value> {
    let socket = gateway.path("vision.sock");
    let mut stream = wait_for("the socket", || UnixStream::connect(&socket).ok());
    for event in events {
        writeln!(stream, "{event}").unwrap();
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked = events.iter().filter(|event| event["ack"].is_u64()).count();
    let lines = BufReader::new(stream).lines().take(asked);
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

/// Letters without a pattern.
pub(crate) fn letters(seed: u64, count: usize) -> String {
    let mut state = seed | 1;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
                [(state >> 58) as usize],
        )
    };
    (0..count).map(|_| letter()).collect()
}

#[test]
fn what_surrounds_a_payload_may_be_larger_than_it_and_costs_no_event() {
    let event = |number: u64, more: Value| {
        let mut event = json!({ "intent": "state", "device": "cam-1", "id": number, "payload": { "n": number, "t": 0, "pad": "" } });
        event
            .as_object_mut()
            .unwrap()
            .append(&mut more.as_object().unwrap().clone());
        event
    };
    let tags = |number, count| json!({ "tags": { "where": letters(number, count) } });
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}max_event = \"600 KiB\"\n")).start();
    let mut all: Vec<Value> = (0..300)
        .map(|number| event(number, tags(number, 6_000)))
        .collect();
    all.extend((300..303).map(|number| event(number, tags(number, 60_000))));
    // The device stands in the subject as well.
    all.push(event(303, json!({ "device": letters(303, 40_000) })));
    all.push(event(304, json!({ "kind": letters(304, 40_000) })));
    all.last_mut().unwrap()["ack"] = json!(304);
    assert_eq!(offer(&gateway, &all), [json!({ "ack": 304 })]);
    // What no lane can hold is said to be dropped; it costs no other event its receipt.
    let device = letters(1, 520_000);
    let (mut large, mut small) = (
        event(305, json!({ "device": device })),
        event(306, json!({})),
    );
    (large["ack"], small["ack"]) = (json!(305), json!(306));
    let said = offer(&gateway, &[large, small]);
    assert_eq!(
        said,
        [
            json!({ "ack": 305, "dropped": true }),
            json!({ "ack": 306 })
        ]
    );

    let verified = buffer(&gateway, &["verify"]);
    assert!(verified.status.success(), "{}", out(&verified));
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 306);
    let kept = cat(&gateway, &["--waiting"]);
    assert!(
        kept.keys().copied().eq((0..305).chain([306])),
        "{:?}",
        kept.keys()
    );
    assert_eq!(kept[&299]["origin"]["tags"]["where"], letters(299, 6_000));
    gateway.assert_account_closes();
}

/// Changes the configuration into one that is good on paper, and back after it was refused.
fn refused_reload(gateway: &mut Gateway, from: &str, to: &str) {
    let said = gateway
        .log()
        .matches("it goes on with the one before")
        .count();
    // It is seen without a signal; one as well might come after the file is as it was.
    gateway.change(from, to);
    wait_for("the refusal", || {
        (gateway
            .log()
            .matches("it goes on with the one before")
            .count()
            > said)
            .then_some(())
    });
    gateway.change(to, from);
}

#[test]
fn a_configuration_with_which_no_agent_can_begin_stops_nobody() {
    let mut other = Gateway::new(&format!("{AWAY}{VISION}")).start();
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    let state = |gateway: &Gateway| format!("state_dir = \"{}\"", gateway.path("state").display());
    let (ours, theirs) = (state(&gateway), state(&other));
    let socket = "socket = \"$DIR/vision.sock\"";
    let mqtt = "[[mqtt]]\nname = \"p\"\nhost = \"localhost\"\nport = 9\n[[mqtt.subscribe]]\ntopic = \"a\"\n[mqtt.tls]\n";
    let mut kept = 0;
    for (from, to) in [
        (socket, format!("{socket}\ngroup = \"nosuch\"")),
        (
            "[[inference]]",
            format!("{mqtt}ca_file = \"/nosuch.pem\"\n[[inference]]"),
        ),
        (
            "[[inference]]",
            "[uplink.tls]\nca_file = \"/nosuch.pem\"\n[[inference]]".to_owned(),
        ),
        (
            "[[inference]]",
            "[buffer]\nkeys = [{ file = \"/nosuch\" }]\n[[inference]]".to_owned(),
        ),
        // Only found when the agent before it has ended.
        (&ours, theirs),
    ] {
        let stream = crate::keeping::offer(&gateway, kept..kept + 10);
        assert_eq!(
            answer(stream),
            format!("{{\"ack\":{}}}\n", kept + 9),
            "before {to}"
        );
        kept += 10;
        refused_reload(&mut gateway, from, &to);
    }
    keep(&gateway, kept..kept + 10);
    wait_for("all events", || {
        (gateway.lane("state")["buffered"] == kept + 10).then_some(())
    });
    gateway.assert_account_closes();
    assert_eq!(other.status()["epoch"], 1, "the other agent was left alone");
    let log = gateway.log();
    assert_eq!(
        log.matches("tidegate started").count(),
        2,
        "only the last of them stopped it:\n{log}"
    );
    gateway.stop();
}

#[test]
fn a_stop_that_comes_in_a_reload_is_a_stop() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
    for round in 0..12 {
        gateway.launch();
        keep(&gateway, round * 10..round * 10 + 10);
        begin_anew(&gateway);
        let_pass(Duration::from_millis(25) * u32::try_from(round).unwrap());
        send_signal(gateway.process(), "TERM");
        gateway.wait_for_end();
    }
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 120);
}

/// A CBOR map of an event for the state lane that asks for an acknowledgement, behind its length.
fn frame(number: u32) -> Vec<u8> {
    let mut map = b"\xa4\x66intent\x65state\x62id\x1a".to_vec();
    map.extend(number.to_be_bytes());
    map.extend(b"\x63ack\x1a");
    map.extend(number.to_be_bytes());
    map.extend(b"\x67payload\x1a");
    map.extend(number.to_be_bytes());
    let length = u32::try_from(map.len()).unwrap();
    [&length.to_be_bytes()[..], &map].concat()
}

#[test]
fn an_oversized_frame_among_many_costs_only_itself() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    let socket = gateway.path("vision.sock");
    let mut stream = wait_for("the socket", || UnixStream::connect(&socket).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = BufReader::new(stream.try_clone().unwrap());
    let (frames, large) = (30_400_u32, 40);
    let writing = std::thread::spawn(move || {
        // Receipts of the frames before it come while the large one is read over; it is full of what looks like frames.
        let body: Vec<u8> = (0..100_000)
            .flat_map(|_| frame(9))
            .take(2_000_000)
            .collect();
        for number in 0..frames {
            if number % (frames / large) == 400 {
                stream.write_all(&2_000_000_u32.to_be_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
            stream.write_all(&frame(number)).unwrap();
        }
        stream
    });
    let (mut next, mut refused) = (0, 0);
    for line in answers.lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["refused"].is_null() && line["reason"].is_string() {
            assert_eq!(line["reason"], "longer than 65536 bytes");
            refused += 1;
        } else {
            assert_eq!(line, json!({ "ack": next }), "in order, each once");
            next += 1;
        }
        if (next, refused) == (frames, large) {
            break;
        }
    }
    writing.join().unwrap();
    assert_eq!(gateway.lane("state")["accepted"], frames);
    gateway.assert_account_closes();
}
