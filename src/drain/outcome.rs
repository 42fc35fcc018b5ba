//! What the drain makes of reports and signals.

use std::time::{Duration, Instant};

use buffer::{DropReason, LaneId, Lanes};

use super::Drain;
use super::timestamps::{Refused, Remedy};
use crate::ingest::{Claim, Record};
use crate::pace::{Change, Flow};
use crate::uplink::{Delivery, DeliveryReport, Signal, Standing};

/// Events of trouble on a connection are told at most this often.
const TROUBLE_EVERY: Duration = Duration::from_mins(1);
/// A topic is held that takes nothing for longer, and that the cluster calls sick.
const SICK: Duration = Duration::from_millis(2500);
/// The same of one that the cluster calls well, if it is not only slow.
const STALLED: Duration = Duration::from_secs(6);
/// And of one that may only wait behind another.
const BEHIND: Duration = Duration::from_secs(9);

impl Drain {
    pub(super) fn take_report(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        report: DeliveryReport,
        now: Instant,
    ) {
        let DeliveryReport {
            lane,
            token,
            outcome,
            appended_ms,
        } = report;
        let round_trip = self.uplink.flow(lane).and_then(Flow::round_trip);
        self.bunches[lane.index()].landed(token, round_trip, now);
        let delivered = outcome == Delivery::Delivered;
        if let Some(sent) = self.timestamps.landed(lane, token, delivered, now) {
            self.hearsay.delivered(sent, appended_ms, self.wall, now);
        }
        match outcome {
            Delivery::Delivered => {
                self.holdback.passed(lane);
                lanes.delivered(lane, token, now);
            }
            Delivery::Rejected { reason } if self.holdback.was_alone(lane, token) => {
                self.holdback.passed(lane);
                self.give_up(lanes, lane, token, &reason, now);
            }
            Delivery::Untimely { topic, reason } => {
                self.untimely(lanes, lane, token, &topic, &reason, now);
            }
            Delivery::Rejected { .. } => self.suspect(lanes, lane, token, now),
            Delivery::Blocked { topic, reason } => {
                if !self.refuse(&topic, &reason, now) {
                    self.holdback.pause(lane, now);
                }
                if self.is_constant(lane) {
                    lanes.put_back(lane, token);
                } else {
                    lanes.defer(lane, token);
                }
            }
            Delivery::Again => {
                self.holdback.pause(lane, now);
                lanes.put_back(lane, token);
            }
            Delivery::Recalled => lanes.put_back(lane, token),
        }
    }

    /// A record goes again; what is newer must not overtake it.
    fn send_again(&mut self, lanes: &mut Lanes<Record, Claim>, lane: LaneId, token: u64) {
        lanes.put_back(lane, token);
        self.recall(lanes, lane);
    }

    /// Takes back what is under way with `lane`, also of other lanes of its connection.
    pub(super) fn recall(&mut self, lanes: &mut Lanes<Record, Claim>, lane: LaneId) {
        for other in self.uplink.recall(lane) {
            lanes.hold(other);
        }
    }

    /// The cluster does not take a record with the timestamp that it was sent with.
    fn untimely(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        lane: LaneId,
        token: u64,
        topic: &str,
        reason: &str,
        now: Instant,
    ) {
        let Some(placed) = lanes.sent(lane, token) else {
            return;
        };
        let refused = Refused {
            lane,
            token,
            next: lanes.next_token(lane),
            ms: self.clock.settled(placed.record.stamp).0 / 1000,
        };
        self.hearsay.refused(refused.ms, self.wall, now);
        let remedy = self.timestamps.refused(topic, refused, self.wall, now);
        if remedy == Remedy::None {
            self.give_up(lanes, lane, token, reason, now);
            return;
        }
        if remedy == Remedy::Found {
            let name = self.names.get(lane.index()).map_or("", String::as_str);
            tracing::warn!(
                lane = name,
                topic,
                reason,
                "the cluster does not take an event with its time; it is sent with a timestamp that the cluster takes, and its own time stays in ce_time; check the clocks of the gateway, its devices and the brokers"
            );
        }
        self.send_again(lanes, lane, token);
    }

    /// A record that the cluster will never take is set aside; while the disk does not take it, it is sent, and refused, again.
    fn give_up(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        lane: LaneId,
        token: u64,
        reason: &str,
        now: Instant,
    ) {
        if self.rejected.has_room() {
            self.reject(lanes, lane, token, reason);
        } else {
            self.suspect(lanes, lane, token, now);
        }
    }

    fn suspect(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        lane: LaneId,
        token: u64,
        now: Instant,
    ) {
        self.holdback.suspect(lane);
        self.holdback.pause(lane, now);
        self.send_again(lanes, lane, token);
    }

    fn reject(&mut self, lanes: &mut Lanes<Record, Claim>, lane: LaneId, token: u64, reason: &str) {
        let Some(placed) = lanes.give_up(lane, token, DropReason::Rejected) else {
            return;
        };
        let name = self.names.get(lane.index()).map_or("", String::as_str);
        let kept_at = self.rejected.keep(name, &placed, reason);
        tracing::error!(lane = name, seq = placed.sequence, subject = %placed.record.origin.subject,
            bytes = placed.record.payload.len(), reason, kept_at = %kept_at.display(),
            "the cluster will never take this record; it is set aside");
    }

    pub(super) fn signal(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        signal: Signal,
        now: Instant,
    ) -> Option<Change> {
        match signal {
            Signal::Connected(up) => self.link.connected(up, now),
            Signal::Trouble(reason) => {
                // librdkafka adds how long it took and how often it was so.
                let cause = reason.split(" (after ").next().unwrap_or(&reason);
                let told = self
                    .trouble
                    .as_ref()
                    .is_some_and(|(at, last)| *at + TROUBLE_EVERY > now && *last == cause);
                if !told {
                    tracing::warn!(reason = cause, "trouble with the cluster; trying again");
                    self.trouble = Some((now, cause.to_owned()));
                }
                None
            }
            Signal::Answered => self.link.answered(now),
            Signal::Stalled { topic, since } => {
                self.stalled(lanes, &topic, since, now);
                None
            }
            Signal::Asked { topic, standing } => {
                self.standings.insert(topic, (now, standing));
                self.link.answered(now)
            }
            Signal::Accepted { topic } => {
                self.topics.accept(&topic, now);
                self.uplink.hold(&topic, false, now);
                None
            }
            Signal::Resend(resend) => {
                self.resend(lanes, resend);
                None
            }
        }
    }

    /// What these lanes had under way is forgotten, and goes again.
    fn resend(&mut self, lanes: &mut Lanes<Record, Claim>, forgotten: Vec<LaneId>) {
        for lane in forgotten {
            self.timestamps.forget(lane);
            self.bunches[lane.index()].forget();
            lanes.resend(lane);
        }
    }

    /// Holds a topic that the cluster refuses. Returns whether it does: not where there are too many.
    fn refuse(&mut self, topic: &str, reason: &str, now: Instant) -> bool {
        let held = self.topics.refuse(topic, reason, now);
        if held {
            self.uplink.hold(topic, true, now);
        }
        held
    }

    /// A topic of which nothing was delivered since then is held, if brokers answer all the while.
    fn stalled(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        topic: &str,
        since: Instant,
        now: Instant,
    ) {
        let since = since.max(self.link.since()).max(self.uplink.silent_until());
        let lasts = now.saturating_duration_since(since);
        let sick = self.standings.get(topic).filter(|(at, _)| *at >= since);
        let reason = match sick.map(|(_, standing)| standing) {
            Some(Standing::Sick(reason) | Standing::Refused(reason)) if lasts > SICK => {
                reason.clone()
            }
            Some(Standing::Writable(leaders)) if lasts > STALLED => {
                if lasts < BEHIND && self.uplink.waits_behind(topic, now) {
                    return;
                }
                let trouble = self.uplink.trouble_of(topic);
                // A slow link is no sick topic.
                if trouble.is_none() && !self.uplink.is_overdue(topic, since, now) {
                    return;
                }
                let leads = || leaders.iter().map(ToString::to_string).collect::<Vec<_>>();
                trouble.map_or_else(
                    || {
                        let leads = leads().join(", ");
                        format!("what leads its partitions, broker {leads}, does not take records, though the cluster answers")
                    },
                    str::to_owned,
                )
            }
            Some(_) | None => return,
        };
        if self.link.is_up() || self.link.is_stalled() {
            self.hold_stalled(lanes, topic, &reason, since, now);
        }
    }

    /// Holds a topic that is stalled; where others wait with it, its connection begins anew, without the records of topics that
    /// are held. If one is held already, that one is to blame.
    fn hold_stalled(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        topic: &str,
        reason: &str,
        since: Instant,
        now: Instant,
    ) {
        let under_way = |held: &str| self.uplink.under_way(held) > 0;
        let blamed = self.topics.iter().any(|(held, _)| under_way(held));
        let forgotten = self.uplink.free_from(topic, since);
        if forgotten.is_empty() {
            if self.topics.stall(topic, reason, now) {
                self.uplink.hold(topic, true, now);
            }
            return;
        }
        self.topics.refuse_again(now);
        if !blamed {
            self.refuse(topic, reason, now);
        }
        tracing::warn!(
            topic,
            "other topics waited with one that takes nothing, on the same connection; it begins anew without that topic; some events may be repeated with the same id"
        );
        self.resend(lanes, forgotten);
    }
}
