//! What each topic has under way on one connection, and since when none of it was delivered.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Topics that are told apart; what goes to more than these is counted as one topic without a name.
const TOPICS_MAX: usize = 4096;
/// Bytes of their names, which are here twice.
const NAMES_BYTES: usize = 1 << 20;
/// The number of all topics over these.
const OTHERS: usize = 0;
/// The number of the first that was written.
pub(super) const FIRST_TOPIC: usize = OTHERS + 1;

/// Numbers for the names of topics.
#[derive(Debug)]
pub(super) struct Names {
    by_number: Vec<String>,
    numbers: HashMap<String, usize>,
    bytes: usize,
    /// Asked for last: most records go where the one before went.
    last: usize,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            by_number: vec![String::new()],
            numbers: HashMap::new(),
            bytes: 0,
            last: OTHERS,
        }
    }
}

impl Names {
    pub(super) fn number(&mut self, topic: &str) -> usize {
        if self
            .by_number
            .get(self.last)
            .is_some_and(|last| last == topic)
        {
            return self.last;
        }
        let known = self.numbers.get(topic).copied();
        self.last = known.unwrap_or_else(|| self.add(topic));
        self.last
    }

    fn add(&mut self, topic: &str) -> usize {
        let bytes = self.bytes + 2 * topic.len();
        if self.by_number.len() > TOPICS_MAX || bytes > NAMES_BYTES {
            return OTHERS;
        }
        self.bytes = bytes;
        self.by_number.push(topic.to_owned());
        let number = self.by_number.len() - 1;
        self.numbers.insert(topic.to_owned(), number);
        number
    }

    pub(super) fn name(&self, number: usize) -> &str {
        self.by_number.get(number).map_or("", String::as_str)
    }
}

/// What a topic has under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    records: usize,
    bytes: usize,
    /// When records were handed over that are under way, and how many then; the oldest first.
    handed_over: VecDeque<(Instant, usize)>,
    /// Something of it was delivered last, or the first of what is under way was handed over.
    progress: Instant,
    /// When something of it was delivered last.
    delivered: Option<Instant>,
    /// Nothing of it was delivered since the producer began, or began anew after a refusal.
    fresh: bool,
    /// Since when it is refused, though not for good, and nothing of it was delivered.
    refused: Option<Instant>,
    /// It does not count for what the connection may have under way, nor for what the link carries.
    held: bool,
}

#[derive(Debug, Default)]
pub(super) struct Accounts(Vec<Account>);

impl Accounts {
    fn of(&mut self, topic: usize, now: Instant) -> &mut Account {
        if self.0.len() <= topic {
            let empty = Account {
                records: 0,
                bytes: 0,
                handed_over: VecDeque::new(),
                progress: now,
                delivered: None,
                fresh: true,
                refused: None,
                held: false,
            };
            self.0.resize(topic + 1, empty);
        }
        &mut self.0[topic]
    }

    /// Returns whether it counts for the connection.
    pub(super) fn sent(&mut self, topic: usize, bytes: usize, now: Instant) -> bool {
        let account = self.of(topic, now);
        if account.records == 0 {
            account.progress = now;
        }
        account.records += 1;
        account.bytes += bytes;
        match account.handed_over.back_mut() {
            Some((at, count)) if *at == now => *count += 1,
            Some(_) | None => account.handed_over.push_back((now, 1)),
        }
        !account.held
    }

    /// Returns whether it counts for the connection.
    pub(super) fn landed(
        &mut self,
        topic: usize,
        bytes: usize,
        delivered: bool,
        now: Instant,
    ) -> bool {
        let account = self.of(topic, now);
        account.records = account.records.saturating_sub(1);
        account.bytes = account.bytes.saturating_sub(bytes);
        if let Some((_, count)) = account.handed_over.front_mut() {
            *count -= 1;
            account.handed_over.pop_front_if(|(_, count)| *count == 0);
        }
        if delivered {
            account.progress = now;
            account.delivered = Some(now);
            account.fresh = false;
            account.refused = None;
        }
        !account.held
    }

    /// It was refused, though not for good; since when that is so without a delivery.
    pub(super) fn refused(&mut self, topic: usize, now: Instant) -> Instant {
        *self.of(topic, now).refused.get_or_insert(now)
    }

    /// Holds or frees a topic. Returns the bytes that no longer count for the connection, or count again.
    pub(super) fn hold(&mut self, topic: usize, held: bool, now: Instant) -> usize {
        let account = self.of(topic, now);
        if std::mem::replace(&mut account.held, held) == held {
            return 0;
        }
        account.progress = now;
        account.bytes
    }

    /// The producer begins anew: librdkafka takes another producer id after a refusal, and a broker that knows none accepts a
    /// batch also where it has refused the one before.
    pub(super) fn begin_anew(&mut self) {
        self.0.iter_mut().for_each(|account| account.fresh = true);
    }

    /// Something was delivered.
    pub(super) fn deliver(&self) -> bool {
        self.0.iter().any(|account| account.delivered.is_some())
    }

    pub(super) fn is_fresh(&self, topic: usize) -> bool {
        self.0.get(topic).is_none_or(|account| account.fresh)
    }

    /// Nothing is under way, held or not.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|account| account.records == 0)
    }

    /// Records under way, held or not.
    pub(super) fn records(&self, topic: usize) -> usize {
        self.0.get(topic).map_or(0, |account| account.records)
    }

    /// Topics of which nothing was delivered for longer than `most`, though something is under way; since when, and whether
    /// they are held.
    pub(super) fn stalled(
        &self,
        most: Duration,
        now: Instant,
    ) -> impl Iterator<Item = (usize, Instant, bool)> {
        let waits = self.0.iter().enumerate().skip(OTHERS + 1);
        let waits = waits.filter(|(_, account)| account.records > 0);
        waits
            .map(|(topic, account)| (topic, account.progress, account.held))
            .filter(move |(_, since, _)| now.saturating_duration_since(*since) > most)
    }

    /// Whether `topic` keeps others of the connection from being sent: they have something under way as well, or it has so many bytes.
    pub(super) fn stands_in_the_way(&self, topic: usize, bytes: usize) -> bool {
        let mut others = self.0.iter().enumerate();
        let waits =
            |(other, one): (usize, &Account)| other != topic && one.records > 0 && !one.held;
        self.0.get(topic).is_some_and(|one| one.bytes > bytes) || others.any(waits)
    }

    /// Another topic has waited for longer than `most` for what was handed over before anything of this one: a broker answers one
    /// request of a connection after the other, so that this one may only be behind it.
    pub(super) fn waits_behind(&self, topic: usize, most: Duration, now: Instant) -> bool {
        let oldest = |account: &Account| account.handed_over.front().map(|(at, _)| *at);
        let own = self.0.get(topic).and_then(oldest);
        let mut others = self.stalled(most, now).filter(|(.., held)| !held);
        others.any(|(other, ..)| {
            let its = self.0.get(other).and_then(oldest);
            other != topic && its.zip(own).is_some_and(|(its, own)| its < own)
        })
    }

    /// Something of another topic was delivered after `since`: the connection works.
    pub(super) fn others_pass(&self, topic: usize, since: Instant) -> bool {
        let others = self.0.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != topic);
        others.any(|(_, account)| account.delivered.is_some_and(|at| at > since))
    }

    /// Since when a topic that is not held has waited for a delivery.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let waits = self.0.iter();
        let waits = waits.filter(|account| account.records > 0 && !account.held);
        waits.map(|account| account.progress).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_takes_nothing_is_told_from_one_that_does() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (mut names, mut accounts) = (Names::default(), Accounts::default());
        let (well, sick) = (names.number("well"), names.number("sick"));
        assert_eq!((names.number("well"), names.name(sick)), (well, "sick"));
        for topic in [well, sick] {
            assert!(accounts.sent(topic, 100, at(0)));
            assert!(accounts.sent(topic, 100, at(1)));
        }
        assert!(accounts.landed(well, 100, true, at(4)));
        let stalled = |accounts: &Accounts| {
            let stalled = accounts.stalled(Duration::from_secs(3), at(5));
            let stalled = stalled.filter(|(.., held)| !held);
            stalled.map(|(topic, ..)| topic).collect::<Vec<_>>()
        };
        assert_eq!(stalled(&accounts), [sick]);
        assert_eq!(accounts.waiting_since(), Some(at(0)));
        assert!(accounts.others_pass(sick, at(0)) && !accounts.others_pass(well, at(0)));
        assert_eq!(
            accounts.hold(sick, true, at(5)),
            200,
            "they no longer count"
        );
        assert_eq!(accounts.hold(sick, true, at(5)), 0, "once");
        assert!(!accounts.sent(sick, 50, at(6)) && !accounts.landed(sick, 50, false, at(6)));
        assert!(stalled(&accounts).is_empty());
        assert_eq!(accounts.waiting_since(), Some(at(4)));
        assert_eq!(
            accounts.hold(sick, false, at(7)),
            200,
            "what is left counts again"
        );
        assert!(accounts.is_fresh(sick) && !accounts.is_fresh(well));
        accounts.begin_anew();
        assert!(accounts.is_fresh(well));
        assert_eq!((accounts.records(sick), accounts.records(well)), (2, 1));
    }

    #[test]
    fn what_was_handed_over_later_waits_behind_what_takes_nothing() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let (mut accounts, [sick, behind]) = (Accounts::default(), [FIRST_TOPIC, FIRST_TOPIC + 1]);
        let waits = |accounts: &Accounts, topic| {
            accounts.waits_behind(topic, Duration::from_secs(2), at(5_000))
        };
        // What is behind was delivered last before the sick one was sent anything.
        accounts.sent(behind, 10, at(0));
        accounts.sent(behind, 10, at(0));
        for _ in 0..2 {
            accounts.landed(behind, 10, true, at(5));
        }
        accounts.sent(sick, 10, at(10));
        accounts.sent(behind, 10, at(20));
        accounts.sent(sick, 10, at(30));
        assert!(waits(&accounts, behind) && !waits(&accounts, sick));
        accounts.hold(sick, true, at(4_000));
        assert!(!waits(&accounts, behind), "it was found already");
        accounts.hold(sick, false, at(2_500));
        assert!(waits(&accounts, behind));
        accounts.landed(sick, 10, true, at(3_500));
        assert!(!waits(&accounts, behind), "that one takes something");
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        let numbers = (0..TOPICS_MAX + 10).map(|number| names.number(&number.to_string()));
        assert_eq!(numbers.last(), Some(OTHERS));
        assert_eq!(names.number("7"), 8);
        assert_eq!(names.number("another"), OTHERS);
    }
}
