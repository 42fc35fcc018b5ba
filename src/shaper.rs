//! Which lane may send how much, or until when to wait. Pure: time comes in as an argument.
//!
//! Urgent lanes go first, strictly. The rest share by weight (deficit round robin, Shreedhar and
//! Varghese 1995). What had to wait out an outage is *replay*: it leaves under token buckets, from a
//! start that is spread over the fleet and along a ramp.

use std::time::Instant;

use buffer::LaneId;

use crate::intent::Intents;
use crate::link::Link;
use crate::pacer::Pacer;
use crate::shape::Shape;

/// The ramp begins at this share of the rate: enough to see that it works.
const RAMP_FROM: f64 = 0.05;
/// What one turn may hand over, so that an urgent record never waits for a long turn.
const TURN_BYTES: usize = 64 * 1024;
/// A lane's deficit grows by this times its weight each round.
const QUANTUM: usize = 8 * 1024;

/// What a lane would send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub lane: LaneId,
    /// Size of the next record; `None` when the lane has nothing in memory to send.
    pub next: Option<usize>,
    /// The next record waited out an outage.
    pub replay: bool,
    /// Bytes that its connection takes now; or none, until a moment or until something was delivered.
    pub room: Result<usize, Option<Instant>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Hand over records of `lane`, up to `bytes` (at least one record), all replay or all not.
    Send {
        lane: LaneId,
        bytes: usize,
    },
    Wait {
        until: Instant,
    },
    Idle,
}

#[derive(Debug)]
pub(crate) struct Shaper {
    shape: Shape,
    lanes: Vec<Share>,
    total: Buckets,
    /// Whose turn it is among the lanes that are not urgent.
    turn: usize,
}

#[derive(Debug)]
struct Share {
    urgent: bool,
    weight: usize,
    deficit: usize,
    replay: Buckets,
}

#[derive(Debug)]
struct Buckets {
    events: Option<Pacer>,
    bytes: Option<Pacer>,
}

impl Buckets {
    fn new(events: Option<u32>, bytes: Option<u64>) -> Buckets {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate above 2^53 bytes a second is no limit"
        )]
        let bytes = bytes.map(|rate| Pacer::new(rate as f64));
        Buckets {
            events: events.map(|rate| Pacer::new(f64::from(rate))),
            bytes,
        }
    }

    fn next_turn(&self, now: Instant) -> Option<Instant> {
        let turns = [&self.events, &self.bytes]
            .into_iter()
            .flatten()
            .filter_map(|pacer| pacer.next_turn(now));
        turns.max()
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a batch is far below 2^53 bytes"
    )]
    fn charge(&mut self, events: usize, bytes: usize, share: f64, now: Instant) {
        if let Some(pacer) = &mut self.events {
            pacer.charge(events as f64, share, now);
        }
        if let Some(pacer) = &mut self.bytes {
            pacer.charge(bytes as f64, share, now);
        }
    }
}

impl Shaper {
    #[must_use]
    pub(crate) fn new(shape: Shape, intents: &Intents) -> Shaper {
        let share = |(_, intent): (LaneId, &crate::intent::Intent)| Share {
            urgent: intent.urgent,
            weight: usize::try_from(intent.weight).unwrap_or(1),
            deficit: 0,
            replay: Buckets::new(intent.replay_events_per_s, intent.replay_bytes_per_s),
        };
        let total = Buckets::new(shape.events_per_s, shape.bytes_per_s);
        Shaper {
            lanes: intents.iter().map(share).collect(),
            shape,
            total,
            turn: 0,
        }
    }

    /// Decides what is to be done now. `backlog` has an entry for each lane, in order.
    pub(crate) fn turn(&mut self, backlog: &[Backlog], link: &Link, now: Instant) -> Turn {
        if !link.is_up() {
            return Turn::Idle;
        }
        let mut wait: Option<Instant> = None;
        let urgent = (0..self.lanes.len()).filter(|index| self.lanes[*index].urgent);
        for index in urgent {
            match self.may_send(&backlog[index], link, now) {
                Ok(bytes) => {
                    return Turn::Send {
                        lane: backlog[index].lane,
                        bytes,
                    };
                }
                Err(until) => wait = earlier(wait, until),
            }
        }
        for _ in 0..self.lanes.len() * 2 {
            let index = self.turn % self.lanes.len();
            let next = &backlog[index];
            if self.lanes[index].urgent || next.next.is_none() {
                self.pass(index);
                continue;
            }
            match self.may_send(next, link, now) {
                Err(until) => {
                    wait = earlier(wait, until);
                    self.pass(index);
                }
                Ok(bytes) => {
                    let share = &mut self.lanes[index];
                    if share.deficit == 0 {
                        share.deficit = QUANTUM * share.weight;
                    }
                    return Turn::Send {
                        lane: next.lane,
                        bytes: bytes.min(share.deficit),
                    };
                }
            }
        }
        wait.map_or(Turn::Idle, |until| Turn::Wait { until })
    }

    /// A turn is over: `events` and `bytes` left.
    pub(crate) fn sent(
        &mut self,
        lane: LaneId,
        events: usize,
        bytes: usize,
        replay: bool,
        link: &Link,
        now: Instant,
    ) {
        let factor = self.ramp(link, now);
        let Some(share) = self.lanes.get_mut(lane.index()) else {
            return;
        };
        if replay {
            share.replay.charge(events, bytes, factor, now);
            self.total.charge(events, bytes, factor, now);
        }
        if !share.urgent {
            share.deficit = share.deficit.saturating_sub(bytes);
            if share.deficit == 0 || events == 0 {
                self.pass(lane.index());
            }
        }
    }

    fn pass(&mut self, index: usize) {
        self.lanes[index].deficit = 0;
        self.turn = index + 1;
    }

    /// How many bytes may leave now, or when to ask again (`None`: when something changes).
    fn may_send(
        &self,
        next: &Backlog,
        link: &Link,
        now: Instant,
    ) -> Result<usize, Option<Instant>> {
        next.next.ok_or(None)?;
        let room = next.room?.min(TURN_BYTES);
        if !next.replay {
            return Ok(room);
        }
        let share = &self.lanes[next.lane.index()];
        let start = (!share.urgent && link.returned_from().is_some())
            .then(|| link.since() + self.shape.delay);
        let turns = [
            start.filter(|start| *start > now),
            share.replay.next_turn(now),
            self.total.next_turn(now),
        ];
        match turns.into_iter().flatten().max() {
            Some(until) => Err(Some(until)),
            None => Ok(room),
        }
    }

    /// Why a replay waits here, in words, if it does.
    pub(crate) fn why(&self, lane: LaneId, link: &Link, now: Instant) -> Option<String> {
        let share = self.lanes.get(lane.index())?;
        let start = link.since() + self.shape.delay;
        if !share.urgent && link.returned_from().is_some() && start > now {
            let left = (start - now).as_secs();
            return Some(format!(
                "its turn in the fleet comes in {left} s (replay.spread)"
            ));
        }
        let rates = [
            (&share.replay, "the rate of its intent"),
            (&self.total, "the rate of [replay]"),
        ];
        let waits = rates
            .iter()
            .find(|(buckets, _)| buckets.next_turn(now).is_some());
        waits.map(|(_, words)| format!("{words} is reached"))
    }

    /// The share of the rate that is allowed so soon after the return.
    fn ramp(&self, link: &Link, now: Instant) -> f64 {
        if link.returned_from().is_none() || self.shape.ramp.is_zero() {
            return 1.0;
        }
        let running = now.saturating_duration_since(link.since() + self.shape.delay);
        (running.as_secs_f64() / self.shape.ramp.as_secs_f64()).clamp(RAMP_FROM, 1.0)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::File;

    fn intents() -> Intents {
        let file: File = toml::from_str("[uplink]\nbrokers = [\"localhost:9092\"]\n").unwrap();
        Intents::new(&file)
    }

    fn shape(delay: u64, ramp: u64, events: Option<u32>) -> Shape {
        Shape {
            delay: Duration::from_secs(delay),
            ramp: Duration::from_secs(ramp),
            events_per_s: events,
            bytes_per_s: None,
        }
    }

    fn up_after(outage: u64, begun: Instant) -> (Link, Instant) {
        let mut link = Link::new(false, begun);
        link.connected(false, begun);
        let now = begun + Duration::from_secs(outage);
        link.delivered(now);
        (link, now)
    }

    fn backlog(loaded: &[usize], replay: bool) -> Vec<Backlog> {
        let lane = |index: u8| Backlog {
            lane: LaneId(index),
            next: loaded.contains(&usize::from(index)).then_some(200),
            replay,
            room: Ok(1 << 20),
        };
        (0..5).map(lane).collect()
    }

    #[test]
    fn the_urgent_lane_goes_before_all_others_at_every_turn() {
        let (link, now) = up_after(1, Instant::now());
        let mut shaper = Shaper::new(shape(0, 0, None), &intents());
        for _ in 0..50 {
            let turn = shaper.turn(&backlog(&[0, 1, 2, 3], false), &link, now);
            assert!(matches!(
                turn,
                Turn::Send {
                    lane: LaneId(0),
                    ..
                }
            ));
            shaper.sent(LaneId(0), 1, 200, false, &link, now);
        }
    }

    #[test]
    fn the_others_share_by_weight_and_none_starves() {
        let (link, now) = up_after(1, Instant::now());
        let mut shaper = Shaper::new(shape(0, 0, None), &intents());
        let mut bytes = [0; 5];
        for _ in 0..7_000 {
            let Turn::Send {
                lane,
                bytes: allowed,
            } = shaper.turn(&backlog(&[1, 2, 3], false), &link, now)
            else {
                panic!("there is work");
            };
            let sent = allowed.min(4096);
            bytes[lane.index()] += sent;
            shaper.sent(lane, 1, sent, false, &link, now);
        }
        // Weights 4, 2 and 1, in tenths.
        let tenths = |index: usize| bytes[index] * 10 / bytes[3];
        assert!((38..=42).contains(&tenths(1)), "{bytes:?}");
        assert!((19..=21).contains(&tenths(2)), "{bytes:?}");
    }

    #[test]
    fn replay_waits_for_this_gateways_moment_and_live_records_do_not() {
        let (link, now) = up_after(600, Instant::now());
        let mut shaper = Shaper::new(shape(20, 0, None), &intents());
        let start = now + Duration::from_secs(20);
        assert_eq!(
            shaper.turn(&backlog(&[1], true), &link, now),
            Turn::Wait { until: start }
        );
        assert!(matches!(
            shaper.turn(&backlog(&[1], false), &link, now),
            Turn::Send { .. }
        ));
        assert!(matches!(
            shaper.turn(&backlog(&[1], true), &link, start),
            Turn::Send { .. }
        ));
    }

    #[test]
    fn a_fleet_starts_all_over_the_spread() {
        let replay = crate::config::ReplaySection::default();
        let mut seconds: Vec<u64> = (0..1000)
            .map(|n| Shape::new(&replay, &format!("gw-{n}")).delay.as_secs() / 6)
            .collect();
        seconds.sort_unstable();
        for fifth in 0..5 {
            let here = seconds.iter().filter(|second| **second == fifth).count();
            assert!(
                (140..260).contains(&here),
                "{here} of 1000 gateways start in fifth {fifth}"
            );
        }
    }

    proptest! {
        /// Whatever is offered, replay keeps to its rate from the start of the ramp on.
        #[test]
        fn replay_keeps_its_rate(waits in prop::collection::vec(0u64..20_000, 50..300), ramp in 0u64..20) {
            let (link, mut now) = up_after(600, Instant::now());
            let begun = now;
            let mut shaper = Shaper::new(shape(0, ramp, Some(1000)), &intents());
            let mut sent = 0_u32;
            for wait in waits {
                now += Duration::from_micros(wait);
                while let Turn::Send { lane, .. } = shaper.turn(&backlog(&[1, 3], true), &link, now) {
                    shaper.sent(lane, 10, 2_000, true, &link, now);
                    sent += 10;
                }
            }
            let allowed = 1000.0 * ((now - begun).as_secs_f64() + 0.1) + 10.0;
            prop_assert!(f64::from(sent) <= allowed, "{sent} > {allowed}");
        }
    }
}
