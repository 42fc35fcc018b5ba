//! A cluster that refuses what it is sent: for how long it takes, the reason is shown, and nothing is lost.

use load::consume::{Reader, account};
use load::mock::{Cluster, RDKafkaRespErr as Refusal, Requests};
use serde_json::Value;

use crate::keeping::{VISION, keep};
use crate::rig::{Gateway, PATIENCE, wait_for};

const TOPICS: [&str; 3] = ["tidegate.critical", "tidegate.state", "tidegate.health"];

fn start(cluster: &Cluster) -> Gateway {
    let config = format!(
        "[uplink]\nbrokers = [\"{}\"]\ntopic_retry = \"1s\"\n{VISION}",
        cluster.brokers()
    );
    Gateway::new(&config).start()
}

fn assert_all_arrive(cluster: &Cluster, gateway: &mut Gateway, count: u64) {
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    let mut reader = Reader::new(&cluster.brokers(), &["tidegate.state"], &[]);
    let records = reader.until(PATIENCE, |records| records.len() as u64 >= count);
    let account = account(&records, 0..count);
    assert_eq!((account.lost, account.out_of_order), (0, 0), "{account:?}");
}

#[test]
fn a_lane_whose_records_are_refused_says_why_and_goes_on_once_they_are_not() {
    use Refusal as R;
    for (requests, error, said) in [
        // The codec of the intent is none that the cluster knows.
        (
            Requests::Produce,
            R::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
            "compression",
        ),
        // Its message format is too old for headers.
        (
            Requests::Produce,
            R::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
            "essage format",
        ),
        (
            Requests::Produce,
            R::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            "uthoriz",
        ),
        (
            Requests::Produce,
            R::RD_KAFKA_RESP_ERR_SECURITY_DISABLED,
            "ecurity",
        ),
        // No producer id, so that nothing is even sent.
        (
            Requests::Identity,
            R::RD_KAFKA_RESP_ERR_INVALID_REQUEST,
            "PID",
        ),
        (
            Requests::Identity,
            R::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            "PID",
        ),
    ] {
        let cluster = Cluster::start(&TOPICS).unwrap();
        cluster.refuse_all(requests, error);
        let mut gateway = start(&cluster);
        keep(&gateway, 0..20);
        let reason = wait_for("the reason", || {
            let why = gateway.lane("state")["waits"].clone();
            why.as_str()
                .filter(|why| why.contains(said))
                .map(str::to_owned)
        });
        let blocked = gateway.status()["link"]["blocked"].clone();
        assert!(
            blocked
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one[0] == "tidegate.state")),
            "{error:?}: {reason}: {blocked}"
        );
        gateway.wait_for_log("the cluster does not take this topic");
        assert_eq!(gateway.lane("state")["buffered"], Value::from(20));
        cluster.accept(requests);
        assert_all_arrive(&cluster, &mut gateway, 20);
        gateway.wait_for_log("the cluster takes this topic again");
    }
}

#[test]
fn errors_that_pass_cost_no_event_whatever_they_are() {
    use Refusal as R;
    for error in [
        R::RD_KAFKA_RESP_ERR_INVALID_MSG,
        R::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        R::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        R::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        R::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        R::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS,
        R::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        R::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        R::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        R::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
        R::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        R::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        R::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        R::RD_KAFKA_RESP_ERR_UNKNOWN,
    ] {
        let cluster = Cluster::start(&TOPICS).unwrap();
        cluster.refuse(Requests::Produce, &[error; 3]);
        let mut gateway = start(&cluster);
        keep(&gateway, 0..30);
        assert_all_arrive(&cluster, &mut gateway, 30);
    }
}
