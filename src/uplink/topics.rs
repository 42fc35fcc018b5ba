//! Topics of which nothing is delivered: they are looked for, asked about, and held. And which cluster it is, and where.

use std::time::{Duration, Instant};

use buffer::LaneId;
use rdkafka::producer::{Producer as _, PurgeConfig};

use super::callbacks::lock;
use super::connection::Connection;
use super::inquiry::TOPICS_MAX;
use super::{Signal, Uplink};

/// How often topics are looked for that take nothing.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// A topic that takes nothing for longer is asked about.
const SUSPECT: Duration = Duration::from_secs(2);
/// How often the cluster is asked at most.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// The same while all such topics are held.
const REVIEW_EVERY: Duration = Duration::from_secs(10);

/// A topic of which nothing is delivered, on the connection of this number.
struct Stalled {
    number: usize,
    topic: String,
    since: Instant,
    held: bool,
}

impl Uplink {
    /// Says which topics take nothing, and what the cluster says of them.
    pub(super) fn watch_topics(&mut self, signals: &mut Vec<Signal>, now: Instant) {
        if now < self.next_watch {
            return;
        }
        self.next_watch = now + WATCH_EVERY;
        let answers = self.inquiries.take().into_iter();
        signals.extend(answers.map(|(topic, standing)| Signal::Asked { topic, standing }));
        let mut stalled = Vec::new();
        for (number, connection) in self.connections.iter().enumerate() {
            let names = lock(&connection.inbox.names);
            for (topic, since, held) in connection.accounts.stalled(SUSPECT, now) {
                stalled.push(Stalled {
                    number,
                    topic: names.name(topic).to_owned(),
                    since,
                    held,
                });
            }
        }
        self.inquire(&mut stalled, now);
        let stalled = stalled.into_iter();
        signals
            .extend(stalled.map(|Stalled { topic, since, .. }| Signal::Stalled { topic, since }));
    }

    /// Has the cluster asked about `topics`, some at a time; what it says comes as [`Signal::Asked`].
    pub(crate) fn ask_about(&mut self, topics: &[String], now: Instant) {
        if topics.is_empty() || now < self.next_ask {
            return;
        }
        self.next_ask = now + ASK_EVERY;
        let mut connections = self.connections.iter();
        let connection = connections.find(|one| one.stands() && one.failure().is_none());
        if let Some(producer) = connection.and_then(|one| one.producer.share()) {
            self.inquiries.ask(producer, false, topics.to_vec());
        }
    }

    /// Brokers are connected, or none is: each time they are, the cluster is asked which one it is.
    pub(super) fn is_connected(&mut self, connected: bool, now: Instant) {
        if connected != self.was_connected {
            self.was_connected = connected;
            self.identify_at = connected.then(|| now + SUSPECT);
        }
    }

    pub(super) fn identify(&mut self, now: Instant) {
        if self.identify_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let connections = || self.connections.iter();
        let with_topic = connections().find_map(|one| Some((one, one.some_topic()?)));
        let (one, topic) = match with_topic {
            Some((one, topic)) => (Some(one), Some(topic)),
            None => (connections().next(), None),
        };
        if let Some(producer) = one.and_then(|one| one.producer.share()) {
            let file = self.id_file.clone();
            self.inquiries.identify(producer, topic, file);
        }
    }

    /// Which cluster it is and was, where it became another one since the start.
    #[must_use]
    pub(crate) fn other_cluster(&self) -> Option<String> {
        self.inquiries.other()
    }

    /// Begins the connections anew where the names of the brokers have come to lead somewhere else and no broker is connected.
    pub(super) fn follow_hosts(&mut self, signals: &mut Vec<Signal>, now: Instant) {
        if !self.hosts.moved(self.was_connected, now) {
            return;
        }
        tracing::warn!(
            brokers = self.hosts.names().join(","),
            "no broker is connected, and the names in uplink.brokers lead to other addresses than before; the connections begin anew there; nothing is lost, some events may be repeated with the same id"
        );
        for number in 0..self.connections.len() {
            let connection = self.connections.get_mut(number);
            if connection.is_some_and(Connection::begin_anew) {
                signals.push(Signal::Resend(self.lanes_of(number)));
            }
        }
    }

    /// Asks through the connection of the first of them, and through another where there is one.
    fn inquire(&mut self, stalled: &mut [Stalled], now: Instant) {
        // In turns, since few are asked about at once; those that are not held yet before all others.
        stalled.sort_by_key(|one| one.held);
        let urgent = stalled.partition_point(|one| !one.held);
        let turns = if urgent > 0 { urgent } else { stalled.len() };
        if let Some(turns) = stalled.get_mut(..turns).filter(|turns| !turns.is_empty()) {
            turns.rotate_left(self.asked % turns.len());
        }
        let Some(first) = stalled.first().filter(|_| now >= self.next_ask) else {
            return;
        };
        self.asked = self.asked.wrapping_add(TOPICS_MAX);
        let all_held = stalled.iter().all(|one| one.held);
        self.next_ask = now + if all_held { REVIEW_EVERY } else { ASK_EVERY };
        let others = self.connections.iter().enumerate();
        let mut others =
            others.filter(|(other, one)| *other != first.number && one.failure().is_none());
        let other = others.next().map(|(_, one)| one);
        for (own, one) in [(false, other), (true, self.connections.get(first.number))] {
            if let Some(producer) = one.and_then(|one| one.producer.share()) {
                let topics = stalled.iter().map(|one| one.topic.clone());
                self.inquiries.ask(producer, own, topics.collect());
            }
        }
    }

    /// Holds or frees a topic: held, what of it is under way keeps nothing else back, and says nothing of the link.
    pub(crate) fn hold(&mut self, topic: &str, held: bool, now: Instant) {
        for connection in &mut self.connections {
            connection.hold(topic, held, now);
        }
    }

    /// Connections that have records of `topic` under way.
    fn with(&self, topic: &str) -> impl Iterator<Item = &Connection> {
        let connections = self.connections.iter();
        connections.filter(move |one| one.under_way(topic) > 0)
    }

    /// Records of `topic` under way on all connections.
    #[must_use]
    pub(crate) fn under_way(&self, topic: &str) -> usize {
        let connections = self.connections.iter();
        connections.map(|one| one.under_way(topic)).sum()
    }

    /// Nothing of `topic` was delivered yet on the connection of `lane`: a broker that does not know a producer accepts its second
    /// batch also where it refuses the first, which would be overtaken.
    #[must_use]
    pub(crate) fn is_fresh(&self, lane: LaneId, topic: &str) -> bool {
        self.connection(lane).is_some_and(|one| one.is_fresh(topic))
    }

    /// Since when a topic that is not held has waited for a delivery.
    #[must_use]
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        let connections = self.connections.iter();
        connections
            .filter_map(|one| one.accounts.waiting_since())
            .min()
    }

    /// Takes back all that the connection of `lane` has under way: what is newer must not overtake a record that is to be
    /// sent again. Some of it may arrive all the same, and then arrives twice. Returns the lanes of which something may come back.
    pub(crate) fn recall(&mut self, lane: LaneId) -> Vec<LaneId> {
        let Some((number, _)) = self.lanes.get(lane.index()).copied() else {
            return Vec::new();
        };
        if let Some(connection) = self.connections.get(number) {
            let all = PurgeConfig::default().queue().inflight().non_blocking();
            connection.producer.purge(all);
        }
        self.lanes_of(number)
    }

    /// Whether what `topic` has under way since then would have been delivered by now, if it were only slow: other topics of its
    /// connection were delivered to, or the connection has delivered as much in less time before.
    #[must_use]
    pub(crate) fn is_overdue(&self, topic: &str, since: Instant, now: Instant) -> bool {
        let lasts = now.saturating_duration_since(since);
        self.with(topic)
            .any(|one| one.others_pass(topic, since) || lasts > one.takes())
    }

    /// Whether `topic` may only wait behind another one, which takes nothing either and came first.
    #[must_use]
    pub(crate) fn waits_behind(&self, topic: &str, now: Instant) -> bool {
        self.with(topic)
            .any(|one| one.waits_behind(topic, SUSPECT, now))
    }

    /// Begins anew the connections on which nothing is delivered since then beside `topic`, and others wait with it: a broker
    /// that waits for a replica answers nothing else there. Returns the lanes whose records under way are forgotten.
    pub(crate) fn free_from(&mut self, topic: &str, since: Instant) -> Vec<LaneId> {
        let mut forgotten = Vec::new();
        for number in 0..self.connections.len() {
            let lanes = self.lanes_of(number);
            let Some(connection) = self.connections.get_mut(number) else {
                break;
            };
            if lanes.len() > 1 && connection.is_stopped_by(topic, since) && connection.begin_anew()
            {
                forgotten.extend(lanes);
            }
        }
        forgotten
    }

    /// What the client library of a connection that has records of `topic` complained of last.
    #[must_use]
    pub(crate) fn trouble_of(&self, topic: &str) -> Option<&str> {
        self.with(topic).find_map(Connection::trouble)
    }
}
