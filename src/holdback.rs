//! Topics that the cluster does not take, and lanes that go on one record at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use buffer::LaneId;

/// A topic that stays blocked is told of this often.
const TELL_EVERY: Duration = Duration::from_mins(15);
/// Pause before a record is sent again that the cluster did not take this time.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Holdback {
    topic_retry: Duration,
    /// Until when, and why.
    topics: HashMap<String, (Instant, String)>,
    told: HashMap<String, Instant>,
    /// Until when records wait that are to be sent again.
    again: Option<Instant>,
    /// A broker refuses a whole batch for one record that is too large: these lanes send one record
    /// at a time until so many have gone through, and only a record refused alone is given up.
    careful: HashMap<LaneId, u32>,
}

impl Holdback {
    pub(crate) fn new(topic_retry: Duration) -> Holdback {
        Holdback {
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

    pub(crate) fn is_blocked(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Whether something that was held back is to be tried again now.
    pub(crate) fn expired(&mut self, now: Instant) -> bool {
        let before = self.topics.len();
        self.topics.retain(|_, (until, _)| *until > now);
        let again = self.again.take_if(|until| *until <= now).is_some();
        again || self.topics.len() < before
    }

    /// Nothing is being held back.
    pub(crate) fn is_idle(&self) -> bool {
        self.topics.is_empty() && self.again.is_none()
    }

    /// A record of `lane` was refused for its size, in a batch with others.
    pub(crate) fn suspect(&mut self, lane: LaneId) {
        *self.careful.entry(lane).or_insert(0) += 1;
    }

    pub(crate) fn is_careful(&self, lane: LaneId) -> bool {
        self.careful.contains_key(&lane)
    }

    /// A record of `lane` went through alone, or was given up.
    pub(crate) fn passed(&mut self, lane: LaneId) {
        if let Some(left) = self.careful.get_mut(&lane) {
            *left -= 1;
            if *left == 0 {
                self.careful.remove(&lane);
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
    fn a_topic_is_tried_again_after_its_time_and_a_lane_is_careful_until_its_suspects_passed() {
        let begun = Instant::now();
        let mut holdback = Holdback::new(Duration::from_secs(30));
        holdback.block("a".into(), "unknown".into(), begun);
        assert!(holdback.is_blocked("a") && !holdback.expired(begun + Duration::from_secs(29)));
        assert!(holdback.expired(begun + Duration::from_secs(30)) && !holdback.is_blocked("a"));
        holdback.suspect(LaneId(1));
        holdback.suspect(LaneId(1));
        holdback.passed(LaneId(1));
        assert!(holdback.is_careful(LaneId(1)));
        holdback.passed(LaneId(1));
        assert!(!holdback.is_careful(LaneId(1)) && holdback.is_idle());
    }
}
