//! What the cluster's answers say of the time. Pure: times come in as arguments.

use std::time::{Duration, Instant};

use super::timestamps::Wall;
use crate::process::clock::Word;

/// A record of our own time: no device's clock has a part in it, and it did not wait.
const OWN: u64 = 10 * 60_000;

/// The last of each kind since the agent asked.
#[derive(Debug, Default)]
pub(crate) struct Hearsay {
    broker: Option<(Wall, Duration)>,
    refused: bool,
    took: bool,
}

impl Hearsay {
    /// A record that was `sent`, of which a broker says when it took it, or nothing, was delivered; `wall` is our clock.
    pub(super) fn delivered(
        &mut self,
        sent: Wall,
        appended_ms: Option<i64>,
        wall: Option<Wall>,
        now: Instant,
    ) {
        if let Some(ms) = appended_ms {
            let age = now.saturating_duration_since(sent.at);
            self.broker = Some((Wall { ms, at: now }, age));
        } else if is_own(sent.ms, wall, sent.at) {
            self.took = true;
        }
    }

    /// A record of time `ms` was refused for that.
    pub(super) fn refused(&mut self, ms: i64, wall: Option<Wall>, now: Instant) {
        self.refused |= is_own(ms, wall, now);
    }

    /// What was said since the last call.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<Word> {
        let said = std::mem::take(self);
        let broker = said.broker.map(|(wall, age)| Word::Broker {
            wall_us: wall.now(now).saturating_mul(1000),
            age_us: u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
        });
        let refused = said.refused.then_some(Word::Refused);
        let took = said.took.then_some(Word::Took);
        took.into_iter().chain(refused).chain(broker).collect()
    }
}

fn is_own(ms: i64, wall: Option<Wall>, at: Instant) -> bool {
    wall.is_some_and(|wall| wall.now(at).abs_diff(ms) < OWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_records_of_our_own_time_say_something_of_our_clock() {
        let now = Instant::now();
        let later = now + Duration::from_millis(40);
        let (wall, hour) = (
            Wall {
                ms: 1_764_000_000_000,
                at: now,
            },
            3_600_000,
        );
        let ours = Some(wall);
        let ahead = Wall {
            ms: wall.ms + hour,
            at: now,
        };
        let mut said = Hearsay::default();
        said.refused(ahead.ms, ours, later);
        said.delivered(ahead, None, ours, later);
        said.refused(wall.ms, None, later);
        assert_eq!(said.take(later), []);
        said.refused(wall.ms, ours, later);
        assert_eq!(said.take(later), [Word::Refused]);
        said.delivered(wall, None, ours, later);
        assert_eq!(said.take(later), [Word::Took]);
        said.delivered(wall, Some(wall.ms - hour), ours, later);
        let broker = Word::Broker {
            wall_us: (wall.ms - hour + 60) * 1000,
            age_us: 40_000,
        };
        assert_eq!(said.take(later + Duration::from_millis(60)), [broker]);
        assert_eq!(said.take(later), []);
    }
}
