//! Every error that a broker may answer, once, for a while and for ever: the lane goes on, or waits with the reason shown, and
//! nothing is lost.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use load::Numbered;
use load::consume::{Reader, Record};
use load::mock::{Cluster, RDKafkaRespErr as Refusal, Requests};
use serde_json::{Value, json};

use crate::errors::ERRORS;
use crate::keeping::{self, VISION, keep};
use crate::mends::offer;
use crate::rig::{Gateway, PATIENCE, dropped, wait_for};

/// Gateways at work at once, each with a cluster of its own and every so manieth error.
const SHARDS: usize = 12;
const TOPIC: &str = "tidegate.state";

/// A gateway that is told errors in turn, and what it was given so far.
struct Rig {
    cluster: Cluster,
    gateway: Gateway,
    given: u64,
    /// Delivered before the gateway was started last.
    before: u64,
}

impl Rig {
    fn start() -> Rig {
        let cluster = Cluster::start(&["tidegate.critical", TOPIC, "tidegate.health"]).unwrap();
        let brokers = cluster.brokers();
        let config =
            format!("[uplink]\nbrokers = [\"{brokers}\"]\ntopic_retry = \"300ms\"\n{VISION}");
        let mut gateway = Gateway::new(&config).start();
        // Its notice of the start is to meet no error in place of an event.
        gateway.wait_for_log("uplink up");
        gateway.wait_until_drained();
        Rig {
            gateway,
            cluster,
            given: 0,
            before: 0,
        }
    }

    /// Gives some events, and returns once they are acknowledged.
    fn give(&mut self) {
        let numbers = self.given..self.given + 3;
        self.given = numbers.end;
        keep(&self.gateway, numbers);
    }

    fn wait_until_delivered(&mut self, error: Refusal) {
        wait_for(&format!("delivery after {error:?}"), || {
            let delivered = self.gateway.lane("state")["delivered"].as_u64()?;
            (self.before + delivered == self.given).then_some(())
        });
    }

    /// Waits for the reason that the status shows; it names the topic, or the producer.
    fn wait_for_reason(&mut self, error: Refusal) {
        wait_for(&format!("the reason of {error:?}"), || {
            let why = self.gateway.lane("state")["waits"].clone();
            let told = |why: &&str| why.contains(TOPIC) || why.contains("kafka producer failed");
            why.as_str().filter(told).map(|_| ())
        });
    }

    /// Nothing was dropped, and all is in the cluster.
    fn assert_all_arrived(mut self) {
        self.gateway.wait_until_drained();
        self.gateway.assert_account_closes();
        assert_eq!(dropped(&self.gateway.lane("state")), 0);
        let mut reader = Reader::new(&self.cluster.brokers(), &[TOPIC], &[]);
        // Some come twice, since a connection may have been made again.
        let missing = |records: &[Record]| -> Vec<u64> {
            let numbers = records.iter().map(|one| Numbered::parse(&one.payload));
            let arrived: HashSet<u64> = numbers.flatten().map(|one| one.n).collect();
            (0..self.given).filter(|n| !arrived.contains(n)).collect()
        };
        let records = reader.until(PATIENCE, |records| missing(records).is_empty());
        // What was under way behind a refusal out of the blue may have overtaken it: see decision 13.
        assert_eq!(missing(&records), Vec::<u64>::new());
    }
}

/// Has some gateways meet these errors, each some of them in turn; all must have arrived in the end.
fn meet(errors: &[Refusal], each: impl Fn(&mut Rig, Refusal) + Sync) {
    std::thread::scope(|scope| {
        for shard in 0..SHARDS {
            let each = &each;
            scope.spawn(move || {
                let mut rig = Rig::start();
                for error in errors.iter().skip(shard).step_by(SHARDS) {
                    each(&mut rig, *error);
                }
                rig.assert_all_arrived();
            });
        }
    });
}

/// Of the record itself: one that is refused alone with it is set aside, as it always will be refused.
const OF_THE_RECORD: [Refusal; 5] = [
    Refusal::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE,
    Refusal::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    Refusal::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
    Refusal::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    Refusal::RD_KAFKA_RESP_ERR_INVALID_RECORD,
];

#[test]
fn every_error_of_produce_once_for_a_while_and_for_ever_costs_no_event_and_is_shown() {
    // A broker says of a duplicate that it has it, and is believed.
    let says_it_has_it = Refusal::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
    let errors = ERRORS.into_iter().filter(|one| *one != says_it_has_it);
    meet(&errors.collect::<Vec<_>>(), |rig, error| {
        rig.cluster.refuse(Requests::Produce, &[error]);
        rig.give();
        rig.wait_until_delivered(error);
        if OF_THE_RECORD.contains(&error) {
            return;
        }
        rig.cluster.refuse(Requests::Produce, &[error; 3]);
        rig.give();
        rig.wait_until_delivered(error);
        // A record that is refused for any time is set aside, after a dozen of them.
        if error == Refusal::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP {
            return;
        }
        rig.cluster.refuse_all(Requests::Produce, error);
        rig.give();
        rig.wait_for_reason(error);
        rig.cluster.accept(Requests::Produce);
        rig.wait_until_delivered(error);
    });
}

/// Has the first of some batches refused while the others of the partition are under way.
fn refuse_the_first_of_some(rig: &mut Rig) {
    let moved = Refusal::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    rig.cluster.answer_late(Duration::from_millis(700));
    rig.cluster.refuse(Requests::Produce, &[moved]);
    for _ in 0..8 {
        rig.given += 1;
        keeping::offer(&rig.gateway, rig.given - 1..rig.given);
        wait_for("the event to be accepted", || {
            let state = rig.gateway.lane("state");
            (rig.before + state["accepted"].as_u64()? == rig.given).then_some(())
        });
    }
    rig.cluster.answer_late(Duration::ZERO);
    rig.wait_until_delivered(moved);
}

#[test]
fn what_is_refused_while_more_is_under_way_is_not_taken_for_delivered_when_that_is() {
    let mut rig = Rig::start();
    // A notice may meet the refusal instead, or some events share a batch: so it is tried some times.
    for _ in 0..5 {
        refuse_the_first_of_some(&mut rig);
    }
    rig.assert_all_arrived();
}

/// Starts the gateway again, as a producer asks for its id when it begins, and refuses that.
fn refuse_identity(rig: &mut Rig, errors: &[Refusal]) {
    rig.gateway.wait_until_drained();
    rig.gateway.stop();
    rig.before = rig.given;
    rig.cluster.refuse(Requests::Identity, errors);
    rig.gateway.launch();
    rig.give();
}

#[test]
fn every_error_of_a_producer_id_once_costs_no_event() {
    meet(&ERRORS, |rig, error| {
        // The alarms have a producer of their own.
        refuse_identity(rig, &[error; 2]);
        rig.wait_until_delivered(error);
    });
}

#[test]
fn errors_that_keep_a_producer_without_its_id_are_shown_and_cost_no_event() {
    use Refusal as R;
    let errors = [
        R::RD_KAFKA_RESP_ERR_UNKNOWN,
        R::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        R::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
        R::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
        R::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        R::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        R::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        R::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        R::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
        R::RD_KAFKA_RESP_ERR_INVALID_REQUEST,
        R::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        R::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
        R::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT,
        R::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
        R::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        R::RD_KAFKA_RESP_ERR_SECURITY_DISABLED,
        R::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
        R::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
    ];
    meet(&errors, |rig, error| {
        refuse_identity(rig, &vec![error; 10_000]);
        rig.wait_for_reason(error);
        rig.cluster.accept(Requests::Identity);
        rig.wait_until_delivered(error);
    });
}

/// Intents of a gateway that asks about topics; with the built-in ones these are as many as there may be.
const LANES: usize = 11;

/// An intent and a topic for each of these errors, by its place in the list.
fn lanes(errors: Range<usize>) -> String {
    let section = |place| {
        format!("[[intent]]\nname = \"i{place}\"\ntopic = \"t.{place}\"\nbudget = \"1 MiB\"\n")
    };
    errors.map(section).collect()
}

fn event(place: usize, round: u64) -> Value {
    json!({ "intent": format!("i{place}"), "device": "d", "id": round, "ack": round, "payload": place })
}

/// One gateway whose topics have these errors in the answers of Metadata, first from its start on, then out of the blue.
fn ask_about(errors: Range<usize>) {
    let topics: Vec<String> = errors.clone().map(|place| format!("t.{place}")).collect();
    let named: Vec<&str> = topics.iter().map(String::as_str).collect();
    let cluster = Cluster::start(&[&named[..], &["tidegate.critical"]].concat()).unwrap();
    let refuse = |refused: bool| {
        for (topic, place) in named.iter().zip(errors.clone()) {
            let none = Refusal::RD_KAFKA_RESP_ERR_NO_ERROR;
            cluster.answer_for(topic, if refused { ERRORS[place] } else { none });
        }
    };
    refuse(true);
    let config = format!(
        "[uplink]\nbrokers = [\"{}\"]\ntopic_retry = \"1s\"\n{VISION}{}",
        cluster.brokers(),
        lanes(errors.clone())
    );
    let mut gateway = Gateway::new(&config).start();
    let events: Vec<Value> = errors.clone().map(|place| event(place, 1)).collect();
    offer(&gateway, &events);
    for (place, topic) in errors.clone().zip(&named) {
        let what = format!("the reason of {:?}", ERRORS[place]);
        wait_for(&what, || {
            let why = gateway.lane(&format!("i{place}"))["waits"].clone();
            why.as_str().filter(|why| why.contains(topic)).map(|_| ())
        });
    }
    offer(
        &gateway,
        &[json!({ "intent": "critical", "device": "d", "id": 1, "ack": 1, "payload": 1 })],
    );
    wait_for("an alarm beside them", || {
        (gateway.lane("critical")["delivered"] == 1).then_some(())
    });
    refuse(false);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    // A topic that is known takes records, whatever is said of it later.
    refuse(true);
    let events: Vec<Value> = errors.clone().map(|place| event(place, 2)).collect();
    offer(&gateway, &events);
    refuse(false);
    gateway.wait_until_drained();
    for place in errors {
        let lane = gateway.lane(&format!("i{place}"));
        assert_eq!((dropped(&lane), &lane["delivered"]), (0, &json!(2)));
    }
}

#[test]
fn every_error_that_metadata_gives_for_a_topic_is_shown_and_holds_up_only_that_topic() {
    std::thread::scope(|scope| {
        for first in (0..ERRORS.len()).step_by(LANES) {
            scope.spawn(move || ask_about(first..ERRORS.len().min(first + LANES)));
        }
    });
}
