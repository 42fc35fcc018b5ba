//! Outages on paper.

use super::table::table;
use super::*;
use crate::config::{Settings, budget_for, expected_rate};

const HOUR: Duration = Duration::from_hours(1);

fn settings(more: &str) -> Settings {
    Settings::of(&format!("[gateway]\nid = \"gw\"\n{more}"))
}

fn planned(more: &str, given: &[&str], outage: Duration, link: Option<f64>) -> Vec<LanePlan> {
    let settings = settings(more);
    let given: Vec<Given> = given.iter().map(|text| text.parse().unwrap()).collect();
    let rates = Rates {
        given: &given,
        measured: None,
    };
    let intents = &settings.intents;
    let rates = rates.of(settings.status.heartbeat, intents).unwrap();
    plan(intents, &settings.replay, &rates, outage, link)
}

/// An hour of outage, and the intents that it is of.
pub(super) fn planned_by(more: &str, given: &[&str]) -> (Intents, Vec<LanePlan>) {
    (settings(more).intents, planned(more, given, HOUR, None))
}

fn shown(more: &str, plans: &[LanePlan], outage: Duration) -> String {
    table(&settings(more).intents, plans, outage)
}

fn of<'a>(plans: &'a [LanePlan], name: &str) -> &'a LanePlan {
    plans.iter().find(|plan| plan.name == name).unwrap()
}

#[test]
fn a_lane_is_full_when_its_budget_is_and_gives_up_the_rest() {
    // 800 bytes and those of a record: 1,000 bytes a second, in 64 MiB.
    let more = "[[intent]]\nname = \"state\"\nbudget = \"64 MiB\"\n";
    let plans = planned(more, &["state=1x800"], 24 * HOUR, None);
    let state = of(&plans, "state");
    let full = state.full_after.unwrap().as_secs_f64() / 3600.0;
    assert!((13.0..18.6).contains(&full), "{full} h");
    assert!((state.lost + state.backlog - 86_400.0).abs() < 1.0);
    assert_eq!(of(&plans, "feature").full_after, None);
    let text = shown(more, &plans, 24 * HOUR);
    assert!(text.contains("first to be full: state, after 1"), "{text}");
    assert!(
        text.contains("it keeps the latest of each device"),
        "{text}"
    );
    assert!(
        text.contains("not known: critical, feature, diagnostic;"),
        "{text}"
    );
    let short = planned(more, &["state=1x800"], HOUR, None);
    assert!(shown(more, &short, HOUR).contains("nothing is given up"));
}

#[test]
fn a_drain_takes_what_the_shape_and_the_link_let_out() {
    let hours = |plans: &[LanePlan], name: &str| {
        let drained = of(plans, name).drained_in.unwrap();
        (drained.as_secs_f64() / 360.0).round() / 10.0
    };
    // Two fifths more than usual: an hour in two and a half; alarms first, out of all of it.
    let plans = planned("", &["state=10x200", "critical=0.1x200"], HOUR, None);
    assert!((hours(&plans, "state") - 2.5).abs() < 0.1, "{plans:?}");
    let alarms = of(&plans, "critical").drained_in.unwrap();
    assert!(alarms < Duration::from_secs(100), "{plans:?}");
    let free = "[replay]\ncatch_up = 0\n";
    let plans = planned(free, &["state=10x200"], HOUR, None);
    assert!(of(&plans, "state").drained_in.unwrap() < Duration::from_mins(2));
    // 4,800 bytes a second come in.
    let plans = planned(free, &["state=10x200"], HOUR, Some(9_600.0));
    assert!((hours(&plans, "state") - 1.0).abs() < 0.1, "{plans:?}");
    let plans = planned(free, &["state=10x200"], HOUR, Some(4_000.0));
    assert_eq!(of(&plans, "state").drained_in, None);
    assert!(shown(free, &plans, HOUR).contains("never drained: state"));
}

#[test]
fn the_budget_that_is_asked_for_holds_the_outage() {
    let settings = Settings::of(
        "[[intent]]\nname = \"state\"\nexpected = { events_per_s = 10.0, bytes = \"200\" }\n",
    );
    let mut intent = settings.intents.get(buffer::LaneId(1)).clone();
    let rate = expected_rate(&intent.expected.unwrap());
    for hours in [1, 24, 24 * 30] {
        intent.disk.budget = budget_for(hours * HOUR, &rate);
        let held = full_after(&intent, &rate).unwrap();
        assert!(held >= hours * HOUR, "{held:?}");
        assert!(held < hours * HOUR * 3 / 2 + 2 * HOUR, "{held:?}");
    }
}

#[test]
fn what_is_no_rate_is_said_with_what_would_be() {
    for text in [
        "state",
        "state=10",
        "state=manyx200",
        "state=10xlarge",
        "state=-1x5",
    ] {
        let error = text.parse::<Given>().unwrap_err().to_string();
        assert!(error.ends_with("like state=10x200"), "{error}");
    }
}
