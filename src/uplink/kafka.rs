//! The Kafka producers, one for each connection.
//!
//! Intents with the same urgency and batching share a connection: with the defaults there are two,
//! one for urgent intents and one for the rest. librdkafka tries a record for ever
//! (`message.timeout.ms` is 0); what it gives back is sorted by what is to be done with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use buffer::LaneId;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseRecord;

use super::callbacks::{Report, Said, cost, lock, sort};
use super::connection::Connection;
use super::credentials::{self, Credentials};
use super::headers::Headers;
use super::hosts::Hosts;
use super::inquiry::Inquiries;
use super::section::Dscp;
use super::settings::{Cluster, Sending};
use super::{Carried, DeliveryReport, Message, Signal, Unsent, UplinkError};
use crate::pace::number;
use crate::pace::{Flow, Limit, Room, TOGETHER};

/// How soon reports are looked for while records are on their way; then after an eighth of the time that
/// nothing has happened, so that a slow link is not looked at a thousand times.
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(50);
/// The same while nothing is in flight: errors, statistics and changes of connections.
const POLL_IDLE: Duration = Duration::from_millis(200);
/// Bytes of a record in a request besides its texts, at most (Kafka's record format 2).
const RECORD_BYTES: usize = 50;
/// Bytes of a record's key and headers that are counted with every record; those of more are counted beside it.
const USUAL_TEXTS: usize = 1024;
const FORGOTTEN: &str =
    "a broker that was not ready named no brokers, and librdkafka forgot those it had";
/// A token crosses librdkafka in 24 bits, with 8 bits for the lane: 32 bits also on armv7.
const TOKEN_BITS: u32 = 24;

pub(crate) struct Uplink {
    pub(super) connections: Vec<Connection>,
    pub(super) credentials: Credentials,
    /// The connection of each lane, and the token after its last.
    pub(super) lanes: Vec<(usize, u64)>,
    /// Swapped with those of an inbox, so that neither has to grow again each time.
    taken: Vec<Report>,
    /// Whether sockets can be set, and when that is done next.
    pub(super) next_set: Option<Instant>,
    pub(super) dscp: Dscp,
    pub(super) silent_until: Instant,
    pub(super) carried: Vec<Carried>,
    /// When something was last sent or reported, and when reports are looked for next.
    active: Instant,
    next_poll: Instant,
    /// Questions about topics, and when they are looked at and asked about next.
    pub(super) inquiries: Inquiries,
    pub(super) next_watch: Instant,
    pub(super) next_ask: Instant,
    /// Topics asked about so far.
    pub(super) asked: usize,
    /// When the cluster is asked for its id next, and the file that remembers it.
    pub(super) identify_at: Option<Instant>,
    pub(super) was_connected: bool,
    pub(super) hosts: Hosts,
    pub(super) id_file: PathBuf,
}

impl Uplink {
    /// `lanes` says of each lane how its records are batched.
    pub(crate) fn new(cluster: &Cluster, lanes: &[Sending]) -> Result<Uplink, UplinkError> {
        let mut kinds: Vec<&Sending> = Vec::new();
        let mut numbers = Vec::new();
        for sending in lanes {
            let known = kinds.iter().position(|known| *known == sending);
            let number = known.unwrap_or(kinds.len());
            if number == kinds.len() {
                kinds.push(sending);
            }
            numbers.push((number, 0));
        }
        let mut connections = Vec::new();
        let most = number::in_memory(cluster.in_flight);
        for (number, sending) in kinds.iter().enumerate() {
            let config = credentials::config(cluster, sending, number)?;
            let urgent = sending.urgent;
            let limit = if urgent {
                Limit::Fixed { most, in_flight: 0 }
            } else {
                Limit::Flow(Box::new(Flow::new(most, Instant::now())))
            };
            connections.push(Connection::new(config, number, limit)?);
        }
        let kinds = kinds.into_iter().cloned().collect();
        Ok(Uplink {
            connections,
            credentials: Credentials::new(cluster, kinds, Instant::now()),
            lanes: numbers,
            taken: Vec::new(),
            next_set: Some(Instant::now()),
            dscp: cluster.section.dscp,
            silent_until: Instant::now(),
            carried: Vec::new(),
            active: Instant::now(),
            next_poll: Instant::now(),
            inquiries: Inquiries::default(),
            next_watch: Instant::now(),
            next_ask: Instant::now(),
            asked: 0,
            identify_at: None,
            was_connected: false,
            hosts: Hosts::new(&cluster.section.brokers, Instant::now()),
            id_file: cluster.id_file.clone(),
        })
    }

    /// What the connection of `lane` takes now, the next record being of `next` bytes.
    pub(crate) fn ask(&mut self, lane: LaneId, next: usize, now: Instant) -> Room {
        self.connection_mut(lane)
            .map_or(Room::WhenDelivered, |one| one.ask(next, now))
    }

    pub(super) fn connection(&self, lane: LaneId) -> Option<&Connection> {
        let (number, _) = self.lanes.get(lane.index())?;
        self.connections.get(*number)
    }

    /// The connection of `lane` has as many requests under way as it may.
    pub(crate) fn filled(&mut self, lane: LaneId) {
        let connection = self.connection_mut(lane);
        if let Some(flow) = connection.and_then(|one| one.limit.flow_mut()) {
            flow.filled();
        }
    }

    /// Bytes of one request for a partition on the connection of `lane`, at most.
    #[must_use]
    pub(crate) fn request(&self, lane: LaneId) -> usize {
        self.connection(lane)
            .map_or(usize::MAX, Connection::request)
    }

    fn connection_mut(&mut self, lane: LaneId) -> Option<&mut Connection> {
        let (number, _) = self.lanes.get(lane.index())?;
        self.connections.get_mut(*number)
    }

    /// A broker that throttles says nothing until then.
    #[must_use]
    pub(crate) fn silent_until(&self) -> Instant {
        self.silent_until
    }

    /// For how long brokers throttled a connection in the last second, at most.
    #[must_use]
    pub(crate) fn throttle(&self) -> Duration {
        let throttles = self.connections.iter().map(|one| one.throttle);
        throttles.max().unwrap_or_default()
    }

    /// What is known of each connection that is not urgent.
    pub(crate) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.connections.iter().filter_map(|one| one.limit.flow())
    }

    /// The same of a lane's own.
    #[must_use]
    pub(crate) fn flow(&self, lane: LaneId) -> Option<&Flow> {
        self.connection(lane)?.limit.flow()
    }

    /// Hands a record over; its [`Report`] comes later. Call [`Self::sent`] after the last. Returns its bytes in a request.
    pub(crate) fn send(&mut self, message: &Message<'_>, now: Instant) -> Result<usize, Unsent> {
        let (number, last) = self
            .lanes
            .get_mut(message.lane.index())
            .expect("every lane has a connection");
        let connection = self
            .connections
            .get_mut(*number)
            .expect("every lane has a connection");
        let headers = Headers::of(message);
        let (texts, names) = (message.key.len() + headers.texts, headers.names);
        let token = usize::from(message.lane.0) << TOKEN_BITS | low_bits(message.token);
        let mut record = BaseRecord::with_opaque_to(message.topic, token)
            .key(message.key)
            .timestamp(message.timestamp)
            .headers(headers.owned);
        record.payload = message.payload;
        match connection.producer.send(record) {
            Ok(()) => {
                *last = message.token + 1;
                let bytes = cost(message.payload_bytes());
                let surplus = texts.saturating_sub(USUAL_TEXTS);
                connection.sent(token, bytes, surplus, message.topic, now);
                Ok(message.payload_bytes() + texts + names + RECORD_BYTES)
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(Unsent::Full)
            }
            Err((error, _)) => {
                connection.suspect(now);
                Err(Unsent::Failed(sort(&error, message.topic)))
            }
        }
    }

    /// Says that records of `lane` were handed over, and that reports are to be looked for as soon as there can be some.
    pub(crate) fn sent(&mut self, lane: LaneId, now: Instant) {
        let least = self.flow(lane).and_then(Flow::round_trip);
        let least = least.map_or(POLL_MIN, |round_trip| TOGETHER + round_trip.min(POLL_MAX));
        self.active = now;
        self.next_poll = self.next_poll.min(now + least);
    }

    /// When [`Self::take`] is to be called next.
    #[must_use]
    pub(crate) fn due(&self) -> Instant {
        let rebuilds = self.connections.iter().filter_map(Connection::rebuild_at);
        rebuilds.fold(self.next_poll, Instant::min)
    }

    /// All reports and signals since the last call, if it is time to look for them.
    pub(crate) fn take(
        &mut self,
        reports: &mut Vec<DeliveryReport>,
        signals: &mut Vec<Signal>,
        now: Instant,
    ) {
        if now < self.due() {
            return;
        }
        for number in 0..self.connections.len() {
            self.take_reports(number, reports, signals, now);
        }
        self.watch_topics(signals, now);
        self.follow_credentials(now);
        self.identify(now);
        self.follow_hosts(signals, now);
        self.set_sockets(now);
        let mut news = false;
        for number in 0..self.connections.len() {
            news |= self.take_said(number, signals, now);
            self.keep_alive(number, signals, now);
        }
        if news {
            let said = || self.connections.iter().map(|one| one.connected);
            if said().any(|connected| connected == Some(true)) {
                signals.push(Signal::Connected(true));
                self.is_connected(true, now);
            } else if said().all(|connected| connected == Some(false)) {
                signals.push(Signal::Connected(false));
                self.is_connected(false, now);
            }
        }
        let is_idle = self.connections.iter().all(|one| one.accounts.is_empty());
        let pause = now.saturating_duration_since(self.active) / 8;
        self.next_poll = now
            + if is_idle {
                POLL_IDLE
            } else {
                pause.clamp(POLL_MIN, POLL_MAX)
            };
    }

    fn take_reports(
        &mut self,
        number: usize,
        reports: &mut Vec<DeliveryReport>,
        signals: &mut Vec<Signal>,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        if connection.poll() {
            self.active = now;
        }
        std::mem::swap(&mut self.taken, &mut *lock(&connection.inbox.reports));
        for report in self.taken.drain(..) {
            let accepted = connection.landed(&report, now);
            signals.extend(accepted.map(|topic| Signal::Accepted { topic }));
            let (token, appended_ms) = (report.token, report.appended_ms);
            let outcome = connection.outcome(report, now);
            let lane = token >> TOKEN_BITS;
            if let Some((_, last)) = self.lanes.get(lane) {
                let behind = low_bits(last.wrapping_sub((token & low_bits(u64::MAX)) as u64));
                let token = last.saturating_sub(behind as u64);
                reports.push(DeliveryReport {
                    lane: LaneId(u8::try_from(lane).unwrap_or(0)),
                    token,
                    outcome,
                    appended_ms,
                });
            }
        }
    }

    /// What a connection says besides its reports; whether there was news of its brokers.
    fn take_said(&mut self, number: usize, signals: &mut Vec<Signal>, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(number) else {
            return false;
        };
        let (mut news, mut measured) = (false, None);
        let said = std::mem::take(&mut *lock(&connection.inbox.said));
        for one in said {
            match one {
                Said::Connected(connected) => {
                    connection.connected = Some(connected);
                    news = true;
                }
                Said::Trouble(reason) => {
                    connection.is_in_trouble(&reason, now);
                    signals.push(Signal::Trouble(reason));
                }
                Said::Forgotten => connection.fail(FORGOTTEN.to_owned(), now),
                // The last says all that those before it do.
                Said::Measured(one) => measured = Some(one),
            }
        }
        if let Some(one) = measured
            && self.measured(number, &one, now)
        {
            signals.push(Signal::Answered);
        }
        news
    }

    /// Replaces the producer of a connection where that is due.
    fn keep_alive(&mut self, number: usize, signals: &mut Vec<Signal>, now: Instant) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        connection.check(now);
        let forgets = connection.rebuild(now)
            || connection.renew(now).unwrap_or_else(|error| {
                tracing::error!(%error, "cannot make a new kafka producer; the old one goes on");
                false
            });
        if forgets {
            signals.push(Signal::Resend(self.lanes_of(number)));
        }
    }

    /// Every connection stands.
    #[must_use]
    pub(crate) fn stands(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(Connection::stands)
    }

    /// Why the connection of `lane` cannot send, until it delivers again.
    pub(crate) fn failure(&self, lane: LaneId) -> Option<&str> {
        self.connection(lane)?.failure()
    }

    /// Has the next [`Self::take`] look for reports at once.
    pub(crate) fn hurry(&mut self) {
        self.next_poll = self.active;
    }
}

fn low_bits(token: u64) -> usize {
    (token & ((1 << TOKEN_BITS) - 1)) as usize
}

pub(super) fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
