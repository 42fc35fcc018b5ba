//! Which lane may send how much, or until when to wait. Pure: time comes in as an argument.
//!
//! Urgent lanes go first, strictly. The rest share by weight (deficit round robin, Shreedhar and
//! Varghese 1995). What had to wait out an outage is *replay*: it leaves under token buckets, from a
//! start that is spread over the fleet and along a ramp, and at no more than a share of what the gateway usually takes in. Backlogs of
//! urgent lanes go first, and neither wait for that start nor for the ramp.

mod rates;

use std::time::Instant;

use buffer::{LaneId, LaneOpened};

use self::rates::{Baseline, Behind, Buckets, Budget};
use crate::pace::lane::LanePace;
use crate::pace::link::Link;
use crate::pace::number;
use crate::pace::room::{ReplayRate, Room, Wait};
use crate::pace::shape::Shape;

/// The ramp begins at this share of the rate: enough to see that it works.
const RAMP_FROM: f64 = 0.05;
/// What one turn may hand over, so that an urgent record never waits for a long turn.
const TURN_BYTES: usize = 64 * 1024;
/// A lane's deficit grows by this times its weight each round.
const QUANTUM: usize = 8 * 1024;

/// What a lane would send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub lane: LaneId,
    /// Size of the next record; `None` when the lane has nothing in memory to send.
    pub next: Option<usize>,
    /// The next record waited out an outage.
    pub replay: bool,
    /// What its connection and the allowance of the link take now.
    pub room: Room,
    /// Records of it that are under way.
    pub in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Hand over records of `lane`, up to `bytes` and at least one, all replay or all not.
    Send {
        lane: LaneId,
        bytes: usize,
    },
    Wait {
        until: Instant,
    },
    Idle,
}

/// What waited in a lane at the start, and since when.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Recovered {
    pub waiting: u64,
    pub oldest: Option<Instant>,
}

impl Recovered {
    #[must_use]
    pub(crate) fn of(opened: &LaneOpened) -> Recovered {
        Recovered {
            waiting: opened.waiting.len(),
            oldest: opened.oldest,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shaper {
    shape: Shape,
    lanes: Vec<Share>,
    total: Buckets,
    budget: Budget,
    /// Whose turn it is among the lanes that are not urgent.
    next_lane: usize,
    /// The return of the link that lanes catch up from.
    returned: Option<Instant>,
}

#[derive(Debug)]
struct Share {
    urgent: bool,
    in_order: bool,
    weight: usize,
    deficit: usize,
    replay: Buckets,
    behind: Behind,
    /// What was taken in since the start: events and bytes.
    taken_in: (u64, u64),
}

impl Share {
    /// In order, what arrived since the return is a part of the backlog until the lane has caught up. What is urgent never is.
    fn is_replay(&self, replay: bool) -> bool {
        replay || self.is_held_up()
    }

    /// What arrives waits behind the backlog.
    fn is_held_up(&self) -> bool {
        self.in_order && !self.urgent && self.behind.is_behind()
    }
}

impl Shaper {
    #[must_use]
    pub(crate) fn new(
        shape: Shape,
        lanes: &[LanePace],
        found: &[Recovered],
        now: Instant,
    ) -> Shaper {
        let share = |(index, lane): (usize, &LanePace)| Share {
            urgent: lane.urgent,
            in_order: lane.in_order,
            weight: weight(lane),
            deficit: 0,
            replay: Buckets::new(lane.events_per_s, lane.bytes_per_s),
            behind: Behind::new(baseline(found, index, now)),
            taken_in: (0, 0),
        };
        let total = Buckets::new(shape.events_per_s, shape.bytes_per_s);
        Shaper {
            budget: Budget::new(shape.catch_up),
            lanes: lanes.iter().enumerate().map(share).collect(),
            shape,
            total,
            next_lane: 0,
            returned: None,
        }
    }

    /// Goes on by another shape, other weights and other rates; how far each lane is behind stays as it is.
    pub(crate) fn change(&mut self, shape: Shape, lanes: &[LanePace]) {
        self.budget.change(shape.catch_up);
        self.total = Buckets::new(shape.events_per_s, shape.bytes_per_s);
        self.shape = shape;
        for (share, lane) in self.lanes.iter_mut().zip(lanes) {
            share.weight = weight(lane);
            share.replay = Buckets::new(lane.events_per_s, lane.bytes_per_s);
        }
        self.follow_usual();
    }

    /// Decides what is to be done now. `backlog` has an entry for each lane, in order.
    pub(crate) fn turn(&mut self, backlog: &[Backlog], link: &Link, now: Instant) -> Decision {
        // A broker that does not answer is not all of them: urgent lanes go on, others with a record each that finds out.
        if !link.is_up() && !link.is_stalled() {
            return Decision::Idle;
        }
        self.follow(link);
        let mut wait: Option<Instant> = None;
        let urgent = (0..self.lanes.len()).filter(|index| self.lanes[*index].urgent);
        for index in urgent {
            match self.may_send(&backlog[index], link, now) {
                Room::Now(bytes) => {
                    return Decision::Send {
                        lane: backlog[index].lane,
                        bytes,
                    };
                }
                room @ (Room::Until(_) | Room::WhenDelivered | Room::Closed { .. }) => {
                    wait = earlier(wait, room.until());
                }
            }
        }
        let probes = !link.is_up();
        for _ in 0..self.lanes.len() * 2 {
            let index = self.next_lane % self.lanes.len();
            let next = &backlog[index];
            if self.lanes[index].urgent || next.next.is_none() || (probes && next.in_flight > 0) {
                self.pass(index);
                continue;
            }
            match self.may_send(next, link, now) {
                Room::Now(bytes) => {
                    let share = &mut self.lanes[index];
                    if share.deficit == 0 {
                        share.deficit = QUANTUM * share.weight;
                    }
                    return Decision::Send {
                        lane: next.lane,
                        bytes: if probes { 0 } else { bytes.min(share.deficit) },
                    };
                }
                room @ (Room::Until(_) | Room::WhenDelivered | Room::Closed { .. }) => {
                    wait = earlier(wait, room.until());
                    self.pass(index);
                }
            }
        }
        wait.map_or(Decision::Idle, |until| Decision::Wait { until })
    }

    /// Lanes catch up from each return of the link.
    fn follow(&mut self, link: &Link) {
        let returned = link.returned_from().map(|_| link.since());
        if returned != self.returned {
            self.returned = returned;
            if let Some(outage) = link.returned_from() {
                let still = self.lanes.iter().any(|share| share.behind.is_behind());
                self.budget.returned(outage, still);
                let lanes = self.lanes.iter_mut();
                lanes.for_each(|share| share.behind.begin());
            }
            self.follow_usual();
        }
    }

    /// Takes in the events and bytes that `lane` has accepted since the start, and how many events wait; to be called about once a second.
    pub(crate) fn observe(
        &mut self,
        lane: LaneId,
        (events, bytes): (u64, u64),
        waiting: u64,
        now: Instant,
    ) {
        if let Some(share) = self.lanes.get_mut(lane.index()) {
            share.behind.observe(events, waiting, now);
            let before = std::mem::replace(&mut share.taken_in, (events, bytes));
            let more = |now: u64, before: u64| now.saturating_sub(before);
            self.budget
                .took_in(more(events, before.0), more(bytes, before.1));
            self.follow_usual();
        }
    }

    fn follow_usual(&mut self) {
        let is_behind = self.lanes.iter().any(|share| share.behind.is_behind());
        let per_s = |share: &Share| share.behind.baseline.per_s();
        let usual = self.lanes.iter().map(per_s).sum();
        let live = self.lanes.iter().filter(|share| share.is_held_up());
        let live = live.map(|share| share.behind.baseline.arriving()).sum();
        self.budget.follow(is_behind.then_some((usual, live)));
    }

    /// Events a second that a lane takes in on average.
    #[must_use]
    pub(crate) fn usual(&self, lane: LaneId) -> f64 {
        let share = self.lanes.get(lane.index());
        share.map_or(0.0, |share| share.behind.baseline.per_s())
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
        let ramp = self.ramp(link, now);
        let Some(share) = self.lanes.get_mut(lane.index()) else {
            return;
        };
        if share.is_replay(replay) {
            let ramp = if share.urgent { 1.0 } else { ramp };
            let limits = if self.budget.is_limited() { 1.0 } else { ramp };
            share.replay.charge(events, bytes, limits, now);
            self.budget.charge(events, bytes, ramp, now);
            self.total.charge(events, bytes, limits, now);
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
        self.next_lane = index + 1;
    }

    fn may_send(&self, next: &Backlog, link: &Link, now: Instant) -> Room {
        let Some(size) = next.next else {
            return Room::WhenDelivered;
        };
        let room = next.room.clone().at_most(TURN_BYTES);
        let share = &self.lanes[next.lane.index()];
        if !share.is_replay(next.replay) || !matches!(room, Room::Now(_)) {
            return room;
        }
        let turns = [
            self.start(share, link, now),
            share.replay.next_turn(now),
            self.budget.next_turn(share.urgent, now),
            self.total.next_turn(now),
        ];
        if let Some(until) = turns.into_iter().flatten().max() {
            return Room::Until(until);
        }
        let ramp = if share.urgent {
            1.0
        } else {
            self.ramp(link, now)
        };
        let limits = if self.budget.is_limited() { 1.0 } else { ramp };
        let least = share
            .replay
            .allows(size, limits)
            .min(self.budget.allows(size, ramp))
            .min(self.total.allows(size, limits));
        room.at_most(number::bytes(least))
    }

    /// Why a replay waits here, if it does.
    pub(crate) fn wait(&self, next: &Backlog, link: &Link, now: Instant) -> Option<Wait> {
        let share = self.lanes.get(next.lane.index())?;
        if !share.is_replay(next.replay) {
            return None;
        }
        if let Some(start) = self.start(share, link, now) {
            return Some(Wait::Spread(start - now));
        }
        let rates = [
            (share.replay.next_turn(now), ReplayRate::Intent),
            (
                self.budget.next_turn(share.urgent, now),
                ReplayRate::CatchUp,
            ),
            (self.total.next_turn(now), ReplayRate::Gateway),
        ];
        let waits = rates.iter().find(|(until, _)| until.is_some());
        waits.map(|(_, rate)| Wait::Rate(*rate))
    }

    /// When a lane's replay begins after the return, if that is yet to come. Where what arrives is behind the backlog, the lane keeps
    /// pace with it meanwhile.
    fn start(&self, share: &Share, link: &Link, now: Instant) -> Option<Instant> {
        let keeps_pace = share.is_held_up() && self.budget.is_limited();
        let outage = link
            .returned_from()
            .filter(|_| !share.urgent && !keeps_pace)?;
        let left = self
            .shape
            .delay_after(outage)
            .checked_sub(link.back_for(now))?;
        (!left.is_zero()).then(|| now + left)
    }

    /// The share of the rate that is allowed so soon after the return.
    fn ramp(&self, link: &Link, now: Instant) -> f64 {
        let Some(outage) = link.returned_from() else {
            return 1.0;
        };
        let ramp = self.shape.ramp_after(outage);
        if ramp.is_zero() {
            return 1.0;
        }
        let running = link
            .back_for(now)
            .saturating_sub(self.shape.delay_after(outage));
        (running.as_secs_f64() / ramp.as_secs_f64()).clamp(RAMP_FROM, 1.0)
    }
}

fn weight(lane: &LanePace) -> usize {
    usize::try_from(lane.weight).unwrap_or(1)
}

fn baseline(found: &[Recovered], index: usize, now: Instant) -> Baseline {
    let found = found.get(index).copied().unwrap_or_default();
    Baseline::new(found.waiting, found.oldest, now)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;
