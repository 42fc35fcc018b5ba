//! Topics that the cluster does not take: each keeps its own lanes back, and nobody else's.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// A topic that stays held for the same reason is logged this often.
const TELL_EVERY: Duration = Duration::from_mins(15);
/// Topics that are held at once; lanes with one topic have at most one each.
const HELD_MAX: usize = 1024;
/// Topics whose last log line is remembered.
const TOLD_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Topics {
    retry: Duration,
    held: BTreeMap<String, Held>,
    told: HashMap<String, (Instant, String)>,
    /// One was freed: what was deferred for it is to be tried again.
    freed: bool,
}

#[derive(Debug)]
struct Held {
    reason: String,
    since: Instant,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The client library has records of it, and goes on trying these.
    Stalled,
    /// The cluster refused it; one record is tried then.
    Refused(Instant),
    /// One record may leave, to find out.
    Due,
    /// That record is under way.
    Probing,
}

/// Whether a record of a topic may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Free,
    /// This one, and none after it.
    Probe,
    /// Not before then; `stalled` records of it are under way.
    Held {
        until: Instant,
        stalled: bool,
    },
}

impl Topics {
    /// How often a topic that is refused is tried from now on.
    pub(super) fn retry(&mut self, every: Duration) {
        self.retry = every;
    }

    pub(super) fn new(retry: Duration) -> Topics {
        Topics {
            retry,
            held: BTreeMap::new(),
            told: HashMap::new(),
            freed: false,
        }
    }

    /// The cluster refused a record for its topic. Returns whether it is held: not where there are too many.
    pub(super) fn refuse(&mut self, topic: &str, reason: &str, now: Instant) -> bool {
        self.hold(topic, reason, Phase::Refused(now + self.retry), now)
    }

    /// Nothing of it is delivered while brokers answer. Returns as [`Topics::refuse`].
    pub(super) fn stall(&mut self, topic: &str, reason: &str, now: Instant) -> bool {
        self.hold(topic, reason, Phase::Stalled, now)
    }

    /// What topics that are held had under way is taken back: they are probed later.
    pub(super) fn refuse_again(&mut self, now: Instant) {
        let until = now + self.retry;
        for held in self.held.values_mut() {
            held.phase = Phase::Refused(until);
        }
    }

    fn hold(&mut self, topic: &str, reason: &str, phase: Phase, now: Instant) -> bool {
        if self.held.len() >= HELD_MAX && !self.held.contains_key(topic) {
            return false;
        }
        let told = self.told.get(topic);
        if told.is_none_or(|(at, last)| *at + TELL_EVERY <= now || last != reason) {
            tracing::error!(topic, reason, retry_every = ?self.retry,
                "the cluster does not take this topic; its events wait in the buffer, and all other topics go on");
            if self.told.len() >= TOLD_MAX {
                self.told.clear();
            }
            self.told.insert(topic.into(), (now, reason.into()));
        }
        let since = self.held.get(topic).map_or(now, |held| held.since);
        let held = Held {
            reason: reason.into(),
            since,
            phase,
        };
        self.held.insert(topic.into(), held);
        true
    }

    /// The cluster took a record of it.
    pub(super) fn accept(&mut self, topic: &str, now: Instant) {
        if let Some(held) = self.held.remove(topic) {
            let seconds = now.saturating_duration_since(held.since).as_secs();
            tracing::info!(
                topic,
                seconds,
                "the cluster takes this topic again; what waited for it follows"
            );
            self.told.remove(topic);
            self.freed = true;
        }
    }

    pub(super) fn verdict(&self, topic: &str, now: Instant) -> Verdict {
        let Some(held) = self.held.get(topic) else {
            return Verdict::Free;
        };
        let until = match held.phase {
            Phase::Due => return Verdict::Probe,
            Phase::Refused(until) => until,
            // Its end is told by a report.
            Phase::Stalled | Phase::Probing => now + self.retry,
        };
        Verdict::Held {
            until,
            stalled: held.phase == Phase::Stalled,
        }
    }

    /// The record that a verdict allowed has left.
    pub(super) fn probes(&mut self, topic: &str) {
        if let Some(held) = self.held.get_mut(topic) {
            held.phase = Phase::Probing;
        }
    }

    /// Whether what was deferred is to be tried again now: a topic was freed, or is to be probed.
    pub(super) fn expired(&mut self, now: Instant) -> bool {
        let mut expired = std::mem::take(&mut self.freed);
        for held in self.held.values_mut() {
            if matches!(held.phase, Phase::Refused(until) if until <= now) {
                held.phase = Phase::Due;
                expired = true;
            }
        }
        expired
    }

    /// Nobody tries a topic of which nothing is under way any more, as after its producer was rebuilt: it is freed, or to be
    /// probed. Returns those that were freed.
    pub(super) fn revise(&mut self, under_way: impl Fn(&str) -> usize) -> Vec<String> {
        let mut freed = Vec::new();
        self.held.retain(|topic, held| {
            if under_way(topic) > 0 {
                return true;
            }
            if held.phase == Phase::Probing {
                held.phase = Phase::Due;
            }
            if held.phase == Phase::Stalled {
                freed.push(topic.clone());
            }
            held.phase != Phase::Stalled
        });
        self.freed |= !freed.is_empty();
        freed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Which topic is held, and why.
    pub(super) fn reason(&self, topic: &str) -> Option<String> {
        let held = self.held.get(topic)?;
        Some(format!("{topic}: {}", held.reason))
    }

    /// Why the cluster refuses it; none where it is only slow, or is not known to be refused.
    pub(super) fn refusal(&self, topic: &str) -> Option<&str> {
        let held = self.held.get(topic)?;
        (held.phase != Phase::Stalled).then_some(held.reason.as_str())
    }

    /// Topics that are held, and why.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let held = self.held.iter();
        held.map(|(topic, held)| (topic.as_str(), held.reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(30);

    #[test]
    fn a_refused_topic_is_probed_with_one_record_after_its_time() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut topics = Topics::new(RETRY);
        assert_eq!(topics.verdict("a", at(0)), Verdict::Free);
        assert!(topics.refuse("a", "unknown", at(0)));
        assert!(!topics.expired(at(29)) && topics.verdict("b", at(29)) == Verdict::Free);
        let held = Verdict::Held {
            until: at(30),
            stalled: false,
        };
        assert_eq!(topics.verdict("a", at(29)), held);
        assert_eq!(topics.reason("a").as_deref(), Some("a: unknown"));
        assert!(topics.expired(at(30)) && topics.verdict("a", at(30)) == Verdict::Probe);
        topics.probes("a");
        assert!(matches!(topics.verdict("a", at(31)), Verdict::Held { .. }));
        assert!(topics.refuse("a", "unknown", at(31)));
        assert!(topics.expired(at(61)));
        topics.probes("a");
        assert!(topics.revise(|_| 0).is_empty(), "what was sent came back");
        assert_eq!(
            topics.verdict("a", at(62)),
            Verdict::Probe,
            "so another is tried"
        );
        topics.accept("a", at(63));
        assert!(topics.is_empty() && topics.expired(at(63)) && !topics.expired(at(63)));
    }

    #[test]
    fn a_stalled_topic_is_freed_by_a_delivery_or_when_nothing_is_under_way_any_more() {
        let now = Instant::now();
        let mut topics = Topics::new(RETRY);
        assert!(topics.stall("a", "no leader", now) && topics.stall("b", "no leader", now));
        assert!(topics.revise(|_| 1).is_empty() && !topics.is_empty());
        assert!(matches!(
            topics.verdict("a", now),
            Verdict::Held { stalled: true, .. }
        ));
        assert_eq!(topics.revise(|topic| usize::from(topic == "a")), ["b"]);
        topics.accept("a", now);
        assert!(topics.is_empty() && topics.expired(now));
        let more = |number: usize| topics.refuse(&number.to_string(), "unknown", now);
        let held = (0..HELD_MAX + 10).map(more).filter(|held| *held).count();
        assert_eq!(held, HELD_MAX, "however many there are");
    }
}
