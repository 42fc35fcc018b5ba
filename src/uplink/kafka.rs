//! The Kafka producers. Every name of rdkafka stands in this file, its callbacks and settings.
//!
//! Intents with the same urgency and batching share a connection: with the defaults there are two,
//! one for urgent intents and one for the rest. librdkafka tries a record for ever
//! (`message.timeout.ms` is 0); what it gives back is sorted by what is to be done with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use buffer::LaneId;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::callbacks::{Context, Inbox, cost, lock, sort};
use super::{Delivery, Message, Report, Signal, Unsent, UplinkError, settings::settings};
use crate::config::UplinkSection;
use crate::intent::{Intents, Sending};

/// How long a poll thread sleeps when there is nothing to serve; a stop waits for it. rdkafka spins
/// through the last millisecond of it, so it must not be short.
const POLL: Duration = Duration::from_secs(1);
/// A token crosses librdkafka in 24 bits, with 8 bits for the lane: 32 bits also on armv7.
const TOKEN_BITS: u32 = 24;

pub(crate) struct Uplink {
    connections: Vec<Connection>,
    /// The connection of each lane, and the token after its last.
    lanes: Vec<(usize, u64)>,
    inbox: Arc<Inbox>,
    /// Swapped with the inbox's, so that neither grows anew each time.
    taken: Vec<(usize, usize, Delivery)>,
    limit: usize,
}

struct Connection {
    producer: Arc<BaseProducer<Context>>,
    config: ClientConfig,
    poller: Option<Poller>,
    in_flight: usize,
    number: usize,
    /// Whether it has a broker, by its last word on it, if it has said one.
    connected: Option<bool>,
}

struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Uplink {
    pub(crate) fn new(
        section: &UplinkSection,
        client_id: &str,
        intents: &Intents,
    ) -> Result<Uplink, UplinkError> {
        let inbox = Arc::new(Inbox::default());
        let mut kinds: Vec<(bool, Sending)> = Vec::new();
        let mut lanes = Vec::new();
        for (_, intent) in intents.iter() {
            let kind = (intent.urgent, intent.sending.clone());
            let number = kinds
                .iter()
                .position(|known| *known == kind)
                .unwrap_or(kinds.len());
            if number == kinds.len() {
                kinds.push(kind);
            }
            lanes.push((number, 0));
        }
        let mut connections = Vec::new();
        for (number, (_, sending)) in kinds.iter().enumerate() {
            let mut config = ClientConfig::new();
            config.extend(settings(section, client_id, sending)?);
            config.set_log_level(RDKafkaLogLevel::Warning);
            connections.push(Connection::new(config, number, &inbox)?);
        }
        let limit = usize::try_from(section.in_flight.0).unwrap_or(usize::MAX);
        Ok(Uplink {
            connections,
            lanes,
            inbox,
            taken: Vec::new(),
            limit,
        })
    }

    /// Bytes that the connection of `lane` still takes.
    #[must_use]
    pub(crate) fn room(&self, lane: LaneId) -> usize {
        let in_flight = self
            .lanes
            .get(lane.index())
            .and_then(|(number, _)| self.connections.get(*number));
        self.limit
            .saturating_sub(in_flight.map_or(0, |connection| connection.in_flight))
    }

    /// Hands a record over; its [`Report`] comes later.
    pub(crate) fn send(&mut self, message: &Message<'_>) -> Result<(), Unsent> {
        let (number, last) = self
            .lanes
            .get_mut(message.lane.index())
            .expect("every lane has a connection");
        let connection = self
            .connections
            .get_mut(*number)
            .expect("every lane has a connection");
        let headers = message.headers.iter().fold(
            OwnedHeaders::new_with_capacity(message.headers.len()),
            |all, (key, value)| match *value {
                None => all,
                value => all.insert(Header { key, value }),
            },
        );
        let token = usize::from(message.lane.0) << TOKEN_BITS | low_bits(message.token);
        let record = BaseRecord::with_opaque_to(&message.address.topic, token)
            .key(&message.address.key)
            .payload(message.payload)
            .timestamp(message.timestamp)
            .headers(headers);
        match connection.producer.send(record) {
            Ok(()) => {
                *last = message.token + 1;
                connection.in_flight += cost(message.payload.len());
                Ok(())
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(Unsent::Full)
            }
            Err((error, _)) => Err(Unsent::Failed(sort(&error, &message.address.topic))),
        }
    }

    /// Waits until there may be reports or signals. Safe to cancel.
    pub(crate) async fn changed(&self) {
        self.inbox.notify.notified().await;
    }

    /// All reports and signals since the last call.
    pub(crate) fn take(&mut self, reports: &mut Vec<Report>, signals: &mut Vec<Signal>) {
        std::mem::swap(&mut self.taken, &mut *lock(&self.inbox.reports));
        for (token, bytes, outcome) in self.taken.drain(..) {
            let lane = token >> TOKEN_BITS;
            if let Some((number, last)) = self.lanes.get(lane) {
                if let Some(connection) = self.connections.get_mut(*number) {
                    connection.in_flight = connection.in_flight.saturating_sub(bytes);
                    if outcome == Delivery::Delivered {
                        connection.connected = Some(true);
                    }
                }
                let behind = low_bits(last.wrapping_sub((token & low_bits(u64::MAX)) as u64));
                let token = last.saturating_sub(behind as u64);
                reports.push(Report {
                    lane: LaneId(u8::try_from(lane).unwrap_or(0)),
                    token,
                    outcome,
                });
            }
        }
        signals.append(&mut lock(&self.inbox.signals));
        let changes = std::mem::take(&mut *lock(&self.inbox.connected));
        for (number, connected) in &changes {
            if let Some(connection) = self.connections.get_mut(*number) {
                connection.connected = Some(*connected);
            }
        }
        if !changes.is_empty() {
            let said = || self.connections.iter().map(|one| one.connected);
            if said().any(|connected| connected == Some(true)) {
                signals.push(Signal::Connected(true));
            } else if said().all(|connected| connected == Some(false)) {
                signals.push(Signal::Connected(false));
            }
        }
    }

    /// Makes a connection anew. What was in flight is forgotten and must be sent again; returns whose
    /// it was.
    pub(crate) fn rebuild(&mut self, number: usize) -> Result<Vec<LaneId>, UplinkError> {
        let Some(broken) = self.connections.get_mut(number) else {
            return Ok(Vec::new());
        };
        broken.begin_close();
        broken.close();
        // What the purge gave back is about tokens that are sent anew.
        lock(&self.inbox.reports).clear();
        let fresh = Connection::new(broken.config.clone(), number, &self.inbox)?;
        *broken = fresh;
        let lanes = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, (connection, _))| *connection == number);
        Ok(lanes
            .filter_map(|(lane, _)| u8::try_from(lane).ok().map(LaneId))
            .collect())
    }

    /// Stops the poll threads. What is in flight stays with its lane.
    pub(crate) fn close(&mut self) {
        self.connections.iter().for_each(Connection::begin_close);
        self.connections.iter_mut().for_each(Connection::close);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "24 bits fit everywhere")]
fn low_bits(token: u64) -> usize {
    (token & ((1 << TOKEN_BITS) - 1)) as usize
}

impl Connection {
    fn new(
        config: ClientConfig,
        number: usize,
        inbox: &Arc<Inbox>,
    ) -> Result<Connection, UplinkError> {
        let context = Context::new(number, inbox);
        let producer = Arc::new(
            config
                .create_with_context(context)
                .map_err(UplinkError::Settings)?,
        );
        let poller = Some(Poller::start(&producer, number));
        Ok(Connection {
            producer,
            config,
            poller,
            in_flight: 0,
            number,
            connected: None,
        })
    }

    fn begin_close(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
        if let Some(poller) = &self.poller {
            poller.stop.store(true, Ordering::Relaxed);
        }
    }

    fn close(&mut self) {
        let ended = self.poller.take().map(|poller| poller.thread.join());
        if ended.is_some_and(|ended| ended.is_err()) {
            tracing::error!(connection = self.number, "a poll thread panicked");
        }
    }
}

impl Poller {
    fn start(producer: &Arc<BaseProducer<Context>>, number: usize) -> Poller {
        let stop = Arc::new(AtomicBool::new(false));
        let (producer, stopped) = (Arc::clone(producer), Arc::clone(&stop));
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                producer.poll(POLL);
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("kafka-{number}"))
            .stack_size(256 * 1024)
            .spawn(serve);
        Poller {
            stop,
            thread: thread.expect("a thread can be started"),
        }
    }
}

pub(super) fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
