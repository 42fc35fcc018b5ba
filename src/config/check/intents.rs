//! What must fit together in the intents.

use std::collections::BTreeSet;
use std::time::Duration;

use adapters::mqtt::{MqttSection, SubscribeSection};
use adapters::{AdapterKind, Pattern, Size, Span};
use buffer::{Order, WhenFull};

use super::super::capacity;
use super::super::file::File;
use super::super::intent::{CoalesceKind, IntentSection};
use super::super::intents::{CATCH_ALL, INTENTS_MAX, Intents, is_name};
use super::Problems;
use crate::drain::{Expired, Template};
use crate::ingest::RouteSection;

pub(super) fn check(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    let mut names = BTreeSet::new();
    for (index, section) in file.intent.iter().enumerate() {
        let at = |key: &str| format!("intent[{index}].{key}");
        if !is_name(&section.name) {
            found.error(
                at("name"),
                format!(
                    "`{}` is not a name; use letters, digits, `-` and `_`",
                    section.name
                ),
            );
        }
        if !names.insert(section.name.as_str()) {
            found.error(
                at("name"),
                format!(
                    "`{}` stands twice; put all of it into one section",
                    section.name
                ),
            );
        }
        if section.budget.is_some_and(|budget| budget.0 < 1 << 20) {
            found.error(
                at("budget"),
                format!(
                    "`{}` is too small for the buffer's own overhead; use \"1 MiB\" or more",
                    section.budget.map(|b| b.to_string()).unwrap_or_default()
                ),
            );
        }
        if section.memory.is_some_and(|memory| memory.0 < 128 * 1024) {
            found.error(
                at("memory"),
                format!(
                    "`{}` is too small for a block of events; use \"128 KiB\" or more",
                    section.memory.map(|m| m.to_string()).unwrap_or_default()
                ),
            );
        }
        if section.weight == Some(0) {
            found.error(at("weight"), "`0` would starve the intent; use 1 or more");
        }
        disk_problems(intents, section, index, found);
        for (key, template) in [("topic", &section.topic), ("key", &section.key)] {
            if let Some(text) = template {
                template_problems(file, &at(key), text, found);
            }
        }
    }
    if file.intent.len() > INTENTS_MAX {
        found.error(
            "intent",
            format!(
                "{} intents are too many; use at most {}",
                file.intent.len(),
                INTENTS_MAX
            ),
        );
    }
    sources_of_their_own(file, intents, found);
}

/// A tombstone deletes its key, and no other; what is urgent is not dropped.
fn ends(intents: &Intents, section: &IntentSection, index: usize, found: &mut Problems<'_>) {
    let at = |key: &str| format!("intent[{index}].{key}");
    let Some(intent) = intents.id(&section.name).map(|lane| intents.get(lane)) else {
        return;
    };
    if section.expired == Some(Expired::Drop) && intent.pace.urgent {
        let what = "`drop` would lose events of an urgent intent; use \"mark\", or leave it out";
        found.error(at("expired"), what);
    }
    if !intent.address.tombstones {
        return;
    }
    if intent.address.key.is_constant() {
        let what = "needs a key of its own for what it deletes, and all events of this intent share one; use a `key` such as \"{subject}\"";
        found.error(at("tombstones"), what);
    }
    if !intent.address.key.is_constant() && !intent.address.key.tells_subjects() {
        let key = section.key.as_deref().unwrap_or("{device}");
        let what = format!(
            "an empty payload deletes the whole key, `{key}`, which events of several subjects share; use a `key` such as \"{{subject}}\""
        );
        found.warn(at("tombstones"), what);
    }
    if intent.lane.order == Order::LiveFirst {
        let what = "with `order = \"live_first\"` an older event may leave after the tombstone of its key, and bring it back; use `order = \"in_order\"`";
        found.warn(at("tombstones"), what);
    }
}

/// An event is to leave before it is written to disk, if it may wait for that at all.
fn lingers_too_long(
    intents: &Intents,
    section: &IntentSection,
    at: &str,
    found: &mut Problems<'_>,
) {
    let Some(lane) = intents.id(&section.name) else {
        return;
    };
    let intent = intents.get(lane);
    let (linger, stays) = (intent.pace.linger, intent.lane.persist_after);
    if !intent.pace.urgent && !stays.is_zero() && linger >= stays {
        let what = format!(
            "`{}` is not shorter than persist_after, {}: each event is written to the flash before it is sent; use a longer persist_after, or a shorter linger",
            Span(linger),
            Span(stays)
        );
        found.warn(at, what);
    }
}

/// What is expected in the outage that it is to survive must fit into the budget.
fn survives(intents: &Intents, section: &IntentSection, index: usize, found: &mut Problems<'_>) {
    let at = |key: &str| format!("intent[{index}].{key}");
    let expected = section.expected;
    let rate = expected.map_or(0.0, |expected| expected.events_per_s);
    if !(0.0..1e9).contains(&rate) {
        let what = format!("`{rate}` is no rate; use events a second, such as 10.0");
        return found.error(at("expected.events_per_s"), what);
    }
    let Some(outage) = section.survive_outage else {
        return;
    };
    let Some(expected) = expected else {
        let what = "needs `expected = { events_per_s = 10.0, bytes = \"200\" }`, what the sources give; `tidegate plan --measured` tells it";
        return found.error(at("survive_outage"), what);
    };
    let Some(intent) = intents.id(&section.name).map(|lane| intents.get(lane)) else {
        return;
    };
    let rate = capacity::expected_rate(&expected);
    let full = capacity::full_after(intent, &rate).unwrap_or(Duration::MAX);
    if full < outage.0 {
        let needed = Size(capacity::budget_for(outage.0, &rate));
        let full = adapters::age(full.as_secs_f64());
        let what = format!(
            "`{outage}` does not fit into a budget of {}, which is full after {full}; use a budget of \"{needed}\", or expect less",
            Size(intent.disk.budget)
        );
        found.error(at("survive_outage"), what);
    }
}

fn template_problems(file: &File, at: &str, text: &str, found: &mut Problems<'_>) {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return found.error(at, error.to_string()),
    };
    for name in template.names() {
        let missing = match name {
            "site" => file
                .gateway
                .site
                .is_none()
                .then_some("gateway.site is not set"),
            "region" => file
                .gateway
                .region
                .is_none()
                .then_some("gateway.region is not set"),
            "gateway" | "device" | "kind" | "source" | "adapter" | "subject" | "intent" => None,
            tag => (!tag_is_given(file, tag))
                .then_some("no subscription, source or gateway tag gives such a field"),
        };
        // What gives it may be there, and not be readable.
        let givers = ["gateway", "mqtt", "modbus", "inference"];
        let is_taken = givers.iter().any(|section| found.taken.is_of(section));
        if let Some(why) = missing.filter(|_| !is_taken) {
            found.error(at, format!("`{{{name}}}` cannot be filled in: {why}"));
        }
    }
}

fn tag_is_given(file: &File, tag: &str) -> bool {
    let by_subscription = |mqtt: &MqttSection| {
        mqtt.subscribe.iter().any(|s| {
            s.tags.contains_key(tag)
                || Pattern::parse(&s.topic).is_ok_and(|p| p.names().any(|name| name == tag))
        })
    };
    // An inference client may send any tag.
    file.gateway.tags.contains_key(tag)
        || !file.inference.is_empty()
        || file.mqtt.iter().any(by_subscription)
        || file.modbus.iter().any(|bus| bus.gives_tag(tag))
}

/// A source is held up as a whole.
fn sources_of_their_own(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    refusing_intents_share_no_source(file, intents, found);
    urgent_intents_share_no_source(file, intents, found);
}

fn refusing_intents_share_no_source(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    let refuses = |name: &str| {
        let intent = intents.id(name).map(|lane| intents.get(lane));
        intent.is_some_and(|intent| intent.lane.when_full == WhenFull::Refuse)
    };
    for (index, mqtt) in file.mqtt.iter().enumerate() {
        let named: BTreeSet<&str> = mqtt
            .subscribe
            .iter()
            .map(|s| s.intent.as_deref().unwrap_or(CATCH_ALL))
            .collect();
        if named.len() > 1
            && let Some(refusing) = named.iter().find(|name| refuses(name))
        {
            found.warn(
                format!("mqtt[{index}].subscribe"),
                format!("`{refusing}` refuses when it is full, which holds up the other intents of this connection; give it an [[mqtt]] source of its own"),
            );
        }
    }
}

/// A source is paused as a whole: an intent with much would hold up the alarms of the same session.
fn urgent_intents_share_no_source(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    let is_urgent = |name: &str| {
        let intent = intents.id(name).map(|lane| intents.get(lane));
        intent.is_some_and(|intent| intent.pace.urgent)
    };
    for (index, mqtt) in file.mqtt.iter().enumerate() {
        let named: BTreeSet<&str> = mqtt
            .subscribe
            .iter()
            .filter(|subscription| subscription.qos > 0)
            .map(|subscription| intent_of(file, mqtt, subscription))
            .collect();
        let (urgent, other): (Vec<&str>, Vec<&str>) =
            named.into_iter().partition(|name| is_urgent(name));
        if let (Some(urgent), Some(other)) = (urgent.first(), other.first()) {
            found.warn(
                format!("mqtt[{index}].subscribe"),
                format!("`{urgent}` is urgent and shares this connection with `{other}`: while `{other}` waits for the disk, nothing is read from it; give `{urgent}` an [[mqtt]] source of its own"),
            );
        }
    }
}

/// The intent of a subscription, as far as that can be told before there are events: by the first route that takes all of its
/// source or exactly its filter, else as it says itself.
fn intent_of<'a>(file: &'a File, mqtt: &MqttSection, one: &'a SubscribeSection) -> &'a str {
    let takes_all = |route: &&RouteSection| {
        let any = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        route.adapter.is_none_or(|kind| kind == AdapterKind::Mqtt)
            && any(&route.source, &mqtt.name)
            && any(&route.subject, &one.topic)
            && route.kind.is_none()
            && route.device.is_none()
            && route.tags.is_empty()
    };
    let route = file.route.iter().find(takes_all);
    let by_route = route.map(|route| route.intent.as_str());
    by_route.or(one.intent.as_deref()).unwrap_or(CATCH_ALL)
}

/// What an intent keeps on disk, for how long, and what it lets go of.
fn disk_problems(
    intents: &Intents,
    section: &IntentSection,
    index: usize,
    found: &mut Problems<'_>,
) {
    let at = |key: &str| format!("intent[{index}].{key}");
    lingers_too_long(intents, section, &at("linger"), found);
    ends(intents, section, index, found);
    if let Some(history) = &section.history {
        let is_unknown = intents.id(history).is_none() && !found.taken.is_of("intent");
        if *history == section.name || is_unknown {
            let others = intents.names();
            let what = format!("`{history}` is not another intent; there are {others}");
            found.error(at("history"), what);
        } else if section.coalesce != Some(CoalesceKind::Latest) {
            let what = "does nothing without `coalesce = \"latest\"`: nothing is left out here that would be missing";
            found.warn(at("history"), what);
        }
    }
    survives(intents, section, index, found);
    if section.max_age.is_some_and(|age| age.0.as_secs() < 60) {
        let what = "is shorter than a generation is open; use \"1m\" or more";
        found.error(at("max_age"), what);
    }
    if let (Some(keep), Some(budget)) = (section.keep, section.budget)
        && keep.size > budget
    {
        let what = format!(
            "`{}` is more than the intent's budget, {budget}, which holds it; raise the budget or keep less",
            keep.size
        );
        found.error(at("keep.size"), what);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::load::problems_of;

    #[test]
    fn tombstones_want_a_key_that_tells_one_subject_from_another() {
        let source =
            "[uplink]\nbrokers = [\"a:1\"]\n[[inference]]\nname = \"v\"\nsocket = \"/s\"\n";
        for (key, warned) in [
            ("", true),
            ("key = \"{gateway}/{device}\"\n", true),
            ("key = \"{subject}\"\n", false),
            ("key = \"{device}/{kind}\"\n", false),
        ] {
            let intent = format!("[[intent]]\nname = \"state\"\ntombstones = true\n{key}");
            let found = problems_of(&format!("{source}{intent}"), &[]);
            let says = |one: &String| one.contains("an empty payload deletes the whole key");
            assert_eq!(
                found.iter().filter(|one| says(one)).count(),
                usize::from(warned),
                "{key}{found:?}"
            );
        }
    }
}
