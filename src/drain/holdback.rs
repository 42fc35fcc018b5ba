//! Topics that the cluster does not take, and lanes that go on one record at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use buffer::LaneId;

/// A topic that stays blocked is told of this often.
const TELL_EVERY: Duration = Duration::from_mins(15);
/// Pause before a record is sent again that the cluster did not take this time.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Holdback {
    topic_retry: Duration,
    /// Until when, and why.
    topics: HashMap<String, (Instant, String)>,
    told: HashMap<String, Instant>,
    /// Until when records wait that are to be sent again.
    again: Option<Instant>,
    /// Lanes with the same number write to the same topic, so that a batch may hold records of all.
    topic_of: Vec<usize>,
    /// A broker refuses a whole batch for one record that is too large: into these topics goes one record
    /// at a time until so many have gone through, and only a record refused alone is given up.
    careful: HashMap<usize, Careful>,
}

#[derive(Debug, Default)]
struct Careful {
    left: u32,
    /// Sent while nothing else was in flight.
    alone: Option<(LaneId, u64)>,
}

impl Holdback {
    /// `topics` has the topic of each lane, as configured.
    pub(crate) fn new<T: PartialEq>(topic_retry: Duration, topics: &[T]) -> Holdback {
        let first = |topic| topics.iter().position(|other| other == topic).unwrap_or(0);
        Holdback {
            topic_of: topics.iter().map(first).collect(),
            topic_retry,
            topics: HashMap::new(),
            told: HashMap::new(),
            again: None,
            careful: HashMap::new(),
        }
    }

    /// The cluster does not take `topic` for now.
    pub(crate) fn block(&mut self, topic: String, reason: String, now: Instant) {
        let told = self
            .told
            .get(&topic)
            .is_some_and(|at| *at + TELL_EVERY > now);
        if !told {
            tracing::error!(topic, reason, retry_every = ?self.topic_retry,
                "the cluster does not take this topic; create it or grant the right to write; its events wait in the buffer");
            self.told.insert(topic.clone(), now);
        }
        self.topics.insert(topic, (now + self.topic_retry, reason));
    }

    /// A record is to be sent again after a pause.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.again = Some(now + AGAIN);
    }

    pub(super) fn is_blocked(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Whether something that was held back is to be tried again now.
    pub(super) fn expired(&mut self, now: Instant) -> bool {
        let before = self.topics.len();
        self.topics.retain(|_, (until, _)| *until > now);
        let again = self.again.take_if(|until| *until <= now).is_some();
        again || self.topics.len() < before
    }

    /// Nothing is being held back.
    pub(super) fn is_idle(&self) -> bool {
        self.topics.is_empty() && self.again.is_none()
    }

    fn topic_of(&self, lane: LaneId) -> usize {
        self.topic_of.get(lane.index()).copied().unwrap_or(0)
    }

    /// Records of both may be in one batch.
    pub(crate) fn share(&self, one: LaneId, other: LaneId) -> bool {
        self.topic_of(one) == self.topic_of(other)
    }

    /// A record of `lane` was refused for its size, in a batch with others.
    pub(crate) fn suspect(&mut self, lane: LaneId) {
        let careful = self.careful.entry(self.topic_of(lane)).or_default();
        careful.left += 1;
        careful.alone = None;
    }

    pub(super) fn is_careful(&self, lane: LaneId) -> bool {
        self.careful.contains_key(&self.topic_of(lane))
    }

    /// This record is handed over; if its topic is careful, while no other is in flight there.
    pub(crate) fn alone(&mut self, lane: LaneId, token: u64) {
        if let Some(careful) = self.careful.get_mut(&self.topic_of(lane)) {
            careful.alone = Some((lane, token));
        }
    }

    /// What is refused alone is itself at fault, not another record of its batch.
    pub(super) fn was_alone(&self, lane: LaneId, token: u64) -> bool {
        let careful = self.careful.get(&self.topic_of(lane));
        careful.is_some_and(|careful| careful.alone == Some((lane, token)))
    }

    /// A record of `lane` went through, or was given up.
    pub(crate) fn passed(&mut self, lane: LaneId) {
        let topic = self.topic_of(lane);
        if let Some(careful) = self.careful.get_mut(&topic) {
            careful.left -= 1;
            if careful.left == 0 {
                self.careful.remove(&topic);
            }
        }
    }

    /// Blocked topics, and why.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &str)> {
        self.topics
            .iter()
            .map(|(topic, (_, reason))| (topic.as_str(), reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_tried_again_after_its_time() {
        let begun = Instant::now();
        let mut holdback = Holdback::new(Duration::from_secs(30), &["a"]);
        holdback.block("a".into(), "unknown".into(), begun);
        assert!(holdback.is_blocked("a") && !holdback.expired(begun + Duration::from_secs(29)));
        assert!(holdback.expired(begun + Duration::from_secs(30)) && !holdback.is_blocked("a"));
        assert!(holdback.is_idle());
    }

    #[test]
    fn lanes_of_a_topic_are_careful_until_its_suspects_passed() {
        let mut holdback = Holdback::new(Duration::from_secs(30), &["a", "b", "a"]);
        holdback.suspect(LaneId(0));
        holdback.suspect(LaneId(0));
        assert!(holdback.is_careful(LaneId(2)) && !holdback.is_careful(LaneId(1)));
        holdback.passed(LaneId(2));
        assert!(holdback.is_careful(LaneId(0)));
        holdback.passed(LaneId(0));
        assert!(!holdback.is_careful(LaneId(0)));
    }

    #[test]
    fn the_last_of_a_refused_batch_was_not_alone() {
        let mut holdback = Holdback::new(Duration::from_secs(30), &["a"]);
        for token in 0..3 {
            assert!(!holdback.was_alone(LaneId(0), token));
            holdback.suspect(LaneId(0));
        }
        holdback.alone(LaneId(0), 0);
        assert!(holdback.was_alone(LaneId(0), 0) && !holdback.was_alone(LaneId(0), 2));
    }
}
