//! From the lanes to the uplink: asks the shaper, then does one of a few named things.

mod address;

mod backlog;

mod change;

mod hearsay;

mod holdback;

mod message;

mod offer;

mod outcome;

mod rejected;

mod template;

mod timestamps;

mod topics;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use adapters::Clock;
use buffer::{DropReason, LaneId, Lanes};
use jiff::{Timestamp, Zoned};

pub(crate) use address::{Addresses, Expired, LaneAddress};
pub(crate) use rejected::Rejected;
pub(crate) use template::{Identity, TOPIC_LENGTH_MAX, Template};

use crate::ingest::{Claim, Record};
use crate::pace::{
    Allowance, Backlog, Bunches, Change, Decision, Flow, Hold, LanePace, Link, Period, Room,
    Shaper, Wait,
};
use crate::uplink::{Delivery, DeliveryReport, Signal, Standing, Uplink};
use hearsay::Hearsay;
use holdback::Holdback;
use offer::Offered;
use timestamps::{Timestamps, Wall};
use topics::Topics;

/// Turns in one go; then the agent looks at what else there is.
const TURNS: usize = 2;

/// What the cluster said of a topic is worth something for this long.
const STANDING: Duration = Duration::from_mins(1);

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
    /// The topic of each lane whose records all go to one.
    constant: Vec<Option<String>>,
    /// Lanes whose records leave in order.
    in_order: Vec<bool>,
    bunches: Vec<Bunches>,
    holdback: Holdback,
    topics: Topics,
    /// What the cluster said last of topics that took nothing, and when.
    standings: HashMap<String, (Instant, Standing)>,
    timestamps: Timestamps,
    /// What the cluster says of the time.
    pub hearsay: Hearsay,
    /// Our clock, where it is trusted.
    wall: Option<Wall>,
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
    /// Bytes of addresses that are remembered.
    pub address_bytes: usize,
    /// Topics that events may name.
    pub topics_max: usize,
}

/// What a configuration says of the way from the lanes to the cluster.
pub(crate) struct Way {
    pub addresses: Addresses,
    pub paces: Vec<LanePace>,
    pub allowance: Allowance,
    pub topic_retry: Duration,
}

pub(crate) struct Parts {
    pub way: Way,
    pub uplink: Uplink,
    pub shaper: Shaper,
    pub clock: Clock,
    pub gateway: String,
    pub rejected: Rejected,
    /// How long the oldest record has waited that the buffer held at the start; none without one.
    pub backlog: Duration,
    /// How long a return from an outage takes.
    pub returning: Duration,
}

impl Drain {
    #[must_use]
    pub(crate) fn new(parts: Parts, now: Instant) -> Drain {
        let way = parts.way;
        let lanes = way.addresses.lanes();
        let topics: Vec<_> = lanes.iter().map(|lane| &lane.topic).collect();
        let paces = way.paces.iter();
        Drain {
            uplink: parts.uplink,
            link: Link::new(parts.returning, parts.backlog, now),
            shaper: parts.shaper,
            allowance: way.allowance,
            holdback: Holdback::new(&topics),
            topics: Topics::new(way.topic_retry),
            standings: HashMap::new(),
            timestamps: Timestamps::default(),
            hearsay: Hearsay::default(),
            wall: None,
            constant: way.addresses.constant(),
            in_order: paces.clone().map(|pace| pace.in_order).collect(),
            bunches: paces
                .map(|pace| Bunches::new(pace.urgent, pace.linger))
                .collect(),
            lanes: (0..).map(LaneId).take(lanes.len()).collect(),
            names: lanes.iter().map(|lane| lane.name.clone()).collect(),
            clock: parts.clock,
            gateway: parts.gateway,
            addresses: way.addresses,
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
        let oldest = self.uplink.waiting_since();
        let oldest = oldest.map(|since| since.max(self.uplink.silent_until()));
        changes.extend(self.link.watch(oldest, now));
        (self.reports, self.signals) = (reports, signals);
        changes
    }

    /// Tells the shaper what is usual; to be called every second or so.
    pub(crate) fn observe(&mut self, lanes: &Lanes<Record, Claim>, now: Instant) {
        for lane in &self.lanes {
            let waiting = lanes.waiting(*lane);
            let waiting = waiting.saturating_sub(lanes.in_flight(*lane) as u64);
            let counts = lanes.counts(*lane);
            let taken_in = (counts.accepted, counts.accepted_bytes);
            self.shaper.observe(*lane, taken_in, waiting, now);
        }
    }

    /// Looks at the calendar; to be called every second or so. Returns the budgets that are just used up, and until when.
    pub(crate) fn follow_calendar(&mut self, now: Instant) -> Vec<(Period, Zoned)> {
        let us = self.clock.now_us();
        let wall = us.and_then(|us| Timestamp::from_microsecond(us).ok());
        self.wall = us.map(|us| Wall {
            ms: us / 1000,
            at: now,
        });
        self.revise(now);
        self.allowance.follow_calendar(wall, now)
    }

    /// What a source waits for the receipt of does not linger, or nothing does.
    pub(crate) fn release(&mut self, lanes: &Lanes<Record, Claim>, everything: bool) {
        for (lane, bunches) in self.lanes.iter().zip(&mut self.bunches) {
            bunches.release(if everything {
                lanes.end(*lane)
            } else {
                lanes.awaited_to(*lane)
            });
        }
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
        let expired = self.holdback.expired(now) | self.topics.expired(now);
        let idle = self.holdback.is_idle() && self.topics.is_empty();
        if lanes.has_deferred() && (expired || idle) {
            lanes.retry_deferred();
        }
    }

    /// Frees topics that nobody tries any more; to be called every second or so.
    fn revise(&mut self, now: Instant) {
        let uplink = &self.uplink;
        for topic in self.topics.revise(|topic| uplink.under_way(topic)) {
            self.uplink.hold(&topic, false, now);
        }
        self.standings
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < STANDING);
    }

    fn send(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        lane: LaneId,
        allowed: usize,
        now: Instant,
    ) {
        let (mut events, mut bytes, mut kind) = (0, 0, None);
        let request = self.uplink.request(lane);
        while let Some(next) = lanes.peek(lane) {
            let replay = self.is_replay(&next);
            if *kind.get_or_insert(replay) != replay || (events > 0 && bytes + next.bytes > allowed)
            {
                break;
            }
            if events > 0 && self.goes_alone(lane, &next.placed.record, now) {
                break;
            }
            let (size, token) = (next.bytes, next.token);
            let offered = self.offer(lane, &next, replay, now);
            if matches!(offered, Offered::Waits) {
                break;
            }
            self.holdback.alone(lane, token);
            lanes.hand_over(lane, now);
            match offered {
                Offered::Sent(sent) => {
                    self.bunches[lane.index()].handed_over(token, sent, request, now);
                }
                Offered::Waits => {}
                Offered::MakesWay => lanes.defer(lane, token),
                Offered::Expired => {
                    lanes.give_up(lane, token, DropReason::Age);
                    lanes.settle();
                    continue;
                }
                Offered::Failed(outcome) => {
                    let report = DeliveryReport {
                        lane,
                        token,
                        outcome,
                        appended_ms: None,
                    };
                    self.take_report(lanes, report, now);
                }
            }
            events += 1;
            bytes += size;
            let is_whole = !self.bunches[lane.index()].takes_more(request, now);
            if self.holdback.is_careful(lane) || is_whole {
                break;
            }
        }
        self.uplink.sent(lane, now);
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
        if let Some(reason) = self.holds(lane) {
            return Some(Wait::Topic(reason));
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

    /// Why the topic of all of a lane's records is held, if it is.
    fn holds(&self, lane: LaneId) -> Option<String> {
        let topic = self.constant.get(lane.index())?.as_deref()?;
        self.topics.reason(topic)
    }

    /// Topics that are waited for, and why.
    pub(crate) fn blocked(&self) -> impl Iterator<Item = (&str, &str)> {
        self.topics.iter()
    }
}
