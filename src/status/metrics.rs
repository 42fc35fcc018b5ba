//! The snapshot as Prometheus metrics (`OpenMetrics` text).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use super::{LaneStatus, Snapshot, SourceStatus};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    name: String,
    reason: String,
}

type Value = Gauge<f64, AtomicU64>;

/// Everything is read from the snapshot, so that a scrape can never disagree with `status`.
pub(super) fn render(snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("tidegate");
    one(
        &mut registry,
        "link_up",
        "whether the cluster takes events",
        f64::from(u8::from(snapshot.link.up)),
    );
    one(
        &mut registry,
        "uptime_seconds",
        "since the start of the agent",
        snapshot.uptime_s,
    );
    one(
        &mut registry,
        "disk_ok",
        "whether the disk takes what must be kept",
        f64::from(u8::from(snapshot.is_healthy())),
    );
    one(
        &mut registry,
        "throttle_milliseconds",
        "what the brokers last asked to wait",
        count(snapshot.link.throttled_ms),
    );
    one(
        &mut registry,
        "events_too_large",
        "events larger than any lane can hold",
        count(snapshot.too_large),
    );
    one(
        &mut registry,
        "unknown_intents",
        "events that asked for an intent that does not exist",
        count(snapshot.unknown_intents),
    );
    one(
        &mut registry,
        "fallback_topics",
        "subjects sent to the fallback topic",
        count(snapshot.fallback_topics),
    );
    lanes(&mut registry, &snapshot.lanes);
    sources(&mut registry, &snapshot.sources);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn lanes(registry: &mut Registry, lanes: &[LaneStatus]) {
    type Reading = fn(&LaneStatus) -> f64;
    let readings: [(&str, &str, Reading); 10] = [
        (
            "lane_recovered",
            "events found in the buffer at start",
            |lane| count(lane.recovered),
        ),
        ("lane_accepted", "events taken from sources", |lane| {
            count(lane.accepted)
        }),
        ("lane_delivered", "events that the cluster has", |lane| {
            count(lane.delivered)
        }),
        ("lane_refused", "events left with their source", |lane| {
            count(lane.refused)
        }),
        (
            "lane_buffered",
            "events kept and not yet delivered",
            |lane| count(lane.buffered),
        ),
        (
            "lane_in_flight",
            "events handed to the client library",
            |lane| count(lane.in_flight),
        ),
        ("lane_disk_bytes", "bytes on disk", |lane| {
            count(lane.disk_bytes)
        }),
        ("lane_memory_bytes", "bytes of events in memory", |lane| {
            count(lane.memory_bytes)
        }),
        ("lane_stored_bytes", "bytes of blocks written", |lane| {
            count(lane.stored_bytes)
        }),
        (
            "lane_oldest_seconds",
            "age of the oldest event in memory",
            |lane| lane.oldest_s,
        ),
    ];
    for (name, help, reading) in readings {
        let family = family(registry, name, help);
        for lane in lanes {
            set(&family, &lane.name, "", reading(lane));
        }
    }
    let dropped = family(registry, "lane_dropped", "events dropped, by reason");
    for lane in lanes {
        lane.dropped
            .iter()
            .for_each(|(reason, number)| set(&dropped, &lane.name, reason, count(*number)));
    }
}

fn sources(registry: &mut Registry, sources: &[SourceStatus]) {
    type Reading = fn(&SourceStatus) -> f64;
    let readings: [(&str, &str, Reading); 4] = [
        (
            "source_connected",
            "whether the source is connected",
            |source| f64::from(u8::from(source.connected)),
        ),
        ("source_received", "events that the source gave", |source| {
            count(source.received)
        }),
        (
            "source_refused",
            "events that stayed with the source",
            |source| count(source.refused),
        ),
        (
            "source_errors",
            "failures to connect or to read",
            |source| count(source.errors),
        ),
    ];
    for (name, help, reading) in readings {
        let family = family(registry, name, help);
        for source in sources {
            set(&family, &source.name, "", reading(source));
        }
    }
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Value> {
    let family = Family::<Labels, Value>::default();
    registry.register(name, help, family.clone());
    family
}

fn set(family: &Family<Labels, Value>, name: &str, reason: &str, value: f64) {
    family
        .get_or_create(&Labels {
            name: name.into(),
            reason: reason.into(),
        })
        .set(value);
}

fn one(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Value::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
fn count(number: u64) -> f64 {
    number as f64
}
