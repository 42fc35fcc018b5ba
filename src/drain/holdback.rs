//! Lanes that pause, and lanes that go on one record at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use buffer::LaneId;

/// Pause before a record is sent again that the cluster did not take this time.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Holdback {
    /// Until when a lane waits whose records are to be sent again.
    paused: HashMap<LaneId, Instant>,
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
    pub(crate) fn new<T: PartialEq>(topics: &[T]) -> Holdback {
        Holdback {
            topic_of: firsts(topics),
            paused: HashMap::new(),
            careful: HashMap::new(),
        }
    }

    /// Lanes have other topics from now on.
    pub(super) fn change<T: PartialEq>(&mut self, topics: &[T]) {
        let topic_of = firsts(topics);
        if self.topic_of != topic_of {
            (self.topic_of, self.careful) = (topic_of, HashMap::new());
        }
    }

    /// A record of `lane` is to be sent again after a pause.
    pub(crate) fn pause(&mut self, lane: LaneId, now: Instant) {
        self.paused.insert(lane, now + AGAIN);
    }

    pub(super) fn paused(&self, lane: LaneId) -> Option<Instant> {
        self.paused.get(&lane).copied()
    }

    /// Whether a pause is over.
    pub(super) fn expired(&mut self, now: Instant) -> bool {
        let before = self.paused.len();
        self.paused.retain(|_, until| *until > now);
        self.paused.len() < before
    }

    /// Nothing is being held back.
    pub(super) fn is_idle(&self) -> bool {
        self.paused.is_empty()
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
}

/// Of each, the place of the first that is equal to it.
fn firsts<T: PartialEq>(topics: &[T]) -> Vec<usize> {
    let first = |topic| topics.iter().position(|other| other == topic).unwrap_or(0);
    topics.iter().map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_pauses_before_it_sends_again_and_no_other() {
        let begun = Instant::now();
        let mut holdback = Holdback::new(&["a", "b"]);
        holdback.pause(LaneId(0), begun);
        assert_eq!(holdback.paused(LaneId(0)), Some(begun + AGAIN));
        assert!(holdback.paused(LaneId(1)).is_none() && !holdback.expired(begun));
        assert!(holdback.expired(begun + AGAIN) && holdback.is_idle());
    }

    #[test]
    fn lanes_of_a_topic_are_careful_until_its_suspects_passed() {
        let mut holdback = Holdback::new(&["a", "b", "a"]);
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
        let mut holdback = Holdback::new(&["a"]);
        for token in 0..3 {
            assert!(!holdback.was_alone(LaneId(0), token));
            holdback.suspect(LaneId(0));
        }
        holdback.alone(LaneId(0), 0);
        assert!(holdback.was_alone(LaneId(0), 0) && !holdback.was_alone(LaneId(0), 2));
    }
}
