//! What the agent shows of itself: a snapshot, made when somebody asks.

mod metrics;

mod serve;

mod table;

use std::sync::atomic::Ordering;
use std::time::Instant;

use buffer::{DropReason, LaneId, Lanes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use serve::{Port, ask, listen, serve};
pub(crate) use table::{age, size, table};

use crate::agent::Agent;
use crate::allowance::BudgetUse;
use crate::flash::Life;
use crate::flow::Flow;
use crate::intent::Intents;
use crate::record::{Record, Slip};

/// Everything an operator may ask for, at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub gateway: String,
    pub version: String,
    pub epoch: u32,
    pub uptime_s: f64,
    pub link: LinkStatus,
    pub lanes: Vec<LaneStatus>,
    pub sources: Vec<SourceStatus>,
    /// What keeps the disk from taking what must be kept.
    pub disk_error: Option<String>,
    pub flash: FlashStatus,
    /// Events larger than any lane can hold, dropped.
    pub too_large: u64,
    /// Events that asked for an intent that does not exist.
    pub unknown_intents: u64,
    /// Subjects whose topic template could not be filled in.
    pub fallback_topics: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LinkStatus {
    pub up: bool,
    /// How long it has been so.
    pub since_s: f64,
    pub brokers: String,
    /// What the brokers asked us to wait in the last second, at most.
    pub throttled_ms: u64,
    /// The least round trip of a request to a broker, once known.
    pub round_trip_ms: Option<f64>,
    /// Bytes a second, before compression, delivered in the best of the last ten seconds of sending.
    pub goodput: f64,
    /// The same that a client quota was found to allow, if there is one.
    pub quota: Option<f64>,
    /// `[[link.budget]]`, as of now.
    #[serde(default)]
    pub budgets: Vec<BudgetStatus>,
    /// Topics that the cluster does not take, and why.
    pub blocked: Vec<(String, String)>,
}

/// Bytes on the wire in the hour, day or month that it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BudgetStatus {
    pub per: String,
    pub bytes: u64,
    pub used: u64,
    /// All but what is kept for urgent intents.
    pub is_used_up: bool,
}

/// What is written to the flash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FlashStatus {
    /// Bytes written by the agent since its start, as the kernel counts them.
    pub written_bytes: u64,
    /// Since the day began on the buffer's clock, and since the buffer was made; as of the last mark.
    pub today_bytes: u64,
    pub ever_bytes: u64,
    /// Bytes written for each byte that was kept, compressed; none while nothing was kept.
    pub write_amplification: Option<f64>,
    /// What an eMMC says of itself.
    pub life: Option<Life>,
}

/// One lane. `recovered + accepted = delivered + dropped + buffered`, always.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LaneStatus {
    pub name: String,
    pub recovered: u64,
    pub accepted: u64,
    pub delivered: u64,
    pub buffered: u64,
    pub refused: u64,
    pub dropped: Vec<(String, u64)>,
    pub in_flight: u64,
    pub disk_bytes: u64,
    pub memory_bytes: u64,
    /// Bytes of blocks written since the start.
    pub stored_bytes: u64,
    /// Age of the oldest event that waits; on disk it may be a generation younger.
    pub oldest_s: f64,
    /// Over the last second.
    pub accepted_per_s: f64,
    pub delivered_per_s: f64,
    /// Why it does not send what it has, in words.
    pub waits: Option<String>,
    /// Events a second that it takes in on average, over ten minutes, and the bytes of one: as it is in memory, and on disk,
    /// compressed, once some were stored.
    #[serde(default)]
    pub usual_per_s: f64,
    #[serde(default)]
    pub event_bytes: u64,
    #[serde(default)]
    pub event_stored_bytes: Option<u64>,
    /// Seconds until nothing is left, at the rate of the last minute; none while it does not become less.
    pub drained_in_s: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SourceStatus {
    pub name: String,
    pub connected: bool,
    pub received: u64,
    pub refused: u64,
    pub errors: u64,
    pub last_error: String,
}

/// The weight of the last second in a mean over about a minute.
const LATELY: f64 = 0.05;

/// Rates, from counts a second apart.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    measured: Option<Instant>,
    /// Accepted and delivered at `measured`, their rates before it, and how much less it became a second of late.
    lanes: Vec<(u64, u64, f64, f64, f64)>,
}

impl Meter {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a second's events are far below 2^53"
    )]
    pub(crate) fn measure(&mut self, lanes: &Lanes<Record, Slip>, intents: &Intents, now: Instant) {
        let seconds = self
            .measured
            .map(|before| now.saturating_duration_since(before).as_secs_f64());
        self.lanes
            .resize(intents.iter().count(), (0, 0, 0.0, 0.0, 0.0));
        for ((lane, _), slot) in intents.iter().zip(&mut self.lanes) {
            let counts = lanes.counts(lane);
            let rate = |now: u64, before: u64| {
                seconds
                    .filter(|s| *s > 0.0)
                    .map_or(0.0, |s| (now - before) as f64 / s)
            };
            let rates = (
                rate(counts.accepted, slot.0),
                rate(counts.delivered, slot.1),
            );
            let less = slot.4 + (rates.1 - rates.0 - slot.4) * LATELY;
            *slot = (counts.accepted, counts.delivered, rates.0, rates.1, less);
        }
        self.measured = Some(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn drained_in_s(&self, lane: LaneId, waiting: u64) -> Option<f64> {
        let less = self.lanes.get(lane.index())?.4;
        (waiting > 0 && less > 0.0).then(|| waiting as f64 / less)
    }

    fn rates(&self, lane: LaneId) -> (f64, f64) {
        self.lanes
            .get(lane.index())
            .map_or((0.0, 0.0), |slot| (slot.2, slot.3))
    }
}

impl Agent {
    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            gateway: self.facts().gateway.clone(),
            version: crate::version::VERSION.into(),
            epoch: self.facts().epoch,
            uptime_s: now
                .saturating_duration_since(self.facts().started)
                .as_secs_f64(),
            link: self.link_status(now),
            lanes: self
                .intents()
                .iter()
                .map(|(lane, intent)| self.lane_status(lane, &intent.name, now))
                .collect(),
            sources: self
                .sources()
                .iter()
                .map(|(name, stats)| source_status(name, stats))
                .collect(),
            disk_error: self.disk_error().map(Into::into),
            flash: self.flash_status(),
            too_large: self.ingest().too_large,
            unknown_intents: self.ingest().router.unknown_intents,
            fallback_topics: self.drain().addresses.fallbacks,
        }
    }

    fn link_status(&self, now: Instant) -> LinkStatus {
        let drain = self.drain();
        let lasted = now.saturating_duration_since(drain.link.since());
        let throttle = drain.uplink.throttle().as_millis();
        let flows = || drain.uplink.flows();
        let round_trips = flows().filter_map(Flow::round_trip);
        let blocked = drain.blocked();
        LinkStatus {
            up: drain.link.is_up(),
            since_s: lasted.as_secs_f64(),
            brokers: self.facts().brokers.clone(),
            throttled_ms: u64::try_from(throttle).unwrap_or(u64::MAX),
            round_trip_ms: round_trips.min().map(|least| least.as_secs_f64() * 1000.0),
            goodput: flows().map(Flow::goodput).sum(),
            quota: flows().filter_map(|flow| flow.quota(now)).reduce(f64::min),
            budgets: drain.allowance.budgets().map(budget_status).collect(),
            blocked: blocked
                .map(|(topic, why)| (topic.to_owned(), why.to_owned()))
                .collect(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn flash_status(&self) -> FlashStatus {
        let counts = self
            .intents()
            .iter()
            .map(|(lane, _)| self.lanes().counts(lane));
        let kept: u64 = counts.map(|counts| counts.stored_bytes).sum();
        let written_bytes = buffer::written_by_this_process().unwrap_or(0);
        FlashStatus {
            written_bytes,
            today_bytes: self.wear().today,
            ever_bytes: self.wear().written,
            write_amplification: (kept > 0).then(|| written_bytes as f64 / kept as f64),
            life: self.facts().life,
        }
    }

    fn lane_status(&self, lane: LaneId, name: &str, now: Instant) -> LaneStatus {
        let counts = self.lanes().counts(lane);
        let (disk_bytes, memory_bytes) = self.lanes().bytes(lane);
        let oldest = self.lanes().oldest(lane);
        let (accepted_per_s, delivered_per_s) = self.meter().rates(lane);
        let waiting = self.lanes().waiting(lane);
        let in_flight = self.lanes().in_flight(lane) as u64;
        LaneStatus {
            name: name.into(),
            recovered: counts.recovered,
            accepted: counts.accepted,
            delivered: counts.delivered,
            buffered: waiting,
            refused: counts.refused,
            dropped: DropReason::ALL
                .iter()
                .zip(counts.dropped)
                .map(|(why, n)| (why.name().into(), n))
                .collect(),
            in_flight,
            disk_bytes,
            memory_bytes: memory_bytes as u64,
            stored_bytes: counts.stored_bytes,
            oldest_s: oldest.map_or(0.0, |oldest| {
                now.saturating_duration_since(oldest).as_secs_f64()
            }),
            accepted_per_s,
            delivered_per_s,
            waits: self
                .drain()
                .waits(lane, now)
                .filter(|_| waiting > in_flight),
            usual_per_s: self.drain().usual(lane),
            event_bytes: counts.accepted_bytes / counts.accepted.max(1),
            event_stored_bytes: counts.stored_bytes.checked_div(counts.stored),
            drained_in_s: self.meter().drained_in_s(lane, waiting),
        }
    }
}

fn budget_status(budget: BudgetUse) -> BudgetStatus {
    BudgetStatus {
        per: budget.per.name().into(),
        bytes: budget.bytes,
        used: budget.used,
        is_used_up: budget.is_used_up,
    }
}

fn source_status(name: &str, stats: &adapters::SourceStats) -> SourceStatus {
    SourceStatus {
        name: name.into(),
        connected: stats.connected.load(Ordering::Relaxed),
        received: stats.received.load(Ordering::Relaxed),
        refused: stats.refused.load(Ordering::Relaxed),
        errors: stats.errors.load(Ordering::Relaxed),
        last_error: stats.last_error(),
    }
}

impl LaneStatus {
    pub(crate) fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }
}

impl Snapshot {
    /// No more waits than arrives in a second: what is left is on its way.
    #[cfg(feature = "demo")]
    pub(crate) fn has_caught_up(&self) -> bool {
        self.lanes.iter().all(|lane| {
            let waiting = u32::try_from(lane.buffered).map_or(f64::INFINITY, f64::from);
            waiting <= lane.accepted_per_s.max(1.0)
        })
    }

    /// Everything that was accepted is delivered or dropped.
    #[cfg(feature = "demo")]
    pub(crate) fn is_drained(&self) -> bool {
        self.lanes.iter().all(|lane| lane.buffered == 0)
    }

    /// What a heartbeat says: enough to see from afar what is wrong.
    #[must_use]
    pub(crate) fn heartbeat(&self) -> Value {
        let lanes = self.lanes.iter().map(|lane| {
            let dropped = lane.dropped_in_all();
            let report = json!({ "accepted": lane.accepted, "delivered": lane.delivered, "buffered": lane.buffered,
                "refused": lane.refused, "dropped": dropped, "disk_bytes": lane.disk_bytes, "oldest_s": lane.oldest_s,
                "delivered_per_s": lane.delivered_per_s, "drained_in_s": lane.drained_in_s, "waits": lane.waits });
            (lane.name.clone(), report)
        });
        let down: Vec<&str> = self
            .sources
            .iter()
            .filter(|s| !s.connected)
            .map(|s| s.name.as_str())
            .collect();
        json!({ "uptime_s": self.uptime_s, "link_up": self.link.up, "lanes": lanes.collect::<serde_json::Map<_, _>>(),
            "sources_down": down, "disk_error": self.disk_error, "flash": self.flash })
    }

    /// Well enough to be left alone: the disk takes what must be kept. An outage is not an illness.
    #[must_use]
    pub(crate) fn is_healthy(&self) -> bool {
        self.disk_error.is_none()
    }
}
