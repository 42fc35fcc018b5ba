//! Timestamps that the cluster accepts. Kafka refuses what is more than an hour ahead of its own clock, and a topic may set other
//! limits (`message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`, KIP-937). A record that is refused for its
//! timestamp is sent with another; its own time stays in `ce_time`. Pure: time comes in as an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use buffer::LaneId;

const HOUR: i64 = 3_600_000;
/// What is further ahead of our clock would be refused with Kafka's default of an hour, if both clocks are right.
const AHEAD: i64 = 55 * 60_000;
/// What is older than our clock by more was refused for being old; what is not may also be ahead of the cluster, with our clock.
const OLD: i64 = HOUR;
/// Milliseconds over a bound that are let pass: the bound is not known better.
const SLACK: i64 = 1000;
/// A record that is further ahead of our clock than any that its topic took, or further behind it, by more than these, may be
/// refused: it leaves alone, so that nothing overtakes it. Behind, as far again as any, up to an hour more: a backlog is no doubt for long.
const DOUBTFUL: i64 = 10_000;
const DOUBTFUL_BEHIND: i64 = HOUR;
/// A bound is tried anew after this: a clock may have been set meanwhile.
const HOLDS: Duration = Duration::from_mins(10);
/// Steps back in time that are tried where nothing tells the cluster's time: hours, each three times the one before.
const STEPS: u32 = 11;
/// Topics whose bound is remembered.
const TOPICS_MAX: usize = 1024;

/// A wall-clock time in milliseconds since 1970, as of a moment; it goes on with boot time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wall {
    pub ms: i64,
    pub at: Instant,
}

impl Wall {
    pub(super) fn now(self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.at).as_millis();
        self.ms
            .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

#[derive(Debug, Default)]
pub(super) struct Timestamps {
    bounds: HashMap<String, Bound>,
    /// The latest that the cluster was seen to accept.
    accepted: Option<Wall>,
    /// Of each lane, a record under way whose report tells whether its timestamp was accepted.
    samples: Vec<Option<Sample>>,
    /// Of each topic, how far ahead of our clock it took a record, and how far behind.
    taken: HashMap<String, (i64, i64)>,
}

#[derive(Debug, Clone)]
struct Sample {
    token: u64,
    sent: Wall,
    /// The topic, and how far ahead of our clock the record is, if that may be too far.
    doubt: Option<(String, i64)>,
}

/// What a topic accepts, as far as it is known.
#[derive(Debug)]
struct Bound {
    /// Later timestamps are sent as this one, or earlier ones if it is a `floor`.
    limit: Option<Wall>,
    floor: bool,
    since: Instant,
    tries: usize,
    /// Records with smaller tokens left before the limit was what it is.
    moved: HashMap<LaneId, u64>,
}

/// What is to be done with a record that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// It is sent with another timestamp from now on.
    Found,
    /// That is known already: it left before.
    Known,
    /// There is none left to try.
    None,
}

/// A record that was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    pub lane: LaneId,
    pub token: u64,
    /// The token of the next record that leaves.
    pub next: u64,
    /// Its own time.
    pub ms: i64,
}

impl Timestamps {
    /// What a record of time `ms` is sent with, and whether that is another time; `wall` is our clock where it is trusted.
    pub(super) fn of(&self, topic: &str, ms: i64, wall: Option<Wall>, now: Instant) -> (i64, bool) {
        let bound = if self.bounds.is_empty() {
            None
        } else {
            self.bounds.get(topic)
        };
        let held = bound.filter(|bound| now.saturating_duration_since(bound.since) < HOLDS);
        if let Some((bound, limit)) = held.and_then(|bound| bound.limit.map(|limit| (bound, limit)))
        {
            let limit = limit.now(now);
            let outside = if bound.floor {
                ms < limit - SLACK
            } else {
                ms > limit + SLACK
            };
            return if outside { (limit, true) } else { (ms, false) };
        }
        match wall.map(|wall| wall.now(now)) {
            Some(wall) if ms > wall + AHEAD => (wall, true),
            Some(_) | None => (ms, false),
        }
    }

    /// How far ahead of our clock a timestamp is, if its topic has taken nothing like it.
    pub(super) fn doubt(
        &self,
        topic: &str,
        ms: i64,
        wall: Option<Wall>,
        now: Instant,
    ) -> Option<i64> {
        let ahead = ms - wall?.now(now);
        if (-DOUBTFUL..=DOUBTFUL).contains(&ahead) {
            return None; // as most are, whatever the topic took
        }
        let (most, least) = self.taken.get(topic).copied().unwrap_or_default();
        let behind = (DOUBTFUL - least).min(DOUBTFUL_BEHIND);
        let usual = least - behind..=most + DOUBTFUL;
        (!usual.contains(&ahead)).then_some(ahead)
    }

    /// A record of `lane` is under way that may be refused: nothing may follow it yet.
    pub(super) fn is_in_doubt(&self, lane: LaneId) -> bool {
        let sample = self.samples.get(lane.index()).and_then(Option::as_ref);
        sample.is_some_and(|sample| sample.doubt.is_some())
    }

    /// A record left with the timestamp `ms`; `doubt` as from [`Timestamps::doubt`].
    pub(super) fn sent(
        &mut self,
        lane: LaneId,
        token: u64,
        ms: i64,
        doubt: Option<(&str, i64)>,
        now: Instant,
    ) {
        if self.samples.len() <= lane.index() {
            self.samples.resize(lane.index() + 1, None);
        }
        let sample = &mut self.samples[lane.index()];
        if sample.is_none() || doubt.is_some() {
            *sample = Some(Sample {
                token,
                sent: Wall { ms, at: now },
                doubt: doubt.map(|(topic, ahead)| (topic.to_owned(), ahead)),
            });
        }
    }

    /// What became of a record. Returns how it was sent, if it was delivered and is one of those that are looked at.
    pub(super) fn landed(
        &mut self,
        lane: LaneId,
        token: u64,
        delivered: bool,
        now: Instant,
    ) -> Option<Wall> {
        let slot = self.samples.get_mut(lane.index())?;
        // A sample whose report never came, as of a producer that was rebuilt, makes way.
        let sample = slot.take_if(|sample| sample.token <= token)?;
        if !delivered || sample.token != token {
            return None;
        }
        let known = self.accepted.map(|known| known.now(now));
        if known.is_none_or(|known| sample.sent.now(now) > known) {
            self.accepted = Some(sample.sent);
        }
        if let Some((topic, ahead)) = sample.doubt {
            if self.taken.len() >= TOPICS_MAX {
                self.taken.clear();
            }
            let (most, least) = self.taken.entry(topic).or_default();
            (*most, *least) = (ahead.max(*most), ahead.min(*least));
        }
        Some(sample.sent)
    }

    /// What was under way is forgotten, as with a producer that is rebuilt.
    pub(super) fn forget(&mut self, lane: LaneId) {
        if let Some(slot) = self.samples.get_mut(lane.index()) {
            *slot = None;
        }
    }

    /// A record was refused for its timestamp.
    pub(super) fn refused(
        &mut self,
        topic: &str,
        record: Refused,
        wall: Option<Wall>,
        now: Instant,
    ) -> Remedy {
        if self.bounds.len() >= TOPICS_MAX && !self.bounds.contains_key(topic) {
            self.bounds.clear();
        }
        let accepted = self.accepted;
        let bound = self.bounds.entry(topic.into()).or_insert_with(|| Bound {
            limit: None,
            floor: false,
            since: now,
            tries: 0,
            moved: HashMap::new(),
        });
        let left_before = bound.moved.get(&record.lane);
        if left_before.is_some_and(|next| record.token < *next) {
            return bound.limit.map_or(Remedy::None, |_| Remedy::Known);
        }
        if now.saturating_duration_since(bound.since) >= HOLDS {
            bound.tries = 0;
        }
        let all = candidates(record.ms, wall, accepted, now);
        let next = all.get(bound.tries).copied();
        bound.floor = next.is_some_and(|(floor, _)| floor);
        bound.limit = next.map(|(_, ms)| Wall { ms, at: now });
        bound.since = now;
        bound.tries += 1;
        bound.moved.insert(record.lane, record.next);
        next.map_or(Remedy::None, |_| Remedy::Found)
    }
}

/// The times to send a refused record of time `ms` with instead, in this order, and whether it is too old by them.
fn candidates(
    ms: i64,
    wall: Option<Wall>,
    accepted: Option<Wall>,
    now: Instant,
) -> Vec<(bool, i64)> {
    let (wall, accepted) = (
        wall.map(|one| one.now(now)),
        accepted.map(|one| one.now(now)),
    );
    let known = || wall.into_iter().chain(accepted);
    let later = known().filter(|known| *known > ms + SLACK);
    let later = later.map(|known| (true, known));
    if known().any(|known| ms < known - OLD) {
        return later.collect();
    }
    let earlier = known().filter(|known| *known < ms - SLACK);
    let steps = (0..STEPS).map(|step| ms - HOUR * 3_i64.pow(step));
    later
        .chain(earlier.chain(steps).map(|ms| (false, ms)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = LaneId(0);

    /// Sends a record of time `ms` until the cluster, whose clock says `cluster`, takes it; at most `most` times.
    fn send(
        times: &mut Timestamps,
        ms: i64,
        wall: Option<i64>,
        takes: std::ops::RangeInclusive<i64>,
    ) -> Option<(i64, usize)> {
        let now = Instant::now();
        let wall = wall.map(|ms| Wall { ms, at: now });
        for attempt in 0..20 {
            let token = attempt as u64;
            let (sent, _) = times.of("t", ms, wall, now);
            let doubt = times.doubt("t", sent, wall, now).map(|ahead| ("t", ahead));
            times.sent(LANE, token, sent, doubt, now);
            assert_eq!(times.is_in_doubt(LANE), doubt.is_some());
            if takes.contains(&sent) {
                times.landed(LANE, token, true, now);
                return Some((sent, attempt));
            }
            times.landed(LANE, token, false, now);
            let record = Refused {
                lane: LANE,
                token,
                next: token + 1,
                ms,
            };
            if times.refused("t", record, wall, now) == Remedy::None {
                return None;
            }
        }
        None
    }

    #[test]
    fn a_record_is_sent_with_a_time_that_the_cluster_takes() {
        let (now, any) = (1_764_000_000_000, 0..=1_764_000_000_000 + HOUR);
        // What is right goes as it is.
        for ms in [now, now - 100 * HOUR, now + HOUR / 2] {
            let sent = send(&mut Timestamps::default(), ms, Some(now), any.clone());
            assert_eq!(sent, Some((ms, 0)));
        }
        // A camera that is two hours ahead is never refused.
        let ahead = send(
            &mut Timestamps::default(),
            now + 2 * HOUR,
            Some(now),
            any.clone(),
        );
        let (sent, attempts) = ahead.unwrap();
        assert!((sent - now).abs() < SLACK && attempts == 0);
        // Our own clock is wrong: by three hours, by a year, or not known.
        for wrong in [3 * HOUR, 365 * 24 * HOUR] {
            for wall in [Some(now + wrong), None] {
                let mut times = Timestamps::default();
                let (_, attempts) = send(&mut times, now + wrong, wall, any.clone()).unwrap();
                assert!(attempts < 12, "{wrong}");
                // What follows is not refused.
                let (_, attempts) =
                    send(&mut times, now + wrong + 5000, wall, any.clone()).unwrap();
                assert_eq!(attempts, 0, "{wrong}");
            }
        }
        // The cluster took something before: that tells its time.
        let mut times = Timestamps::default();
        assert_eq!(
            send(&mut times, now - 5, None, any.clone()),
            Some((now - 5, 0))
        );
        let (sent, attempts) = send(&mut times, now + 3 * HOUR, None, any).unwrap();
        assert!((sent - now).abs() < SLACK && attempts == 1);
        // A topic that takes nothing older than an hour, or than ten minutes.
        for (limit, old) in [(HOUR, 50 * HOUR), (HOUR / 6, HOUR / 2)] {
            let young = now - limit..=now + HOUR;
            let mut times = Timestamps::default();
            let (_, attempts) = send(&mut times, now - old, Some(now), young).unwrap();
            assert_eq!(attempts, 1, "{limit}");
        }
        // One that takes nothing at all.
        assert_eq!(
            send(&mut Timestamps::default(), now, Some(now), 1..=1),
            None
        );
    }

    #[test]
    fn what_no_record_before_it_was_like_is_in_doubt_until_one_was() {
        let now = 1_764_000_000_000;
        let at = Instant::now();
        let wall = Some(Wall { ms: now, at });
        let mut times = Timestamps::default();
        for (ms, takes) in [(now - 50 * HOUR, 0..=now), (now + HOUR / 2, 0..=now + HOUR)] {
            assert!(times.doubt("t", ms, wall, at).is_some());
            assert!(send(&mut times, ms, Some(now), takes).is_some());
            assert!(
                times.doubt("t", ms, wall, at).is_none()
                    && times.doubt("u", ms, wall, at).is_some()
            );
        }
        assert!(times.doubt("t", now - 60 * HOUR, wall, at).is_some());
        assert!(times.doubt("t", now, wall, at).is_none());
        assert!(
            times.doubt("t", now + HOUR, None, at).is_none(),
            "nobody knows"
        );
    }

    #[test]
    fn records_that_left_before_the_bound_moved_do_not_move_it_again() {
        let now = Instant::now();
        let wall = Some(Wall {
            ms: 1_764_000_000_000,
            at: now,
        });
        let mut times = Timestamps::default();
        let record = |token| Refused {
            lane: LANE,
            token,
            next: 100,
            ms: 1_764_000_000_000 + 30 * 60_000,
        };
        assert_eq!(times.refused("t", record(0), wall, now), Remedy::Found);
        let known = |token| times.refused("t", record(token), wall, now) == Remedy::Known;
        assert!((1..100).all(known));
        assert_eq!(
            times.of("t", record(0).ms, wall, now),
            (1_764_000_000_000, true)
        );
    }
}
