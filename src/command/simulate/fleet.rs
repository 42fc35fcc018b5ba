//! All gateways and the cluster, second by second, from the end of the outage on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::arrivals::{Arrivals, BIN_S};
use super::cluster::Cluster;
use super::gateway::Gateway;
use super::random::Random;
use super::{Policy, Simulation};

/// Live events arrive so often a second.
const STEPS: u32 = 10;
/// Each leads its share of the partitions, and runs on a thread of its own.
pub(super) const BROKERS: u32 = 2;
/// A fleet that has not caught up by then never does.
const HORIZON_S: u32 = 7 * 24 * 3600;

/// What the cluster saw, from the moment on when it could be reached again.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) points: Vec<Point>,
    /// When the last gateway had caught up, unless one did not.
    pub(super) drained_s: Option<f64>,
}

/// The mean of [`BIN_S`] seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Point {
    /// Events a second that arrived, times a usual day's.
    pub(super) arrivals: f64,
    /// What an alarm waited in the cluster's queue, at most.
    pub(super) alarm_s: f64,
    /// Gateways that have not caught up.
    pub(super) behind: u32,
}

impl Curve {
    /// Of all brokers together; the alarms of the one that is most behind.
    pub(super) fn merge(parts: &[Curve]) -> Curve {
        let longest = parts.iter().map(|part| part.points.len()).max();
        let points = (0..longest.unwrap_or(0)).map(|index| {
            let mut sum = Point::default();
            for part in parts {
                // One that ended earlier goes on as on a usual day.
                let usual = Point {
                    arrivals: 1.0,
                    ..Point::default()
                };
                let point = part.points.get(index).copied().unwrap_or(usual);
                sum.arrivals += point.arrivals / f64::from(BROKERS);
                sum.alarm_s = sum.alarm_s.max(point.alarm_s);
                sum.behind += point.behind;
            }
            sum
        });
        let drained = parts.iter().map(|part| part.drained_s);
        Curve {
            points: points.collect(),
            drained_s: drained
                .collect::<Option<Vec<f64>>>()
                .map(|all| all.into_iter().fold(0.0, f64::max)),
        }
    }

    pub(super) fn peak(&self) -> f64 {
        let arrivals = self.points.iter().map(|point| point.arrivals);
        arrivals.fold(0.0, f64::max)
    }

    pub(super) fn latest_alarm_s(&self) -> f64 {
        let alarms = self.points.iter().map(|point| point.alarm_s);
        alarms.fold(0.0, f64::max)
    }
}

pub(super) struct Fleet {
    gateways: Vec<Gateway>,
    cluster: Cluster,
    /// When each gateway that is behind is to be visited next.
    due: BinaryHeap<Reverse<(Instant, u32)>>,
    back: Instant,
    /// Events a second that are not behind a backlog, and of a usual day.
    live: f64,
    steady: f64,
    size: f64,
    /// Whether the gateway has been visited.
    known: Vec<bool>,
}

impl Fleet {
    /// The part of the fleet that sends to `broker`, of [`BROKERS`].
    pub(super) fn new(what: &Simulation, policy: &Policy, broker: u32) -> Fleet {
        let begun = Instant::now();
        let back = begun + what.outage.0;
        let gateways: Vec<Gateway> = (broker..what.gateways)
            .step_by(BROKERS as usize)
            .map(|number| {
                let shape = policy
                    .settings
                    .replay
                    .of_gateway(&format!("gateway-{number}"));
                Gateway::new(what, policy, shape, begun, back, Random::new(number))
            })
            .collect();
        let due = (0..what.gateways).zip(&gateways);
        let steady = what.rate * f64::from(what.gateways) / f64::from(BROKERS);
        Fleet {
            due: due
                .map(|(number, gateway)| Reverse((gateway.returned(), number)))
                .collect(),
            known: vec![false; gateways.len()],
            gateways,
            cluster: Cluster::new(steady * f64::from(what.size) * what.capacity, back),
            back,
            live: 0.0,
            steady,
            size: f64::from(what.size),
        }
    }

    /// Until all that have gateways on this broker have caught up.
    pub(super) fn run(mut self) -> Curve {
        let mut points = Vec::new();
        let mut arrivals = Arrivals::new(self.back);
        let mut point = Point::default();
        let (mut now, mut step) = (self.back, 0);
        while step < HORIZON_S * STEPS && !(self.due.is_empty() && step % (BIN_S * STEPS) == 0) {
            let live = self.live / f64::from(STEPS);
            self.cluster.take(live * self.size, now);
            arrivals.add(live, now, 0.0);
            now += Duration::from_secs(1) / STEPS;
            step += 1;
            self.visit_all_before(now, &mut arrivals);
            let wait = self.cluster.wait(now).as_secs_f64();
            point.alarm_s = point.alarm_s.max(wait);
            if step % (BIN_S * STEPS) == 0 {
                point.behind = u32::try_from(self.due.len()).unwrap_or(u32::MAX);
                points.push(point);
                point = Point::default();
            }
        }
        for (point, events) in points.iter_mut().zip(arrivals.bins()) {
            point.arrivals = events / f64::from(BIN_S) / self.steady;
        }
        let drained = self.due.is_empty().then(|| now - self.back);
        Curve {
            points,
            drained_s: drained.map(|drained| drained.as_secs_f64()),
        }
    }

    fn visit_all_before(&mut self, end: Instant, arrivals: &mut Arrivals) {
        while let Some(Reverse((at, number))) = self.due.peek().copied() {
            if at >= end {
                return;
            }
            self.due.pop();
            let index = number as usize;
            if !std::mem::replace(&mut self.known[index], true) {
                self.live += self.gateways[index].live_first();
            }
            let visit = self.gateways[index].visit(at, &mut self.cluster, arrivals);
            self.live += visit.live;
            if let Some(next) = visit.next {
                self.due.push(Reverse((next, number)));
            }
        }
    }
}
