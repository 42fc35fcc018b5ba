//! One Kafka producer, and how much it is given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::BaseProducer;

use super::UplinkError;
use super::batch::Batch;
use super::callbacks::{Context, Inbox};
use crate::flow::Flow;
use crate::number;

const BATCH: &str = "batch.size";
/// Batches of reports taken from a connection at once.
const POLLS: usize = 64;

pub(super) struct Connection {
    pub(super) producer: Arc<BaseProducer<Context>>,
    config: ClientConfig,
    inbox: Arc<Inbox>,
    pub(super) in_flight: usize,
    /// Bytes delivered since the last statistics, and what these said of the wire.
    pub(super) landed: usize,
    wire: u64,
    most: usize,
    pub(super) urgent: bool,
    /// None where nothing is urgent, or all: nobody waits for others then.
    pub(super) flow: Option<Flow>,
    batch: Batch,
    /// It is to be made anew, with batches of another size, once nothing is in flight.
    renew: bool,
    /// Where the last record went.
    pub(super) topic: String,
    pub(super) throttle: Duration,
    /// Whether it has a broker, by its last word on it, if it has said one.
    pub(super) connected: Option<bool>,
}

impl Connection {
    pub(super) fn new(
        mut config: ClientConfig,
        number: usize,
        inbox: &Arc<Inbox>,
        most: usize,
        urgent: bool,
        flow: Option<Flow>,
    ) -> Result<Connection, UplinkError> {
        let largest = config.get(BATCH).and_then(|bytes| bytes.parse().ok());
        let batch = Batch::new(largest.unwrap_or(u64::MAX));
        if flow.is_some() {
            config.set(BATCH, batch.bytes().to_string());
        }
        Ok(Connection {
            producer: producer(&config, number, inbox)?,
            config,
            batch,
            renew: false,
            inbox: Arc::clone(inbox),
            in_flight: 0,
            landed: 0,
            wire: 0,
            most,
            urgent,
            flow,
            topic: String::new(),
            throttle: Duration::ZERO,
            connected: None,
        })
    }

    /// What was in flight is forgotten.
    pub(super) fn rebuild(&mut self, number: usize, inbox: &Arc<Inbox>) -> Result<(), UplinkError> {
        self.replace(number, inbox)?;
        if let Some(flow) = &mut self.flow {
            flow.landed(self.in_flight, false, Instant::now());
        }
        self.in_flight = 0;
        Ok(())
    }

    /// To be called every second or so: has it made anew if its requests do not fit the link.
    pub(super) fn look(&mut self, now: Instant) {
        let carries = self.flow.as_ref().and_then(Flow::link_carries);
        if let Some(bytes) = self.batch.look(carries, now) {
            let carries = carries.map(number::whole);
            tracing::info!(
                batch = bytes,
                link_bytes_per_s = carries,
                "the size of requests to the cluster is fitted to the link"
            );
            self.config.set(BATCH, bytes.to_string());
            self.renew = true;
        }
    }

    /// Makes it anew if that is due and nothing is in flight.
    pub(super) fn renew(&mut self, number: usize, inbox: &Arc<Inbox>) -> Result<(), UplinkError> {
        if !self.renew || self.in_flight > 0 {
            return Ok(());
        }
        self.renew = false;
        let old = self.replace(number, inbox)?;
        // To end a producer takes its time.
        std::thread::spawn(move || drop(old));
        Ok(())
    }

    /// Begins with a new producer, and gives back the old one.
    fn replace(
        &mut self,
        number: usize,
        inbox: &Arc<Inbox>,
    ) -> Result<Arc<BaseProducer<Context>>, UplinkError> {
        let new = producer(&self.config, number, inbox)?;
        (self.connected, self.renew) = (None, false);
        (self.landed, self.wire) = (0, 0);
        Ok(std::mem::replace(&mut self.producer, new))
    }

    pub(super) fn ask(&mut self, next: usize, now: Instant) -> Result<usize, Option<Instant>> {
        if self.renew {
            return Err(None);
        }
        match &mut self.flow {
            Some(flow) => flow.ask(next, now),
            None => Some(self.most.saturating_sub(self.in_flight))
                .filter(|room| *room >= next)
                .ok_or(None),
        }
    }

    pub(super) fn sent(&mut self, bytes: usize, topic: &str, now: Instant) {
        self.in_flight += bytes;
        if let Some(flow) = &mut self.flow {
            flow.sent(bytes, now);
        }
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
        }
    }

    pub(super) fn landed(&mut self, bytes: usize, delivered: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if let Some(flow) = &mut self.flow {
            flow.landed(bytes, delivered, now);
        }
        if delivered {
            self.landed += bytes;
            self.connected = Some(true);
        }
    }

    /// Statistics say that `wire` bytes went over it so far. Returns how many did since the last ones, and how many bytes
    /// of records were delivered meanwhile.
    pub(super) fn carried(&mut self, wire: u64) -> (u64, usize) {
        let carried = (wire.saturating_sub(self.wire), self.landed);
        (self.wire, self.landed) = (wire, 0);
        carried
    }

    /// Serves callbacks; says whether there were reports.
    pub(super) fn poll(&self) -> bool {
        self.inbox
            .hear(POLLS, || self.producer.poll(Duration::ZERO))
    }
}

fn producer(
    config: &ClientConfig,
    number: usize,
    inbox: &Arc<Inbox>,
) -> Result<Arc<BaseProducer<Context>>, UplinkError> {
    let producer = config.create_with_context(Context::new(number, inbox));
    producer.map(Arc::new).map_err(UplinkError::Settings)
}
