//! librdkafka's mock cluster, in the process.

use std::io;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;
pub use rdkafka::types::RDKafkaRespErr;

/// What the cluster may refuse.
#[derive(Debug, Clone, Copy)]
pub enum Requests {
    Produce,
    /// `InitProducerId`, with which an idempotent producer begins.
    Identity,
}

impl Requests {
    fn key(self) -> RDKafkaApiKey {
        match self {
            Requests::Produce => RDKafkaApiKey::Produce,
            Requests::Identity => RDKafkaApiKey::InitProducerId,
        }
    }
}

pub struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
}

impl Cluster {
    /// One broker with these topics, of three partitions each.
    ///
    /// # Errors
    /// When librdkafka cannot make it.
    pub fn start(topics: &[&str]) -> io::Result<Cluster> {
        let mock = MockCluster::new(1).map_err(io::Error::other)?;
        for topic in topics {
            mock.create_topic(topic, 3, 1).map_err(io::Error::other)?;
        }
        Ok(Cluster { mock })
    }

    /// The next requests to produce, or for a producer's identity, are answered with these errors, one each.
    pub fn refuse(&self, requests: Requests, errors: &[RDKafkaRespErr]) {
        self.mock.request_errors(requests.key(), errors);
    }

    /// All such requests are answered with this error, until [`Cluster::accept`].
    pub fn refuse_all(&self, requests: Requests, error: RDKafkaRespErr) {
        self.refuse(requests, &vec![error; 10_000]);
    }

    /// Requests are no longer refused.
    pub fn accept(&self, requests: Requests) {
        self.mock.clear_request_errors(requests.key());
    }

    /// Answers come this late from now on; what was asked meanwhile is answered in turn.
    pub fn answer_late(&self, late: Duration) {
        let told = self.mock.broker_round_trip_time(1, late);
        told.expect("there is a broker 1");
    }

    /// Answers about this topic say this error from now on, or none.
    pub fn answer_for(&self, topic: &str, error: RDKafkaRespErr) {
        let named = self.mock.topic_error(topic, error);
        named.expect("the topic's name is one");
    }

    #[must_use]
    pub fn brokers(&self) -> String {
        self.mock.bootstrap_servers()
    }

    /// The broker goes away: its connections are closed, and no new ones are taken.
    pub fn down(&self) {
        self.mock.broker_down(1).expect("there is a broker 1");
    }

    pub fn up(&self) {
        self.mock.broker_up(1).expect("there is a broker 1");
    }
}
