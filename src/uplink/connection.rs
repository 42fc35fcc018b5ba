//! One Kafka producer, and how much it is given.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::Producer as _;

use super::accounts::{Accounts, FIRST_TOPIC};
use super::callbacks::{self, Inbox, Measured, Report, lock};
use super::failure::Failure;
use super::owned::Owned;
use super::{Delivery, UplinkError};
use crate::pace::number;
use crate::pace::{Flow, Limit, Room, Wait};

const BATCH: &str = "batch.size";
/// Batches of reports taken from a connection at once.
const POLLS: usize = 64;
/// A topic with more bytes under way than this may leave others no room.
const IN_THE_WAY: usize = 16 * 1024;
/// Bytes a second that any link is taken to carry, and a margin for what it was seen to carry.
const GOODPUT_MIN: f64 = 16e3;
const TAKES: f64 = 1.5;
/// A refusal that speaks of a moment is about the topic where it lasts longer.
const PASSES: Duration = Duration::from_secs(6);
/// How often a producer is asked whether it can still do anything, if no error makes that urgent.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// What is under way when the connection is to begin with other settings has so long to land.
const LANDING: Duration = Duration::from_secs(3);

pub(super) struct Connection {
    pub(super) producer: Owned,
    number: usize,
    config: ClientConfig,
    pub(super) inbox: Arc<Inbox>,
    /// Bytes delivered since the last statistics, and what these said of the wire and of answers.
    pub(super) landed: usize,
    wire: u64,
    answers: u64,
    pub(super) limit: Limit,
    /// `batch.size`: bytes of one request for a partition, at most.
    request: usize,
    /// Another producer takes its place once nothing is in flight, and then at the latest.
    renew: Option<Instant>,
    pub(super) accounts: Accounts,
    /// Of records under way with long texts, by token.
    surplus: HashMap<usize, usize>,
    /// Topics that are held, by name: their numbers are another producer's after a rebuild.
    held: BTreeSet<String>,
    pub(super) throttle: Duration,
    /// Whether it has a broker, by its last word on it, if it has said one.
    pub(super) connected: Option<bool>,
    /// What its client library complained of last, since it last delivered.
    trouble: Option<String>,
    /// When the producer is asked next whether it can still do anything.
    next_check: Instant,
    failure: Option<Failure>,
}

impl Connection {
    pub(super) fn new(
        config: ClientConfig,
        number: usize,
        limit: Limit,
    ) -> Result<Connection, UplinkError> {
        let request = config.get(BATCH).and_then(|bytes| bytes.parse().ok());
        let (producer, inbox) = Owned::begin(&config, number)?;
        Ok(Connection {
            producer,
            number,
            config,
            request: request.unwrap_or(usize::MAX),
            renew: None,
            inbox,
            landed: 0,
            wire: 0,
            answers: 0,
            limit,
            accounts: Accounts::default(),
            surplus: HashMap::new(),
            held: BTreeSet::new(),
            throttle: Duration::ZERO,
            connected: None,
            trouble: None,
            next_check: Instant::now(),
            failure: None,
        })
    }

    /// Bytes of one request for a partition, at most.
    pub(super) fn request(&self) -> usize {
        self.request
    }

    /// Its lanes wait for nobody, so that no flow bounds it.
    pub(super) fn is_urgent(&self) -> bool {
        self.limit.flow().is_none()
    }

    /// Has [`Connection::check`] ask the producer at once: there was an error.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.next_check = self.next_check.min(now);
    }

    /// Its client library complains.
    pub(super) fn is_in_trouble(&mut self, reason: &str, now: Instant) {
        self.trouble = Some(reason.to_owned());
        self.suspect(now);
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Asks the producer whether it can still do anything.
    pub(super) fn check(&mut self, now: Instant) {
        if now < self.next_check || self.rebuild_at().is_some() {
            return;
        }
        self.next_check = now + CHECK_EVERY;
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            self.fail(format!("{reason} ({code})"), now);
        }
    }

    /// The producer can do nothing any more. Says so once, until it delivers again.
    pub(super) fn fail(&mut self, reason: String, now: Instant) {
        let before = self.failure.take();
        if before.is_none() {
            tracing::error!(
                connection = self.number,
                urgent = self.is_urgent(),
                reason,
                "the kafka producer of a connection can do nothing any more; it is rebuilt and sends again what was in flight; nothing is lost, some events may be repeated with the same id"
            );
        } else {
            tracing::debug!(
                connection = self.number,
                reason,
                "the kafka producer failed again"
            );
        }
        self.failure = Some(Failure::new(reason, before, now));
    }

    /// Why it was rebuilt or waits for that, until it delivers again.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(Failure::reason)
    }

    pub(super) fn rebuild_at(&self) -> Option<Instant> {
        self.failure.as_ref().and_then(Failure::rebuild_at)
    }

    /// Replaces a producer that failed, if that is due; says whether it did. What was in flight is forgotten then.
    pub(super) fn rebuild(&mut self, now: Instant) -> bool {
        if self.rebuild_at().is_none_or(|at| now < at) {
            return false;
        }
        let replaced = self.replace();
        let made = replaced.is_ok();
        match replaced {
            Ok(old) => drop(old),
            Err(error) => {
                tracing::error!(connection = self.number, %error, "cannot make a kafka producer; trying again");
            }
        }
        if let Some(failure) = &mut self.failure {
            failure.rebuilt(made, now);
        }
        if made {
            self.limit.landed(self.limit.in_flight(), false, now);
        }
        made
    }

    /// Begins anew with other settings: at once where it is not connected, which the old ones may be the reason for, else once
    /// nothing is in flight, or has had its time.
    pub(super) fn begin_with(&mut self, config: ClientConfig, now: Instant) {
        self.config = config;
        self.renew = Some(now + LANDING);
    }

    /// Makes it anew if that is due; says whether what was in flight is forgotten.
    pub(super) fn renew(&mut self, now: Instant) -> Result<bool, UplinkError> {
        let Some(until) = self.renew else {
            return Ok(false);
        };
        if self.limit.in_flight() > 0 && self.connected == Some(true) && now < until {
            return Ok(false);
        }
        self.renew = None;
        let forgets = !self.accounts.is_empty();
        drop(self.replace()?);
        self.limit.forget(self.limit.in_flight());
        Ok(forgets)
    }

    /// It has delivered with its present settings.
    pub(super) fn delivers(&self) -> bool {
        self.renew.is_none() && self.accounts.deliver()
    }

    /// It has a broker, and is not to begin anew.
    pub(super) fn stands(&self) -> bool {
        self.connected == Some(true) && self.renew.is_none()
    }

    /// Begins with a new producer at once; says whether it could be made. What was in flight is forgotten then.
    pub(super) fn begin_anew(&mut self) -> bool {
        match self.replace() {
            Ok(old) => {
                drop(old);
                self.limit.forget(self.limit.in_flight());
                true
            }
            Err(error) => {
                tracing::error!(connection = self.number, %error, "cannot make a new kafka producer; the old one goes on");
                self.renew = None;
                false
            }
        }
    }

    /// Nothing else is delivered since then, and others wait.
    pub(super) fn is_stopped_by(&self, topic: &str, since: Instant) -> bool {
        let number = lock(&self.inbox.names).number(topic);
        self.accounts.records(number) > 0
            && !self.accounts.others_pass(number, since)
            && self.accounts.stands_in_the_way(number, IN_THE_WAY)
    }

    /// Begins with a new producer, and gives back the old one.
    fn replace(&mut self) -> Result<Owned, UplinkError> {
        let (new, inbox) = Owned::begin(&self.config, self.number)?;
        self.inbox = inbox;
        (self.connected, self.renew) = (None, None);
        (self.landed, self.wire, self.answers) = (0, 0, 0);
        (self.accounts, self.surplus) = (Accounts::default(), HashMap::new());
        for topic in self.held.clone() {
            self.account(&topic, true, Instant::now());
        }
        Ok(std::mem::replace(&mut self.producer, new))
    }

    pub(super) fn ask(&mut self, next: usize, now: Instant) -> Room {
        if let Some((until, failure)) = self.rebuild_at().zip(self.failure()) {
            let why = Wait::ProducerFailed(failure.to_owned());
            return Room::Closed { until, why };
        }
        if self.renew.is_some() {
            return Room::WhenDelivered;
        }
        self.limit.ask(next, now)
    }

    /// `surplus` is what key and headers take beyond what is counted with every record: librdkafka's report does not say it.
    pub(super) fn sent(
        &mut self,
        token: usize,
        bytes: usize,
        surplus: usize,
        topic: &str,
        now: Instant,
    ) {
        if surplus > 0 {
            self.surplus.insert(token, surplus);
        }
        let bytes = bytes + surplus;
        let topic = lock(&self.inbox.names).number(topic);
        if self.accounts.sent(topic, bytes, now) {
            self.limit.sent(bytes, now);
        }
    }

    /// Holds or frees a topic: held, it does not count for what the connection may have under way.
    pub(super) fn hold(&mut self, topic: &str, held: bool, now: Instant) {
        let changed = if held {
            self.held.insert(topic.to_owned())
        } else {
            self.held.remove(topic)
        };
        if changed {
            self.account(topic, held, now);
        }
    }

    fn account(&mut self, topic: &str, held: bool, now: Instant) {
        let number = lock(&self.inbox.names).number(topic);
        let bytes = self.accounts.hold(number, held, now);
        if held {
            self.limit.forget(bytes);
        } else {
            self.limit.sent(bytes, now);
        }
    }

    /// How long what is under way may take to be delivered, by what was delivered before.
    pub(super) fn takes(&self) -> Duration {
        let goodput = self.limit.flow().map_or(0.0, Flow::goodput);
        let seconds = number::float(self.limit.in_flight() as u64) / goodput.max(GOODPUT_MIN);
        Duration::from_secs_f64(seconds * TAKES)
    }

    /// Something of another topic was delivered here after `since`.
    pub(super) fn others_pass(&self, topic: &str, since: Instant) -> bool {
        let number = lock(&self.inbox.names).number(topic);
        self.accounts.others_pass(number, since)
    }

    /// A topic that it writes, if it has written any.
    pub(super) fn some_topic(&self) -> Option<String> {
        let names = lock(&self.inbox.names);
        let first = names.name(FIRST_TOPIC);
        (!first.is_empty()).then(|| first.to_owned())
    }

    pub(super) fn waits_behind(&self, topic: &str, most: Duration, now: Instant) -> bool {
        let number = lock(&self.inbox.names).number(topic);
        self.accounts.waits_behind(number, most, now)
    }

    /// Records of `topic` under way.
    pub(super) fn under_way(&self, topic: &str) -> usize {
        let number = lock(&self.inbox.names).number(topic);
        self.accounts.records(number)
    }

    /// Nothing of `topic` was delivered yet since the producer began.
    pub(super) fn is_fresh(&self, topic: &str) -> bool {
        let number = lock(&self.inbox.names).number(topic);
        self.accounts.is_fresh(number)
    }

    /// Takes in a report. Returns the topic if it is held, and takes records again.
    pub(super) fn landed(&mut self, report: &Report, now: Instant) -> Option<String> {
        let bytes = report.bytes + self.surplus.remove(&report.token).unwrap_or(0);
        let delivered = report.outcome == Delivery::Delivered;
        let counts = self.accounts.landed(report.topic, bytes, delivered, now);
        if counts {
            self.limit.landed(bytes, delivered, now);
        }
        if !delivered {
            self.accounts.begin_anew();
            self.suspect(now);
            return None;
        }
        self.connected = Some(true);
        self.trouble = None;
        // What a broken producer still has to say is no sign of a new one.
        if self.rebuild_at().is_none()
            && let Some(failure) = self.failure.take()
        {
            let (connection, rebuilds) = (self.number, failure.rebuilds());
            tracing::info!(connection, rebuilds, "the new kafka producer delivers");
        }
        self.landed += bytes;
        if counts {
            return None;
        }
        let names = lock(&self.inbox.names);
        Some(names.name(report.topic).to_owned())
    }

    /// What became of a record whose report was taken in.
    pub(super) fn outcome(&mut self, report: Report, now: Instant) -> Delivery {
        let Some(code) = report.passing else {
            return report.outcome;
        };
        let since = self.accounts.refused(report.topic, now);
        let topic = lock(&self.inbox.names).name(report.topic).to_owned();
        if now.saturating_duration_since(since) < PASSES || topic.is_empty() {
            return report.outcome;
        }
        let reason = callbacks::reason(code);
        Delivery::Blocked { topic, reason }
    }

    /// Takes in statistics. Returns how many bytes went over the wire since the last ones, how many bytes of records were
    /// delivered meanwhile, and whether a broker answered.
    pub(super) fn carried(&mut self, measured: &Measured) -> (u64, usize, bool) {
        let wire = measured.wire.saturating_sub(self.wire);
        let answered = measured.answers != self.answers && measured.answers > 0;
        let landed = std::mem::take(&mut self.landed);
        (self.wire, self.answers) = (measured.wire, measured.answers);
        (wire, landed, answered)
    }

    /// Serves callbacks; says whether there were reports.
    pub(super) fn poll(&self) -> bool {
        self.inbox
            .hear(POLLS, || self.producer.poll(Duration::ZERO))
    }
}
