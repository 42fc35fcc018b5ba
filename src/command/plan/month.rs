//! What a lane costs on a link that is paid for by the byte: a request costs as much with one event as with ten.

use std::fmt::Write;
use std::time::Duration;

use adapters::{Span, size};

use super::LanePlan;
use crate::config::{Intent, Intents};
use crate::pace::number::whole;
use crate::uplink::CompressionKind;

/// Bytes of a request and its answer, both ways, with the segments of TCP (`tests/bars/wire`; Kafka 4.3, IPv4).
const REQUEST: f64 = 330.0;
/// What is left of an event whose request has others like it, where the intent compresses; the first of a request is whole.
const LEFT: f64 = 0.2;
const MONTH: f64 = 30.0 * 86_400.0;
/// Columns of the table: the intent's own linger, and these.
const LINGERS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Bytes both ways in thirty days without an outage, of a lane that gives what `plan` says.
fn month(intent: &Intent, plan: &LanePlan, linger: Duration) -> f64 {
    let (rate, record) = (plan.rate.events_per_s, plan.rate.record());
    let together = (rate * linger.as_secs_f64()).max(1.0);
    let compresses = intent.sending.compression != CompressionKind::None;
    let left = if compresses { LEFT } else { 1.0 };
    let request = REQUEST + record + (together - 1.0) * record * left;
    MONTH * rate / together * request
}

/// A table of the lanes whose rate is known; what is urgent does not linger.
pub(super) fn draw(intents: &Intents, plans: &[LanePlan], text: &mut String) -> std::fmt::Result {
    let lanes = intents.iter().map(|(_, intent)| intent).zip(plans);
    let known: Vec<_> = lanes
        .filter(|(_, plan)| plan.rate.events_per_s > 0.0)
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    write!(
        text,
        "\non the link in 30 days without an outage, by linger, for events that resemble each other\n\n{:<12}{:>8}{:>12}",
        "lane", "linger", "as it is"
    )?;
    for linger in LINGERS {
        write!(text, "{:>10}", Span(linger).to_string())?;
    }
    writeln!(text)?;
    for (intent, plan) in known {
        let own = if intent.pace.urgent {
            Duration::ZERO
        } else {
            intent.pace.linger
        };
        let shown = |linger| size(whole(month(intent, plan, linger)));
        let (span, now) = (Span(own).to_string(), shown(own));
        write!(text, "{:<12}{span:>8}{now:>12}", plan.name)?;
        for linger in LINGERS.iter().filter(|_| !intent.pace.urgent) {
            write!(text, "{:>10}", shown(*linger))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::plan::tests::planned_by;

    #[test]
    fn ten_events_a_second_cost_a_fraction_with_a_longer_linger_and_an_urgent_lane_has_none() {
        let (intents, plans) = planned_by("", &["diagnostic=10x40", "critical=0.1x40"]);
        let of = |name, linger| {
            let lane = intents.id(name).unwrap();
            month(intents.get(lane), &plans[lane.index()], linger) / MONTH / 10.0
        };
        // Measured, an event: 613, 102 and, of twenty in a request, 74 (`tests/bars/wire`).
        for (ms, low, high) in [(0, 520.0, 660.0), (1000, 90.0, 115.0), (2000, 66.0, 84.0)] {
            let bytes = of("diagnostic", Duration::from_millis(ms));
            assert!((low..high).contains(&bytes), "{ms} ms: {bytes}");
        }
        let mut text = String::new();
        draw(&intents, &plans, &mut text).unwrap();
        let alarms = text.lines().find(|line| line.starts_with("critical"));
        let mut columns = alarms.unwrap().split_whitespace().skip(1);
        assert_eq!(columns.next(), Some("0s"), "{text}");
        assert_eq!(columns.count(), 1, "as it is, and no other linger: {text}");
        assert!(!text.contains("feature"), "{text}");
    }
}
