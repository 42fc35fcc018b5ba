//! What the drain makes of reports and signals.

use std::time::{Duration, Instant};

use buffer::{LaneId, Lanes};

use super::Drain;
use crate::ingest::{Claim, Record};
use crate::pace::Change;
use crate::uplink::{Delivery, DeliveryReport, Signal};

/// Events of trouble on a connection are told at most this often.
const TROUBLE_EVERY: Duration = Duration::from_mins(1);

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
        } = report;
        match outcome {
            Delivery::Delivered => {
                self.holdback.passed(lane);
                lanes.delivered(lane, token, now);
            }
            Delivery::Rejected { reason } if self.holdback.was_alone(lane, token) => {
                self.holdback.passed(lane);
                if self.rejected.has_room() {
                    self.reject(lanes, lane, token, &reason);
                } else {
                    // The disk hangs: the record is sent, and refused, again.
                    self.suspect(lanes, lane, token, now);
                }
            }
            Delivery::Rejected { .. } => self.suspect(lanes, lane, token, now),
            Delivery::Blocked { topic, reason } => {
                self.holdback.block(topic, reason, now);
                lanes.defer(lane, token);
            }
            Delivery::Again => {
                self.holdback.pause(now);
                lanes.defer(lane, token);
            }
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
        self.holdback.pause(now);
        lanes.defer(lane, token);
    }

    fn reject(&mut self, lanes: &mut Lanes<Record, Claim>, lane: LaneId, token: u64, reason: &str) {
        let Some(placed) = lanes.rejected(lane, token) else {
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
            Signal::Resend(resend) => {
                for lane in resend {
                    lanes.resend(lane);
                }
                None
            }
        }
    }
}
