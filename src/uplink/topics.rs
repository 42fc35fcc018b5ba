//! Topics of which nothing is delivered: they are looked for, asked about, and held.

use std::time::{Duration, Instant};

use buffer::LaneId;
use rdkafka::producer::{Producer as _, PurgeConfig};

use super::callbacks::lock;
use super::connection::Connection;
use super::{Signal, Uplink};

/// How often topics are looked for that take nothing.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// A topic that takes nothing for longer is asked about.
const SUSPECT: Duration = Duration::from_secs(2);
/// How often the cluster is asked at most.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// The same while all such topics are held.
const REVIEW_EVERY: Duration = Duration::from_secs(10);

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
                stalled.push((number, names.name(topic).to_owned(), since, held));
            }
        }
        self.inquire(&stalled, now);
        let stalled = stalled.into_iter();
        signals.extend(stalled.map(|(_, topic, since, _)| Signal::Stalled { topic, since }));
    }

    /// Asks through another connection where there is one, and every other time through the topic's own, which may be let
    /// in where the other is not.
    fn inquire(&mut self, stalled: &[(usize, String, Instant, bool)], now: Instant) {
        let Some((number, ..)) = stalled.first().filter(|_| now >= self.next_ask) else {
            return;
        };
        self.asks += 1;
        let others = self.connections.iter().enumerate();
        let mut others = others.filter(|(other, one)| other != number && one.failure().is_none());
        let other = others.next().filter(|_| self.asks % 2 == 1);
        let through = other.map_or_else(|| self.connections.get(*number), |(_, one)| Some(one));
        if let Some(producer) = through.and_then(|one| one.producer.share()) {
            let all_held = stalled.iter().all(|(.., held)| *held);
            self.next_ask = now + if all_held { REVIEW_EVERY } else { ASK_EVERY };
            let topics = stalled.iter().map(|(_, topic, ..)| topic.clone());
            self.inquiries.ask(producer, topics.collect());
        }
    }

    /// Holds or frees a topic: held, what of it is under way keeps nothing else back, and says nothing of the link.
    pub(crate) fn hold(&mut self, topic: &str, held: bool, now: Instant) {
        for connection in &mut self.connections {
            connection.hold(topic, held, now);
        }
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
        let number = self.lanes.get(lane.index()).map(|(number, _)| *number);
        let connection = number.and_then(|number| self.connections.get(number));
        connection.is_some_and(|one| one.is_fresh(topic))
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
    /// sent again. Some of it may arrive all the same, and then arrives twice.
    pub(crate) fn recall(&mut self, lane: LaneId) {
        let number = self.lanes.get(lane.index()).map(|(number, _)| *number);
        if let Some(connection) = number.and_then(|number| self.connections.get(number)) {
            let all = PurgeConfig::default().queue().inflight().non_blocking();
            connection.producer.purge(all);
        }
    }

    /// What the client library of a connection that has records of `topic` complained of last.
    #[must_use]
    pub(crate) fn trouble_of(&self, topic: &str) -> Option<&str> {
        let mut with = self
            .connections
            .iter()
            .filter(|one| one.under_way(topic) > 0);
        with.find_map(Connection::trouble)
    }
}
