//! What librdkafka says to the agent: reports, signals and log lines, when it is polled.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use super::{Delivery, Signal};

/// Signals that wait to be looked at; more of the same say nothing new.
const SIGNALS_MAX: usize = 64;

/// Statistics in a row without any broker, after which a connection has forgotten them all. librdkafka does so
/// when a broker that is not yet let in again names none (confluentinc/librdkafka issue 5301), and never
/// connects again.
const FORGOTTEN: u32 = 3;

/// What the callbacks leave for the agent.
#[derive(Default)]
pub(super) struct Inbox {
    /// Token, bytes that are no longer in flight, and outcome.
    pub(super) reports: Mutex<Vec<(usize, usize, Delivery)>>,
    pub(super) signals: Mutex<Vec<Signal>>,
    /// Connection, and whether it has a broker.
    pub(super) connected: Mutex<Vec<(usize, bool)>>,
    pub(super) measured: Mutex<Vec<Measured>>,
    /// Callbacks served so far.
    heard: AtomicUsize,
}

/// Of a connection in the last second.
pub(super) struct Measured {
    pub(super) connection: usize,
    /// The least of a request, if there was one.
    pub(super) round_trip: Option<Duration>,
    /// For how long brokers throttled it, at most.
    pub(super) throttle: Duration,
    /// Bytes on the wire since the connection was made, both ways.
    pub(super) wire: u64,
}

impl Inbox {
    fn reports(&self) -> usize {
        lock(&self.reports).len()
    }

    /// Serves the callbacks of a connection by `poll`, one batch of them at a call, at most `most` times;
    /// says whether there were reports. An error or statistics before them in the queue is a batch too.
    pub(super) fn hear(&self, most: usize, poll: impl Fn()) -> bool {
        let before = self.reports();
        for _ in 0..most {
            let heard = self.heard.load(Ordering::Relaxed);
            poll();
            if self.heard.load(Ordering::Relaxed) == heard {
                break;
            }
        }
        self.reports() > before
    }

    fn hear_one(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }
}

/// TCP and IP headers of a segment, with time stamps, and what it carries.
const HEADERS: u64 = 52;
const SEGMENT: u64 = 1400;

/// Kafka's bytes, and an estimate of what TCP and IP add: what is sent again, and TLS, is not in it.
fn wire(statistics: &Statistics) -> u64 {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let bytes = count(statistics.tx_bytes) + count(statistics.rx_bytes);
    let segments = count(statistics.tx) + count(statistics.rx) + bytes / SEGMENT;
    bytes + segments * HEADERS
}

/// What a record takes in flight besides its payload: key, headers and librdkafka's own.
pub(super) fn cost(payload: usize) -> usize {
    payload + 256
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Context {
    number: usize,
    inbox: Arc<Inbox>,
    /// Statistics in a row without any broker.
    without: AtomicU32,
}

impl Context {
    pub(super) fn new(number: usize, inbox: &Arc<Inbox>) -> Context {
        Context {
            number,
            inbox: Arc::clone(inbox),
            without: AtomicU32::new(0),
        }
    }

    fn connected(&self, connected: bool) {
        lock(&self.inbox.connected).push((self.number, connected));
    }

    fn signal(&self, signal: Signal) {
        let mut signals = lock(&self.inbox.signals);
        if signals.len() < SIGNALS_MAX {
            signals.push(signal);
        }
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.inbox.hear_one();
        let brokers = || {
            statistics
                .brokers
                .values()
                .filter(|broker| broker.source != "internal")
        };
        self.connected(brokers().any(|broker| broker.state == "UP"));
        if brokers().next().is_some() {
            self.without.store(0, Ordering::Relaxed);
        } else if self.without.fetch_add(1, Ordering::Relaxed) + 1 >= FORGOTTEN {
            self.signal(Signal::Fatal {
                connection: self.number,
                reason: "a broker that was not ready named no brokers, and librdkafka forgot those it had".into(),
            });
        }
        let throttle = brokers().filter_map(|broker| broker.throttle.as_ref());
        let throttle = throttle.map(|window| window.max).max().unwrap_or(0);
        let requests = brokers().filter_map(|broker| broker.rtt.as_ref());
        let least = requests
            .filter(|window| window.cnt > 0)
            .map(|window| window.min);
        let micros = |time: i64| Duration::from_micros(u64::try_from(time).unwrap_or(0));
        lock(&self.inbox.measured).push(Measured {
            connection: self.number,
            round_trip: least.min().map(micros),
            throttle: micros(throttle * 1000),
            wire: wire(&statistics),
        });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.inbox.hear_one();
        match error.rdkafka_error_code() {
            Some(Code::Fatal) => {
                self.signal(Signal::Fatal {
                    connection: self.number,
                    reason: reason.to_owned(),
                });
            }
            Some(Code::AllBrokersDown) => self.connected(false),
            Some(_) | None => self.signal(Signal::Trouble(reason.to_owned())),
        }
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inbox.hear_one();
        tracing::debug!(connection = self.number, facility, "{message}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        self.inbox.hear_one();
        let (message, outcome) = match result {
            Ok(message) => (message, Delivery::Delivered),
            Err((error, message)) => (message, sort(error, message.topic())),
        };
        let bytes = cost(message.payload().map_or(0, <[u8]>::len));
        lock(&self.inbox.reports).push((token, bytes, outcome));
    }
}

/// Sorts a failure by what is to be done next. Codes that are not named are worth another try.
pub(super) fn sort(error: &KafkaError, topic: &str) -> Delivery {
    let reason = || error.to_string();
    match error.rdkafka_error_code() {
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation,
        ) => Delivery::Rejected { reason: reason() },
        Some(
            Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ) => Delivery::Blocked {
            topic: topic.to_owned(),
            reason: reason(),
        },
        _ => Delivery::Again,
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Broker;

    use super::*;

    #[test]
    fn a_connection_that_forgot_all_its_brokers_is_told_and_one_that_cannot_reach_them_is_not() {
        let broker = |source: &str, state: &str| Broker {
            source: source.into(),
            state: state.into(),
            ..Broker::default()
        };
        let statistics = |brokers: &[Broker]| Statistics {
            brokers: brokers
                .iter()
                .map(|broker| (broker.source.clone(), broker.clone()))
                .collect(),
            ..Statistics::default()
        };
        let inbox = Arc::new(Inbox::default());
        let context = Context::new(1, &inbox);
        let internal = broker("internal", "UP");
        for _ in 0..100 {
            context.stats(statistics(&[
                internal.clone(),
                broker("configured", "DOWN"),
            ]));
        }
        context.stats(statistics(std::slice::from_ref(&internal)));
        context.stats(statistics(&[]));
        let is_fatal = |signal: &Signal| matches!(signal, Signal::Fatal { connection: 1, .. });
        let told = || lock(&inbox.signals).drain(..).any(|one| is_fatal(&one));
        assert!(!told(), "an outage makes nothing anew");
        context.stats(statistics(&[internal]));
        assert!(told());
        assert!(
            lock(&inbox.connected)
                .iter()
                .all(|said| *said == (1, false))
        );
    }
}
