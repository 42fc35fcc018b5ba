//! One gateway: the agent's own shaper and flow, on lanes that are only counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adapters::Backoff;
use buffer::LaneId;

use super::arrivals::Arrivals;
use super::cluster::Cluster;
use super::random::Random;
use super::{Policy, Simulation};
use crate::config::Intent;
use crate::pace::Flow;
use crate::pace::Link;
use crate::pace::Shape;
use crate::pace::number::{self, float, whole};
use crate::pace::{Backlog, Decision, Room, Shaper, catch_up_rate, live_behind};

/// librdkafka's waits between two attempts to connect, as `uplink` sets them.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));
/// Attempts are drawn for so long before the return; those before it do not matter.
const ATTEMPTS: Duration = Duration::from_mins(1);
/// A turn hands over what the lane takes in within a part of the time since the return, but no more than within so many
/// seconds: finely while much changes, and coarsely for the hours after it.
const CHUNK: (f64, f64) = (0.1, 300.0);
const CHUNK_PART: f64 = 50.0;
/// Bytes of a turn where no rate spreads them.
const COARSE: usize = 256 * 1024;

/// What a lane usually takes in: its share of a gateway's events.
const SHARES: [(&str, f64); 3] = [("critical", 0.01), ("state", 0.3), ("diagnostic", 0.69)];

struct Lane {
    id: LaneId,
    rate: f64,
    in_order: bool,
    urgent: bool,
    /// Events that wait, of those taken in until `counted`.
    waiting: f64,
    in_flight: f64,
    caught_up: bool,
    /// Events a second of backlog that it may replay beside the other lanes, if that is limited.
    replays: Option<f64>,
}

pub(super) struct Gateway {
    shaper: Shaper,
    link: Link,
    flow: Option<Flow>,
    most: usize,
    bulk_in_flight: usize,
    lanes: Vec<Lane>,
    /// What the cluster was given: when it comes back, of which lane, events, bytes, and whether it is delivered.
    given: VecDeque<Given>,
    backlog: Vec<Backlog>,
    size: f64,
    random: Random,
    begun: Instant,
    returned: Instant,
    counted: Instant,
}

struct Given {
    at: Instant,
    lane: usize,
    events: f64,
    bytes: usize,
    served: bool,
}

/// What a visit to a gateway left.
pub(super) struct Visit {
    /// When to look at it next; never, once it has caught up.
    pub next: Option<Instant>,
    /// Events a second of lanes that have just caught up, and are live from now on.
    pub live: f64,
}

impl Gateway {
    /// Away since `begun`, back at its first attempt after `back`.
    pub(super) fn new(
        what: &Simulation,
        policy: &Policy,
        shape: Shape,
        begun: Instant,
        back: Instant,
        mut random: Random,
    ) -> Gateway {
        let intents = &policy.settings.intents;
        let most = number::in_memory(policy.settings.cluster().in_flight);
        let lane = |(id, intent): (LaneId, &Intent)| {
            let share = SHARES.iter().find(|(name, _)| *name == intent.name);
            share.map(|(_, share)| Lane {
                id,
                rate: share * what.rate,
                in_order: intent.pace.in_order,
                urgent: intent.pace.urgent,
                waiting: 0.0,
                in_flight: 0.0,
                caught_up: false,
                replays: shape.catch_up.map(|catch_up| {
                    let behind = live_behind(&intent.pace) * share * what.rate;
                    catch_up_rate(catch_up, what.rate) + behind
                }),
            })
        };
        let lanes: Vec<Lane> = intents.iter().filter_map(lane).collect();
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        let mut returned = back.checked_sub(ATTEMPTS).unwrap_or(back);
        while returned < back {
            returned += backoff.next(random.next()).max(Duration::from_millis(1));
        }
        let mut link = Link::new(shape.returning(), Duration::ZERO, begun);
        link.connected(false, begun);
        link.connected(true, returned);
        let none = |index: usize| Backlog {
            lane: LaneId(u8::try_from(index).unwrap_or(u8::MAX)),
            next: None,
            replay: true,
            room: Room::WhenDelivered,
            in_flight: 0,
        };
        Gateway {
            shaper: Shaper::new(shape, &intents.paces(), &[], begun),
            link,
            flow: policy.adapts.then(|| Flow::new(most, begun)),
            most,
            bulk_in_flight: 0,
            lanes,
            given: VecDeque::new(),
            backlog: (0..intents.iter().count()).map(none).collect(),
            size: f64::from(what.size),
            random,
            begun,
            returned,
            counted: begun,
        }
    }

    pub(super) fn returned(&self) -> Instant {
        self.returned
    }

    /// Events a second of lanes whose live events do not wait for the backlog.
    pub(super) fn live_first(&self) -> f64 {
        let lanes = self.lanes.iter().filter(|lane| !lane.in_order);
        lanes.map(|lane| lane.rate).sum()
    }

    /// Does all that is due at `now`.
    pub(super) fn visit(
        &mut self,
        now: Instant,
        cluster: &mut Cluster,
        arrivals: &mut Arrivals,
    ) -> Visit {
        self.land(now);
        let live = self.take_in(now);
        loop {
            self.fill_backlog(now);
            match self.shaper.turn(&self.backlog, &self.link, now) {
                Decision::Send { lane, .. } => {
                    self.send(lane, now, cluster, arrivals);
                }
                Decision::Wait { until } => {
                    let is_full =
                        |one: &Backlog| one.next.is_some() && one.room == Room::WhenDelivered;
                    let landed = self
                        .given
                        .front()
                        .filter(|_| self.backlog.iter().any(is_full));
                    let next = Some(landed.map_or(until, |given| until.min(given.at)));
                    return Visit { next, live };
                }
                Decision::Idle => {
                    let next = self.given.front().map(|given| given.at.max(now));
                    let behind = self.lanes.iter().any(|lane| !lane.caught_up);
                    let soon = behind.then(|| now + Duration::from_secs(1));
                    return Visit {
                        next: next.or(soon),
                        live,
                    };
                }
            }
        }
    }

    /// What has come back from the cluster.
    fn land(&mut self, now: Instant) {
        while let Some(given) = self.given.pop_front_if(|given| given.at <= now) {
            let lane = &mut self.lanes[given.lane];
            lane.in_flight -= given.events;
            if !given.served {
                lane.waiting += given.events;
            }
            if !lane.urgent {
                self.bulk_in_flight = self.bulk_in_flight.saturating_sub(given.bytes);
                if let Some(flow) = &mut self.flow {
                    flow.landed(given.bytes, given.served, now);
                }
            }
        }
    }

    /// What the sources gave since the last visit. Returns the rate of lanes that have caught up.
    fn take_in(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        let away = self.returned.saturating_duration_since(self.counted);
        self.counted = now;
        let mut live = 0.0;
        for lane in &mut self.lanes {
            // Where live goes first, only what came during the outage waits.
            let waits = if lane.in_order {
                passed
            } else {
                away.as_secs_f64()
            };
            if !lane.caught_up {
                lane.waiting += lane.rate * waits;
            }
            let accepted =
                whole(lane.rate * now.saturating_duration_since(self.begun).as_secs_f64());
            let taken_in = (accepted, whole(float(accepted) * self.size));
            self.shaper
                .observe(lane.id, taken_in, whole(lane.waiting), now);
            let is_new =
                !lane.caught_up && lane.waiting + lane.in_flight < (2.0 * lane.rate).max(1.0);
            if is_new {
                lane.caught_up = true;
                live += if lane.in_order { lane.rate } else { 0.0 };
                lane.waiting = 0.0;
            }
        }
        live
    }

    fn fill_backlog(&mut self, now: Instant) {
        let back = now.saturating_duration_since(self.returned).as_secs_f64();
        // Gateways in step would make waves of chunks that real ones do not.
        let seconds = (back / CHUNK_PART).clamp(CHUNK.0, CHUNK.1) * (0.5 + self.random.share());
        for lane in &self.lanes {
            let slot = &mut self.backlog[lane.id.index()];
            let chunk = match lane.replays {
                // Finely again towards the end.
                Some(_) => {
                    let events = (lane.rate * seconds).min(lane.waiting / 20.0);
                    bytes(events.max(1.0), self.size)
                }
                None => COARSE,
            };
            slot.next = (lane.waiting >= 1.0).then(|| chunk.min(bytes(lane.waiting, self.size)));
            let left = self.most.saturating_sub(self.bulk_in_flight);
            slot.room = match (slot.next, &mut self.flow) {
                (Some(next), Some(flow)) if !lane.urgent => flow.ask(next, now),
                (Some(next), _) if left >= next || self.bulk_in_flight == 0 => Room::Now(left),
                (Some(_) | None, _) => Room::WhenDelivered,
            };
        }
    }

    fn send(&mut self, id: LaneId, now: Instant, cluster: &mut Cluster, arrivals: &mut Arrivals) {
        let Some(index) = self.lanes.iter().position(|lane| lane.id == id) else {
            return;
        };
        let next = self.backlog[id.index()].next.unwrap_or(0);
        let lane = &mut self.lanes[index];
        let events = (float(next as u64) / self.size)
            .floor()
            .clamp(1.0, lane.waiting.max(1.0));
        let size = bytes(events, self.size);
        lane.waiting = (lane.waiting - events).max(0.0);
        lane.in_flight += events;
        let (at, served) = cluster.take(events * self.size, now);
        if served {
            // It stands for turns of a second each.
            let over_s = lane.replays.map_or(0.0, |replays| events / replays);
            arrivals.add(events, now, over_s);
        }
        if !lane.urgent {
            self.bulk_in_flight += size;
            if let Some(flow) = &mut self.flow {
                flow.sent(size, now);
            }
        }
        let given = Given {
            at,
            lane: index,
            events,
            bytes: size,
            served,
        };
        let place = self.given.partition_point(|before| before.at <= at);
        self.given.insert(place, given);
        let count = number::bytes(events);
        self.shaper.sent(id, count, size, true, &self.link, now);
    }
}

fn bytes(events: f64, size: f64) -> usize {
    number::bytes(events.floor() * size)
}
