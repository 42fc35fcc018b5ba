//! What the agent says of itself: in its log, and in the health lane.

use std::time::Instant;

use buffer::{Dropped, Finding, LaneId};
use serde_json::json;

use super::Agent;
use crate::config::{HEALTH, Intent};
use crate::ingest::Ingest;
use crate::pace::Change;

impl Agent {
    pub(super) fn finding(&mut self, finding: &Finding, now: Instant) {
        let notice = match finding {
            Finding::Damaged {
                generation,
                records,
                kept_at,
            } => {
                tracing::error!(generation = %generation.display(), records, kept_at = %kept_at.display(),
                    "a part of the buffer is damaged; the rest of it is sent, what waited in it is counted as dropped; look at the disk");
                json!({ "generation": generation, "records": records, "kept_at": kept_at })
            }
            Finding::Torn { generation } => {
                tracing::warn!(generation = %generation.display(), "the last write to the buffer was cut short, as by a power cut; it had no receipt, so that nothing is lost unless the disk is failing");
                json!({ "generation": generation, "torn": true })
            }
            Finding::Foreign {
                generation,
                blocks,
                kept_at,
            } => {
                tracing::error!(generation = %generation.display(), blocks, kept_at = %kept_at.display(),
                    "blocks in the buffer are refused and not sent: they are not encrypted though they are newer than buffer.keys, or they are encrypted for another gateway, lane or generation; somebody may have changed the disk; look at who can write to it");
                json!({ "generation": generation, "foreign_blocks": blocks, "kept_at": kept_at })
            }
            Finding::MarksLost { kept_at } => {
                tracing::warn!(kept_at = %kept_at.display(), "the buffer's marks are damaged; some delivered events will be sent again with the same ids");
                json!({ "marks": "lost", "kept_at": kept_at })
            }
            Finding::Orphan { lane, bytes } => {
                tracing::warn!(
                    lane,
                    bytes,
                    "the buffer holds events of an intent that the configuration no longer names; they stay until an [[intent]] of that name is back"
                );
                json!({ "orphan": lane, "bytes": bytes })
            }
        };
        self.notice("damage", &notice, now);
    }

    /// Tells of records of `intent` that were dropped, in the log and in the health lane.
    pub(super) fn tell_drop(&mut self, intent: &Intent, drop: &Dropped, now: Instant) {
        let (lane, reason) = (intent.name.as_str(), drop.reason.name());
        let (count, first, last) = (drop.count, drop.first, drop.last);
        let mut notice = json!({ "lane": lane, "reason": reason, "count": count, "first_seq": first, "last_seq": last });
        if let Some(largest) = &drop.largest {
            let (subject, bytes, limit) = (&largest.name, largest.bytes, intent.lane.record);
            tracing::error!(
                lane,
                reason,
                count,
                first,
                last,
                subject,
                bytes,
                limit,
                "events dropped: with their tags they are larger than their lane can hold; the subject is that of the largest; send them in parts, or choose a larger memory.profile"
            );
            (notice["subject"], notice["bytes"]) = (json!(subject), json!(bytes));
        } else {
            tracing::warn!(%lane, reason, count, first, last, "events dropped");
        }
        // A report on drops of reports would be dropped as well.
        if lane != HEALTH {
            self.notice("drops", &notice, now);
        }
    }

    pub(super) fn notice(&mut self, kind: &'static str, notice: &serde_json::Value, now: Instant) {
        let (event, lane) = (self.health.event(kind, notice), self.health_lane());
        Ingest::notice(&mut self.lanes, lane, event, now);
    }

    pub(super) fn health_lane(&self) -> LaneId {
        let lane = self.intents.id(HEALTH);
        lane.expect("the health intent is built in")
    }

    pub(super) fn link_changed(&mut self, change: Change, now: Instant) {
        let backlog: u64 = self
            .intents
            .iter()
            .map(|(lane, _)| self.lanes.waiting(lane))
            .sum();
        match change {
            Change::Up { outage } => {
                self.tidy(true);
                tracing::info!(cluster = %self.facts.brokers, ?outage, backlog, "uplink up");
                self.notice(
                    "link",
                    &json!({ "up": true, "outage_s": outage.as_secs_f64(), "backlog": backlog }),
                    now,
                );
            }
            Change::Down => {
                tracing::warn!(cluster = %self.facts.brokers, backlog, "uplink lost; events are kept on disk until it is back");
                self.notice("link", &json!({ "up": false, "backlog": backlog }), now);
            }
        }
    }
}
