//! librdkafka's mock cluster, in the process.

use std::io;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

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
