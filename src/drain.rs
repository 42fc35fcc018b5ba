//! From the lanes to the uplink: asks the shaper, then does one of a few named things.

mod message;

mod reports;

use std::time::{Duration, Instant};

use adapters::Clock;
use buffer::{LaneId, Lanes, Next};
use jiff::{Timestamp, Zoned};

use crate::address::Addresses;
use crate::allowance::Allowance;
use crate::config::Period;
use crate::flow::{Flow, Hold};
use crate::holdback::Holdback;
use crate::intent::Intents;
use crate::link::{Change, Link};
use crate::record::{Record, Slip};
use crate::setaside::SetAside;
use crate::shaper::{Backlog, Shaper, Turn};
use crate::uplink::{Delivery, Report, Signal, Unsent, Uplink};

/// What is under way is counted within this.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);
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
    set_aside: SetAside,
    reports: Vec<Report>,
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

pub(crate) struct Parts {
    pub uplink: Uplink,
    pub addresses: Addresses,
    pub shaper: Shaper,
    pub allowance: Allowance,
    pub clock: Clock,
    pub gateway: String,
    pub topic_retry: Duration,
    pub set_aside: SetAside,
    /// The buffer held records at start.
    pub has_backlog: bool,
}

impl Drain {
    #[must_use]
    pub(crate) fn new(parts: Parts, intents: &Intents, now: Instant) -> Drain {
        let topics: Vec<_> = intents.iter().map(|(_, intent)| &intent.topic).collect();
        Drain {
            uplink: parts.uplink,
            link: Link::new(parts.has_backlog, now),
            addresses: parts.addresses,
            shaper: parts.shaper,
            allowance: parts.allowance,
            lanes: intents.iter().map(|(lane, _)| lane).collect(),
            clock: parts.clock,
            gateway: parts.gateway,
            names: intents
                .iter()
                .map(|(_, intent)| intent.name.clone())
                .collect(),
            holdback: Holdback::new(parts.topic_retry, &topics),
            set_aside: parts.set_aside,
            reports: Vec::new(),
            signals: Vec::new(),
            trouble: None,
            backlog: Vec::new(),
            time: (0, Timestamp::UNIX_EPOCH.to_string()),
        }
    }

    /// Takes in what the uplink has to say. Returns changes of the link, to be reported.
    pub(crate) fn listen(&mut self, lanes: &mut Lanes<Record, Slip>, now: Instant) -> Vec<Change> {
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
            self.report(lanes, report, now);
        }
        for carried in self.uplink.carried() {
            let (wire, landed) = (carried.wire, carried.landed);
            self.allowance.carried(&carried.lanes, wire, landed);
        }
        lanes.settle();
        changes.extend(delivered.then(|| self.link.answered(now)).flatten());
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
    fn in_flight(&self, lanes: &Lanes<Record, Slip>, lane: LaneId) -> usize {
        let mates = self
            .lanes
            .iter()
            .filter(|mate| self.holdback.share(lane, **mate));
        mates.map(|mate| lanes.in_flight(*mate)).sum()
    }

    /// Tells the shaper what is usual; to be called every second or so.
    pub(crate) fn observe(&mut self, lanes: &Lanes<Record, Slip>, now: Instant) {
        for lane in &self.lanes {
            let waiting = lanes.waiting(*lane);
            let waiting = waiting.saturating_sub(lanes.in_flight(*lane) as u64);
            let accepted = lanes.counts(*lane).accepted;
            self.shaper.observe(*lane, accepted, waiting, now);
        }
    }

    /// Looks at the calendar; to be called every second or so. Returns the budgets that are just used up, and until when.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<(Period, Zoned)> {
        let stamp = self.clock.stamp();
        let is_set = stamp.unsynced_boot_us.is_none();
        let wall = Timestamp::from_microsecond(stamp.unix_us).ok();
        self.allowance.look(wall.filter(|_| is_set), now)
    }

    /// Sends what the shaper allows now.
    pub(crate) fn pump(&mut self, lanes: &mut Lanes<Record, Slip>, now: Instant) -> Left {
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
                Turn::Send { lane, bytes } => self.send(lanes, lane, bytes, now),
                Turn::Wait { until } => return Left::Until(until),
                Turn::Idle => return Left::Nothing,
            }
        }
        Left::More
    }

    fn unblock(&mut self, lanes: &mut Lanes<Record, Slip>, now: Instant) {
        let expired = self.holdback.expired(now);
        if lanes.has_deferred() && (expired || self.holdback.is_idle()) {
            lanes.retry_deferred();
        }
    }

    fn backlog(&mut self, lanes: &Lanes<Record, Slip>, lane: LaneId, now: Instant) -> Backlog {
        let waits = self.holdback.is_careful(lane) && self.in_flight(lanes, lane) > 0;
        let next = lanes.peek(lane).filter(|_| !waits);
        let replay = next.as_ref().is_some_and(|next| self.is_replay(next));
        let next = next.map(|next| next.bytes);
        let room = next.map_or(Err(None), |next| self.room(lane, next, now));
        Backlog {
            lane,
            next,
            replay,
            room,
        }
    }

    fn room(&mut self, lane: LaneId, next: usize, now: Instant) -> Result<usize, Option<Instant>> {
        let allowed = self.allowance.ask(lane, self.uplink.uncounted());
        let allowed = allowed.map_err(Some)?;
        if allowed == 0 {
            return Err(Some(now + COUNTED_WITHIN));
        }
        let room = self.uplink.ask(lane, next, now)?;
        Ok(room.min(allowed))
    }

    /// It was on disk, or waited in memory for the link to come back.
    fn is_replay(&self, next: &Next<'_, Record>) -> bool {
        next.replay || (next.arrived < self.link.since() && self.link.returned_from().is_some())
    }

    fn send(
        &mut self,
        lanes: &mut Lanes<Record, Slip>,
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
                    self.report(
                        lanes,
                        Report {
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
        self.allowance.sent(lane, bytes);
        self.shaper
            .sent(lane, events, bytes, kind.unwrap_or(false), &self.link, now);
    }

    /// Events a second that a lane takes in on average.
    #[must_use]
    pub(crate) fn usual(&self, lane: LaneId) -> f64 {
        self.shaper.usual(lane)
    }

    /// Why a lane that has something to send does not, in words.
    pub(crate) fn waits(&self, lane: LaneId, now: Instant) -> Option<String> {
        if !self.link.is_up() {
            return Some("the link is down".into());
        }
        if let Some(closed) = self.allowance.closed_for(lane) {
            return Some(closed.why.clone());
        }
        if let Some(reason) = self.uplink.failure(lane) {
            return Some(format!(
                "its kafka producer failed and is rebuilt: {reason}"
            ));
        }
        let backlog = self.backlog.get(lane.index())?;
        backlog.next?;
        let flow = self.uplink.flow(lane);
        match flow.and_then(Flow::hold) {
            Some(Hold::Quota) => Some("a quota of the cluster is reached".into()),
            Some(Hold::Link) => Some("the link carries no more".into()),
            None => self.shaper.why(backlog, &self.link, now),
        }
    }

    /// Topics that are waited for, and why.
    pub(crate) fn blocked(&self) -> impl Iterator<Item = (&str, &str)> {
        self.holdback.topics()
    }
}
