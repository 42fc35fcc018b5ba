//! From the lanes to the uplink: asks the shaper, then does one of a few named things.

mod address;

mod holdback;

mod message;

mod outcome;

mod rejected;

mod template;

use std::time::{Duration, Instant};

use adapters::Clock;
use buffer::{LaneId, Lanes, Next};
use jiff::{Timestamp, Zoned};

pub(crate) use address::{Addresses, LaneAddress};
pub(crate) use rejected::Rejected;
pub(crate) use template::{Identity, Template};

use crate::ingest::{Claim, Record};
use crate::pace::{
    Allowance, Backlog, Change, Decision, Flow, Hold, Link, Period, Room, Shaper, Wait,
};
use crate::uplink::{Delivery, DeliveryReport, Signal, Unsent, Uplink};
use holdback::Holdback;

/// Turns in one go; then the agent looks at what else there is.
const TURNS: usize = 2;

pub(crate) struct Drain {
    pub uplink: Uplink,
    pub link: Link,
    pub addresses: Addresses,
    pub allowance: Allowance,
    shaper: Shaper,
    lanes: Vec<LaneId>,
    clock: Clock,
    gateway: String,
    names: Vec<String>,
    holdback: Holdback,
    /// What the cluster will never take.
    pub rejected: Rejected,
    reports: Vec<DeliveryReport>,
    signals: Vec<Signal>,
    trouble: Option<(Instant, String)>,
    /// What the last turn was decided on; kept for its memory.
    backlog: Vec<Backlog>,
    /// The last time that was written out: a batch of events shares it.
    time: (i64, String),
}

/// What [`Drain::pump`] leaves to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// More can be sent at once.
    More,
    /// Something can be sent from then on.
    Until(Instant),
    /// Nothing, until something changes.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DrainSettings {
    /// For events that lack a field which their topic's template names.
    pub fallback_topic: String,
    /// Between attempts at a topic that the cluster does not take.
    pub topic_retry: Duration,
}

pub(crate) struct Parts {
    pub uplink: Uplink,
    pub addresses: Addresses,
    pub shaper: Shaper,
    pub allowance: Allowance,
    pub clock: Clock,
    pub gateway: String,
    pub topic_retry: Duration,
    pub rejected: Rejected,
    /// The buffer held records at start.
    pub has_backlog: bool,
}

impl Drain {
    #[must_use]
    pub(crate) fn new(parts: Parts, now: Instant) -> Drain {
        let lanes = parts.addresses.lanes();
        let topics: Vec<_> = lanes.iter().map(|lane| &lane.topic).collect();
        Drain {
            uplink: parts.uplink,
            link: Link::new(parts.has_backlog, now),
            shaper: parts.shaper,
            allowance: parts.allowance,
            holdback: Holdback::new(parts.topic_retry, &topics),
            lanes: (0..).map(LaneId).take(lanes.len()).collect(),
            names: lanes.iter().map(|lane| lane.name.clone()).collect(),
            clock: parts.clock,
            gateway: parts.gateway,
            addresses: parts.addresses,
            rejected: parts.rejected,
            reports: Vec::new(),
            signals: Vec::new(),
            trouble: None,
            backlog: Vec::new(),
            time: (0, Timestamp::UNIX_EPOCH.to_string()),
        }
    }

    /// Takes in what the uplink has to say. Returns changes of the link, to be reported.
    pub(crate) fn listen(&mut self, lanes: &mut Lanes<Record, Claim>, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut reports, mut signals) = (
            std::mem::take(&mut self.reports),
            std::mem::take(&mut self.signals),
        );
        self.uplink.take(&mut reports, &mut signals, now);
        let delivered = reports
            .iter()
            .any(|report| report.outcome == Delivery::Delivered);
        for report in reports.drain(..) {
            self.take_report(lanes, report, now);
        }
        for carried in self.uplink.carried() {
            let (wire, landed) = (carried.wire, carried.landed);
            self.allowance.carried(&carried.lanes, wire, landed);
        }
        lanes.settle();
        changes.extend(delivered.then(|| self.link.delivered(now)).flatten());
        for signal in signals.drain(..) {
            changes.extend(self.signal(lanes, signal, now));
        }
        let oldest = self.lanes.iter().filter(|lane| lanes.in_flight(**lane) > 0);
        let oldest = oldest.filter_map(|lane| lanes.in_flight_since(*lane)).min();
        let oldest = oldest.map(|since| since.max(self.uplink.silent_until()));
        changes.extend(self.link.watch(oldest, now));
        (self.reports, self.signals) = (reports, signals);
        changes
    }

    /// Records in flight that may be in one batch with those of `lane`.
    fn in_flight(&self, lanes: &Lanes<Record, Claim>, lane: LaneId) -> usize {
        let mates = self
            .lanes
            .iter()
            .filter(|mate| self.holdback.share(lane, **mate));
        mates.map(|mate| lanes.in_flight(*mate)).sum()
    }

    /// Tells the shaper what is usual; to be called every second or so.
    pub(crate) fn observe(&mut self, lanes: &Lanes<Record, Claim>, now: Instant) {
        for lane in &self.lanes {
            let waiting = lanes.waiting(*lane);
            let waiting = waiting.saturating_sub(lanes.in_flight(*lane) as u64);
            let accepted = lanes.counts(*lane).accepted;
            self.shaper.observe(*lane, accepted, waiting, now);
        }
    }

    /// Looks at the calendar; to be called every second or so. Returns the budgets that are just used up, and until when.
    pub(crate) fn follow_calendar(&mut self, now: Instant) -> Vec<(Period, Zoned)> {
        let stamp = self.clock.stamp();
        let is_set = stamp.unsynced_boot_us.is_none();
        let wall = Timestamp::from_microsecond(stamp.unix_us).ok();
        self.allowance.follow_calendar(wall.filter(|_| is_set), now)
    }

    /// Sends what the shaper allows now.
    pub(crate) fn pump(&mut self, lanes: &mut Lanes<Record, Claim>, now: Instant) -> Left {
        self.unblock(lanes, now);
        for _ in 0..TURNS {
            let mut backlog = std::mem::take(&mut self.backlog);
            backlog.clear();
            for index in 0..self.lanes.len() {
                backlog.push(self.backlog(lanes, self.lanes[index], now));
            }
            let turn = self.shaper.turn(&backlog, &self.link, now);
            self.backlog = backlog;
            match turn {
                Decision::Send { lane, bytes } => self.send(lanes, lane, bytes, now),
                Decision::Wait { until } => return Left::Until(until),
                Decision::Idle => return Left::Nothing,
            }
        }
        Left::More
    }

    fn unblock(&mut self, lanes: &mut Lanes<Record, Claim>, now: Instant) {
        let expired = self.holdback.expired(now);
        if lanes.has_deferred() && (expired || self.holdback.is_idle()) {
            lanes.retry_deferred();
        }
    }

    fn backlog(&mut self, lanes: &Lanes<Record, Claim>, lane: LaneId, now: Instant) -> Backlog {
        let waits = self.holdback.is_careful(lane) && self.in_flight(lanes, lane) > 0;
        let next = lanes.peek(lane).filter(|_| !waits);
        let replay = next.as_ref().is_some_and(|next| self.is_replay(next));
        let next = next.map(|next| next.bytes);
        let room = self.room(lane, next, now);
        Backlog {
            lane,
            next,
            replay,
            room,
            in_flight: lanes.in_flight(lane),
        }
    }

    /// `next` is the size of the record that is to leave, if one is in memory.
    fn room(&mut self, lane: LaneId, next: Option<usize>, now: Instant) -> Room {
        match (self.allowance.ask(lane, self.uplink.uncounted(), now), next) {
            (Room::Now(allowed), Some(next)) => self.uplink.ask(lane, next, now).at_most(allowed),
            (Room::Now(_), None) => Room::WhenDelivered,
            (room, _) => room,
        }
    }

    /// It was on disk, or waited in memory for the link to come back.
    fn is_replay(&self, next: &Next<'_, Record>) -> bool {
        next.replay || (next.arrived < self.link.since() && self.link.returned_from().is_some())
    }

    fn send(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        lane: LaneId,
        allowed: usize,
        now: Instant,
    ) {
        let (mut events, mut bytes, mut kind) = (0, 0, None);
        while let Some(next) = lanes.peek(lane) {
            let replay = self.is_replay(&next);
            if *kind.get_or_insert(replay) != replay || (events > 0 && bytes + next.bytes > allowed)
            {
                break;
            }
            let (size, token) = (next.bytes, next.token);
            let address = self.addresses.of(lane, &next.placed.record.origin);
            let blocked = self.holdback.is_blocked(&address.topic);
            let sent = if blocked {
                Ok(())
            } else {
                self.hand_over(lane, &next, replay, &address, now)
            };
            self.holdback.alone(lane, token);
            match sent {
                Ok(()) => lanes.hand_over(lane, now),
                Err(Unsent::Full) => break,
                Err(Unsent::Failed(outcome)) => {
                    lanes.hand_over(lane, now);
                    self.take_report(
                        lanes,
                        DeliveryReport {
                            lane,
                            token,
                            outcome,
                        },
                        now,
                    );
                }
            }
            if blocked {
                lanes.defer(lane, token);
            }
            events += 1;
            bytes += size;
            if self.holdback.is_careful(lane) {
                break;
            }
        }
        self.uplink.sent(now);
        self.link.sent(now);
        self.allowance.sent(lane, bytes);
        self.shaper
            .sent(lane, events, bytes, kind.unwrap_or(false), &self.link, now);
    }

    /// Events a second that a lane takes in on average.
    #[must_use]
    pub(crate) fn usual(&self, lane: LaneId) -> f64 {
        self.shaper.usual(lane)
    }

    /// Why a lane that has something to send does not.
    pub(crate) fn wait(&self, lane: LaneId, now: Instant) -> Option<Wait> {
        if !self.link.is_up() {
            return Some(Wait::LinkDown);
        }
        let backlog = self.backlog.get(lane.index())?;
        if let Room::Closed { why, .. } = &backlog.room {
            return Some(why.clone());
        }
        // Rebuilt, it may send, and has not shown yet that it can.
        if let Some(reason) = self.uplink.failure(lane) {
            return Some(Wait::ProducerFailed(reason.to_owned()));
        }
        backlog.next?;
        let flow = self.uplink.flow(lane);
        match flow.and_then(Flow::hold) {
            Some(Hold::Quota) => Some(Wait::Quota),
            Some(Hold::Link) => Some(Wait::Link),
            None => self.shaper.wait(backlog, &self.link, now),
        }
    }

    /// Topics that are waited for, and why.
    pub(crate) fn blocked(&self) -> impl Iterator<Item = (&str, &str)> {
        self.holdback.topics()
    }
}
