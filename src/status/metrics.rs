//! The snapshot as Prometheus metrics (`OpenMetrics` text).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{FlashStatus, LaneStatus, LinkStatus, SlaveStatus, Snapshot, SourceStatus};

/// Label and value, in order.
type Labels = Vec<(&'static str, String)>;
/// A metric: kind, name, help, and how it is read from `T`.
type Reading<T> = (Kind, &'static str, &'static str, fn(&T) -> f64);

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Only grows, from 0 at the start of the agent; its name gets `_total`.
    Count,
    Level,
}
use Kind::{Count, Level};

const AGENT: [Reading<Snapshot>; 9] = [
    (Level, "uptime_seconds", "since the start", |all| {
        all.uptime_s
    }),
    (
        Level,
        "disk_ok",
        "whether the disk takes what must be kept",
        |all| flag(all.disk_error.is_none()),
    ),
    (
        Level,
        "healthy",
        "whether all parts of the agent work, as /healthz says",
        |all| flag(all.illnesses().next().is_none()),
    ),
    (
        Level,
        "clock_vouched",
        "whether a witness vouches for the time that events are given: 1; nobody does: 0; it is wrong: -1",
        |all| match all.clock.trust.as_str() {
            "vouched for" => 1.0,
            "wrong" => -1.0,
            _ => 0.0,
        },
    ),
    (
        Level,
        "system_clock_off_seconds",
        "how far the system's clock is ahead of the time that events are given",
        |all| all.clock.system_clock_off_s,
    ),
    (
        Level,
        "config_delivers",
        "whether the configuration that was delivered last runs and was proved: 1; it is not proved yet: 0; another one runs: -1",
        |all| match all.config.state.as_str() {
            "kept" => 1.0,
            "rejected" | "returned" => -1.0,
            _ => 0.0,
        },
    ),
    (
        Count,
        "events_too_large",
        "events dropped that were larger than their lane can hold",
        |all| count(all.too_large),
    ),
    (
        Count,
        "unknown_intents",
        "events that asked for an intent that does not exist",
        |all| count(all.unknown_intents),
    ),
    (
        Count,
        "fallback_topics",
        "subjects sent to the fallback topic",
        |all| count(all.fallback_topics),
    ),
];

const LINK: [Reading<LinkStatus>; 7] = [
    (
        Level,
        "link_up",
        "whether the cluster takes events",
        |link| flag(link.up),
    ),
    (
        Level,
        "link_since_seconds",
        "how long the link has been so",
        |link| link.since_s,
    ),
    (
        Level,
        "link_throttle_milliseconds",
        "what the brokers last asked to wait",
        |link| count(link.throttled_ms),
    ),
    (
        Level,
        "link_round_trip_seconds",
        "least round trip of a request, or 0 while unknown",
        |link| link.round_trip_ms.unwrap_or(0.0) / 1000.0,
    ),
    (
        Level,
        "link_goodput_bytes_per_second",
        "delivered in the best of the last ten seconds of sending",
        |link| link.goodput,
    ),
    (
        Level,
        "link_quota_bytes_per_second",
        "what a client quota was found to allow, or 0",
        |link| link.quota.unwrap_or(0.0),
    ),
    (
        Level,
        "link_blocked_topics",
        "topics that the cluster does not take",
        |link| count(link.blocked.len() as u64 + link.blocked_more),
    ),
];

const LANE: [Reading<LaneStatus>; 11] = [
    (
        Level,
        "lane_drained_in_seconds",
        "until nothing is left at the rate of the last minute, or -1",
        |lane| lane.drained_in_s.unwrap_or(-1.0),
    ),
    (
        Count,
        "lane_recovered",
        "events found in the buffer at start",
        |lane| count(lane.recovered),
    ),
    (
        Count,
        "lane_accepted",
        "events taken from sources",
        |lane| count(lane.accepted),
    ),
    (
        Count,
        "lane_delivered",
        "events that the cluster has",
        |lane| count(lane.delivered),
    ),
    (
        Count,
        "lane_refused",
        "events left with their source",
        |lane| count(lane.refused),
    ),
    (
        Level,
        "lane_buffered",
        "events kept and not yet delivered",
        |lane| count(lane.buffered),
    ),
    (
        Level,
        "lane_in_flight",
        "events handed to the client library",
        |lane| count(lane.in_flight),
    ),
    (Level, "lane_disk_bytes", "bytes on disk", |lane| {
        count(lane.disk_bytes)
    }),
    (
        Level,
        "lane_memory_bytes",
        "bytes of events in memory",
        |lane| count(lane.memory_bytes),
    ),
    (
        Count,
        "lane_stored_bytes",
        "bytes of blocks written",
        |lane| count(lane.stored_bytes),
    ),
    (
        Level,
        "lane_oldest_seconds",
        "age of the oldest event that waits",
        |lane| lane.oldest_s,
    ),
];

const FLASH: [Reading<FlashStatus>; 4] = [
    (
        Count,
        "flash_written_bytes",
        "bytes that the agent wrote, as the kernel counts them",
        |flash| count(flash.written_bytes),
    ),
    (
        Level,
        "flash_today_bytes",
        "the same since the day began on the buffer's clock",
        |flash| count(flash.today_bytes),
    ),
    (
        Level,
        "flash_write_amplification",
        "bytes written for each byte that was kept, compressed",
        |flash| flash.write_amplification.unwrap_or(0.0),
    ),
    (
        Level,
        "flash_life_used_percent",
        "what an eMMC says of its wear; 0 where it says nothing",
        |flash| flash.life.map_or(0.0, |life| f64::from(life.used_percent)),
    ),
];

const SOURCE: [Reading<SourceStatus>; 9] = [
    (
        Level,
        "source_connected",
        "whether the source is connected",
        |source| flag(source.connected),
    ),
    (
        Count,
        "source_received",
        "events that the source gave",
        |source| count(source.received),
    ),
    (
        Count,
        "source_refused",
        "events that stayed with the source",
        |source| count(source.refused),
    ),
    (
        Count,
        "source_errors",
        "failures to connect or to read",
        |source| count(source.errors),
    ),
    (
        Count,
        "source_restarts",
        "how often the source was started again after it had ended by itself",
        |source| count(source.restarts),
    ),
    (
        Level,
        "source_paused",
        "whether nothing is taken from the source until its lane's disk has written",
        |source| flag(source.paused.is_some()),
    ),
    (
        Count,
        "source_pauses",
        "times that the source was paused",
        |source| count(source.pauses),
    ),
    (
        Count,
        "source_paused_seconds",
        "seconds that the source was paused",
        |source| source.paused_s,
    ),
    (
        Count,
        "source_skipped_bytes",
        "bytes that were heard before an answer and belong to none (Modbus)",
        |source| count(source.skipped_bytes),
    ),
];

const SLAVE: [Reading<SlaveStatus>; 3] = [
    (
        Level,
        "slave_answers",
        "whether the Modbus slave answers: it is not silent, and its line is there",
        |slave| flag(slave.answers),
    ),
    (
        Count,
        "slave_answered",
        "reads of groups that the slave answered, also with a refusal",
        |slave| count(slave.answered),
    ),
    (
        Count,
        "slave_failed",
        "reads of groups that the slave did not answer",
        |slave| count(slave.failed),
    ),
];

/// Everything is read from the snapshot, so that a scrape can never disagree with `status`.
pub(super) fn render(snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("tidegate");
    each(&mut registry, &AGENT, &[(Labels::new(), snapshot)]);
    each(&mut registry, &LINK, &[(Labels::new(), &snapshot.link)]);
    each(&mut registry, &FLASH, &[(Labels::new(), &snapshot.flash)]);
    let lanes = snapshot
        .lanes
        .iter()
        .map(|lane| (vec![("lane", lane.name.clone())], lane));
    each(&mut registry, &LANE, &lanes.collect::<Vec<_>>());
    let dropped = snapshot.lanes.iter().flat_map(|lane| {
        let labels = |reason: &str| vec![("lane", lane.name.clone()), ("reason", reason.into())];
        lane.dropped
            .iter()
            .map(move |(reason, number)| (labels(reason), count(*number)))
    });
    let help = "events dropped, by reason";
    register(&mut registry, Count, "lane_dropped", help, dropped);
    let sources = snapshot
        .sources
        .iter()
        .map(|source| (vec![("source", source.name.clone())], source));
    each(&mut registry, &SOURCE, &sources.collect::<Vec<_>>());
    let slaves = snapshot.sources.iter().flat_map(|source| {
        let labels = |slave: &SlaveStatus| {
            let address = slave.slave.to_string();
            vec![("source", source.name.clone()), ("slave", address)]
        };
        source
            .slaves
            .iter()
            .map(move |slave| (labels(slave), slave))
    });
    each(&mut registry, &SLAVE, &slaves.collect::<Vec<_>>());
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn each<T>(registry: &mut Registry, readings: &[Reading<T>], things: &[(Labels, &T)]) {
    for (kind, name, help, reading) in readings {
        let rows = things
            .iter()
            .map(|(labels, thing)| (labels.clone(), reading(thing)));
        register(registry, *kind, name, help, rows);
    }
}

fn register(
    registry: &mut Registry,
    kind: Kind,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels, f64)>,
) {
    match kind {
        Count => {
            let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
            for (labels, value) in rows {
                family.get_or_create(&labels).inc_by(value);
            }
            registry.register(name, help, family);
        }
        Level => {
            let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
            for (labels, value) in rows {
                family.get_or_create(&labels).set(value);
            }
            registry.register(name, help, family);
        }
    }
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
fn count(number: u64) -> f64 {
    number as f64
}
