//! What the agent shows of itself, made when somebody asks.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use adapters::SlaveStats;
use buffer::{DropReason, LaneId};

use super::Agent;
use super::sources::Seen;
use crate::pace::{BudgetUse, Flow, Wait};
use crate::process::version;
use crate::status::{
    BudgetStatus, FlashStatus, LaneStatus, LinkStatus, SlaveStatus, Snapshot, SourceStatus, words,
};

/// Topics that the status names: each of the answers under way holds them.
const BLOCKED_NAMED: usize = 50;

impl Agent {
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            gateway: self.facts.gateway.clone(),
            version: version::VERSION.into(),
            epoch: self.facts.epoch,
            uptime_s: now
                .saturating_duration_since(self.facts.started)
                .as_secs_f64(),
            clock: self.clock_status(),
            config: self.proving.status.clone(),
            link: self.link_status(now),
            lanes: self
                .intents
                .iter()
                .map(|(lane, intent)| self.lane_status(lane, &intent.name, now))
                .collect(),
            sources: self
                .sources
                .iter()
                .map(|source| source_status(&source, self.paused(source.name)))
                .collect(),
            parts: self.parts_down(now),
            disk_error: self.disk.trouble().cloned(),
            flash: self.flash_status(),
            too_large: self.too_large(),
            unknown_intents: self.ingest.router.unknown_intents,
            fallback_topics: self.drain.addresses.fallbacks,
        }
    }

    fn too_large(&self) -> u64 {
        let slot = DropReason::ALL
            .iter()
            .position(|reason| *reason == DropReason::TooLarge);
        let lanes = self.intents.iter();
        let dropped = lanes.map(|(lane, _)| self.lanes.counts(lane).dropped);
        dropped
            .filter_map(|counts| counts.get(slot?).copied())
            .sum()
    }

    fn link_status(&self, now: Instant) -> LinkStatus {
        let drain = &self.drain;
        let lasted = now.saturating_duration_since(drain.link.since());
        let throttle = drain.uplink.throttle().as_millis();
        let flows = || drain.uplink.flows();
        let round_trips = flows().filter_map(Flow::round_trip);
        LinkStatus {
            up: drain.link.is_up(),
            since_s: lasted.as_secs_f64(),
            brokers: self.facts.brokers.clone(),
            throttled_ms: u64::try_from(throttle).unwrap_or(u64::MAX),
            round_trip_ms: round_trips.min().map(|least| least.as_secs_f64() * 1000.0),
            goodput: flows().map(Flow::goodput).sum(),
            quota: flows().filter_map(|flow| flow.quota(now)).reduce(f64::min),
            budgets: drain.allowance.budgets().map(budget_status).collect(),
            blocked: drain
                .blocked()
                .take(BLOCKED_NAMED)
                .map(|(topic, why)| (topic.to_owned(), why.to_owned()))
                .collect(),
            blocked_more: drain.blocked().skip(BLOCKED_NAMED).count() as u64,
            other_cluster: drain.uplink.other_cluster(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn flash_status(&self) -> FlashStatus {
        let counts = self.intents.iter().map(|(lane, _)| self.lanes.counts(lane));
        let kept: u64 = counts.map(|counts| counts.stored_bytes).sum();
        let written_bytes = buffer::written_by_this_process().unwrap_or(0);
        FlashStatus {
            written_bytes,
            today_bytes: self.disk.wear.today,
            ever_bytes: self.disk.wear.written,
            write_amplification: (kept > 0).then(|| written_bytes as f64 / kept as f64),
            life: self.facts.life,
        }
    }

    fn lane_status(&self, lane: LaneId, name: &str, now: Instant) -> LaneStatus {
        let counts = self.lanes.counts(lane);
        let (disk_bytes, memory_bytes) = self.lanes.bytes(lane);
        let oldest = self.lanes.oldest(lane);
        let (accepted_per_s, delivered_per_s) = self.meter.rates(lane);
        let waiting = self.lanes.waiting(lane);
        let in_flight = self.lanes.in_flight(lane) as u64;
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
                .drain
                .wait(lane, now)
                .filter(|wait| waiting > in_flight || matches!(wait, Wait::Topic(_)))
                .map(|wait| words(&wait)),
            usual_per_s: self.drain.usual(lane),
            event_bytes: counts.accepted_bytes / counts.accepted.max(1),
            event_stored_bytes: counts.stored_bytes.checked_div(counts.stored),
            drained_in_s: self.meter.drained_in_s(lane, waiting),
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

fn source_status(source: &Seen<'_>, paused: Option<String>) -> SourceStatus {
    let stats = source.stats;
    let paused_for = Duration::from_micros(stats.paused_us.load(Ordering::Relaxed));
    SourceStatus {
        name: source.name.into(),
        restarts: source.restarts,
        down: source.down.map(ToOwned::to_owned),
        connected: stats.connected.load(Ordering::Relaxed),
        received: stats.received.load(Ordering::Relaxed),
        refused: stats.refused.load(Ordering::Relaxed),
        errors: stats.errors.load(Ordering::Relaxed),
        last_error: stats.last_error(),
        paused,
        pauses: stats.pauses.load(Ordering::Relaxed),
        paused_s: paused_for.as_secs_f64(),
        skipped_bytes: stats.skipped.load(Ordering::Relaxed),
        slaves: stats.slaves().into_iter().map(slave_status).collect(),
    }
}

fn slave_status((slave, stats): (u8, SlaveStats)) -> SlaveStatus {
    SlaveStatus {
        slave,
        answers: stats.is_there,
        answered: stats.answered,
        failed: stats.failed,
    }
}
