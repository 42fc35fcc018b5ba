//! What librdkafka says to the agent: delivery reports, errors, statistics and log lines, when it is polled.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _, Timestamp};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use super::Delivery;
use super::accounts::Names;

/// Errors and statistics that wait to be looked at; more of the same say nothing new.
const SAID_MAX: usize = 64;

/// Statistics in a row without any broker, after which a connection has forgotten them all. librdkafka does so
/// when a broker that is not yet let in again names none (confluentinc/librdkafka issue 5301), and never
/// connects again.
const FORGOTTEN: u32 = 3;

/// What the callbacks of one producer leave for the agent. Each producer has an inbox of its own, so that nobody reads what
/// one that was replaced still says.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) reports: Mutex<Vec<Report>>,
    /// Numbers of the topics that this producer writes.
    pub(super) names: Mutex<Names>,
    pub(super) said: Mutex<Vec<Said>>,
    /// Callbacks served so far.
    heard: AtomicUsize,
}

/// librdkafka's delivery report.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) token: usize,
    /// No longer in flight.
    pub(super) bytes: usize,
    /// Its number in [`Inbox::names`].
    pub(super) topic: usize,
    pub(super) outcome: Delivery,
    /// What a broker answered, where that speaks of a moment or of this producer.
    pub(super) passing: Option<Code>,
    pub(super) appended_ms: Option<i64>,
}

/// What a producer says besides its delivery reports.
#[derive(Debug)]
pub(super) enum Said {
    /// Whether it has a broker.
    Connected(bool),
    Trouble(String),
    /// It has forgotten all its brokers.
    Forgotten,
    Measured(Measured),
}

/// Of a producer in the last second.
#[derive(Debug)]
pub(super) struct Measured {
    /// The least of a request, if there was one.
    pub(super) round_trip: Option<Duration>,
    /// For how long brokers throttled it, at most.
    pub(super) throttle: Duration,
    /// Bytes on the wire since the producer was made, both ways.
    pub(super) wire: u64,
    /// Responses from brokers since then. They change as long as a broker answers.
    pub(super) answers: u64,
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

    fn say(&self, what: Said) {
        let mut said = lock(&self.inbox.said);
        if said.len() < SAID_MAX {
            said.push(what);
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
        let up = brokers().any(|broker| broker.state == "UP");
        self.say(Said::Connected(up));
        if brokers().next().is_some() {
            self.without.store(0, Ordering::Relaxed);
        } else if self.without.fetch_add(1, Ordering::Relaxed) + 1 >= FORGOTTEN {
            self.say(Said::Forgotten);
        }
        let throttle = brokers().filter_map(|broker| broker.throttle.as_ref());
        let throttle = throttle.map(|window| window.max).max().unwrap_or(0);
        let requests = brokers().filter_map(|broker| broker.rtt.as_ref());
        let least = requests
            .filter(|window| window.cnt > 0)
            .map(|window| window.min);
        let micros = |time: i64| Duration::from_micros(u64::try_from(time).unwrap_or(0));
        let answers = brokers().map(|broker| broker.rx);
        self.say(Said::Measured(Measured {
            round_trip: least.min().map(micros),
            throttle: micros(throttle * 1000),
            wire: wire(&statistics),
            answers: if up { answers.sum() } else { 0 },
        }));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.inbox.hear_one();
        // A fatal error comes with the code of its cause, so that only the producer itself can be asked whether it is one.
        self.say(match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => Said::Connected(false),
            Some(_) | None => Said::Trouble(reason.to_owned()),
        });
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inbox.hear_one();
        // An idempotent producer that gets no producer id sends nothing, and says so nowhere else.
        if facility == "GETPID" {
            self.say(Said::Trouble(message.to_owned()));
        }
        tracing::debug!(connection = self.number, facility, "{message}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        self.inbox.hear_one();
        let (message, outcome, code) = match result {
            // No broker said where it is. A batch behind it was taken, from which librdkafka concludes that this one was before; but a
            // broker that knows nothing of the producer takes any batch first, also behind one that it refused.
            Ok(message) if message.offset() < 0 => (message, Delivery::Again, None),
            Ok(message) => (message, Delivery::Delivered, None),
            Err((error, message)) => (
                message,
                sort(error, message.topic()),
                error.rdkafka_error_code(),
            ),
        };
        let again = outcome == Delivery::Again;
        let report = Report {
            token,
            bytes: cost(message.payload().map_or(0, <[u8]>::len)),
            topic: lock(&self.inbox.names).number(message.topic()),
            outcome,
            passing: code.filter(|code| again && is_answer(*code)),
            appended_ms: match message.timestamp() {
                Timestamp::LogAppendTime(ms) => Some(ms),
                Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
            },
        };
        lock(&self.inbox.reports).push(report);
    }
}

/// Sorts a failure by what is to be done next. What librdkafka gives up on is worth another try where the link or the
/// producer is at fault; anything else that a broker answers is about the topic.
pub(super) fn sort(error: &KafkaError, topic: &str) -> Delivery {
    let Some(code) = error.rdkafka_error_code() else {
        return Delivery::Again;
    };
    let (reason, topic) = (reason(code), topic.to_owned());
    if is_rejection(code) {
        Delivery::Rejected { reason }
    } else if code == Code::InvalidTimestamp {
        Delivery::Untimely { topic, reason }
    } else if matches!(
        code,
        Code::PurgeQueue | Code::PurgeInflight | Code::InvalidDifferentRecord
    ) {
        Delivery::Recalled
    } else if is_passing(code) {
        Delivery::Again
    } else {
        Delivery::Blocked { topic, reason }
    }
}

/// The record itself is at fault, and always will be.
fn is_rejection(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::PolicyViolation
    )
}

/// What librdkafka calls an error, with the number that Kafka gives it.
pub(super) fn reason(code: Code) -> String {
    format!("{code} (Kafka error {})", code as i32)
}

/// A broker says it, and not librdkafka.
fn is_answer(code: Code) -> bool {
    code as i32 > 0 || code == Code::Unknown
}

/// librdkafka's own error, or a broker's answer that speaks of a moment or of this producer, and not of the topic.
fn is_passing(code: Code) -> bool {
    let ours = (code as i32) < 0 && !matches!(code, Code::UnknownTopic | Code::UnknownPartition);
    ours || matches!(
        code,
        Code::InvalidMessage
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::OutOfOrderSequenceNumber
            | Code::DuplicateSequenceNumber
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::InvalidTransactionalState
            | Code::KafkaStorageError
            | Code::UnknownProducerId
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::StaleBrokerEpoch
    )
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Broker;

    use super::*;

    #[test]
    fn a_producer_that_forgot_all_its_brokers_says_so_and_one_that_cannot_reach_them_does_not() {
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
        let said = || std::mem::take(&mut *lock(&inbox.said));
        let forgotten = |all: &[Said]| all.iter().any(|one| matches!(one, Said::Forgotten));
        let all = said();
        assert!(!forgotten(&all), "an outage rebuilds nothing");
        assert!(
            all.iter()
                .all(|one| matches!(one, Said::Connected(false) | Said::Measured(_)))
        );
        context.stats(statistics(&[internal]));
        assert!(forgotten(&said()));
    }
}
