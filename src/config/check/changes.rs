//! Topics of well-known programs whose messages are changes or events: each says something that no other does. An intent that
//! keeps only the latest message of a topic would lose the rest.

use std::collections::BTreeSet;
use std::iter::once;

use adapters::Pattern;
use adapters::mqtt::{MqttSection, origin_of};
use buffer::{LaneId, Order, WhenFull};

use super::super::file::File;
use super::super::intents::{CATCH_ALL, Intent, Intents};
use super::Problems;
use crate::ingest::Rule;

/// Topics that look alike, and what their messages are.
struct Shape {
    filter: &'static str,
    name: &'static str,
    holds: &'static str,
    /// Nobody can make sense of the others without those that are lost, in their order.
    is_sequence: bool,
}

const fn sequence(filter: &'static str) -> Shape {
    Shape {
        filter,
        name: "Sparkplug B DATA",
        holds: "only the metrics that changed, and a `seq` without gaps",
        is_sequence: true,
    }
}

const fn changes(filter: &'static str, name: &'static str, holds: &'static str) -> Shape {
    Shape {
        filter,
        name,
        holds,
        is_sequence: false,
    }
}

const AWS: (&str, &str) = ("AWS IoT shadow updates", "only the fields that changed");
const ZIGBEE: (&str, &str) = (
    "events and logs of zigbee2mqtt's bridge",
    "an event of its own",
);
const SHELLY: (&str, &str) = (
    "Shelly notifications",
    "only what changed, or one push of a button",
);
const TASMOTA: (&str, &str) = (
    "Tasmota results",
    "only the answer to one command, or what a sensor received",
);

/// Sparkplug 3.0 section 4; the shadow topics of the AWS developer guide; zigbee2mqtt's "MQTT topics and messages"; Shelly's
/// "MQTT" of both generations; Tasmota's "MQTT".
const SHAPES: [Shape; 13] = [
    sequence("spBv1.0/+/NDATA/+"),
    sequence("spBv1.0/+/DDATA/+/+"),
    changes("$aws/things/+/shadow/update/accepted", AWS.0, AWS.1),
    changes("$aws/things/+/shadow/update/delta", AWS.0, AWS.1),
    changes("$aws/things/+/shadow/name/+/update/accepted", AWS.0, AWS.1),
    changes("$aws/things/+/shadow/name/+/update/delta", AWS.0, AWS.1),
    changes("zigbee2mqtt/bridge/event", ZIGBEE.0, ZIGBEE.1),
    changes("zigbee2mqtt/bridge/logging", ZIGBEE.0, ZIGBEE.1),
    changes("+/events/rpc", SHELLY.0, SHELLY.1),
    changes("+/+/events/rpc", SHELLY.0, SHELLY.1),
    changes("shellies/+/input_event/+", SHELLY.0, SHELLY.1),
    changes("stat/+/RESULT", TASMOTA.0, TASMOTA.1),
    changes("tele/+/RESULT", TASMOTA.0, TASMOTA.1),
];

/// Stands at the wildcards of an example: no configuration spells it out.
const ANY: &str = "?";

pub(super) fn check(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    let rules = rules(file, intents);
    let mut told = BTreeSet::new();
    for (index, mqtt) in file.mqtt.iter().enumerate() {
        for subscription in 0..mqtt.subscribe.len() {
            let place = Place {
                mqtt,
                at: format!("mqtt[{index}].subscribe[{subscription}]"),
                subscription,
            };
            for shape in &SHAPES {
                for (key, lane) in place.lanes(shape, &rules, intents) {
                    if told.insert((key.clone(), place.at.clone(), shape.name)) {
                        tell(&place, &key, shape, intents, lane, found);
                    }
                }
            }
        }
    }
}

/// With their place in the file. What is wrong in one is said elsewhere.
fn rules(file: &File, intents: &Intents) -> Vec<(usize, Rule)> {
    let rules = file.route.iter().enumerate().filter_map(|(index, route)| {
        let subject = route.subject.as_deref().map(Pattern::parse);
        let lane = intents.id(&route.intent)?;
        subject
            .is_none_or(|subject| subject.is_ok())
            .then(|| (index, Rule::new(route, lane)))
    });
    rules.collect()
}

/// A subscription.
struct Place<'a> {
    mqtt: &'a MqttSection,
    subscription: usize,
    at: String,
}

impl Place<'_> {
    fn filter(&self) -> Option<Pattern> {
        Pattern::parse(&self.mqtt.subscribe.get(self.subscription)?.topic).ok()
    }

    /// The lanes that may get messages of this shape through this subscription, each with the key that says so.
    fn lanes(
        &self,
        shape: &Shape,
        rules: &[(usize, Rule)],
        intents: &Intents,
    ) -> Vec<(String, LaneId)> {
        let shapes = Pattern::parse(shape.filter).expect("a filter of the table is one");
        let Some(filter) = self.filter().filter(|filter| {
            filter.names_level_of(&shapes) || shape.is_sequence && filter.takes_all()
        }) else {
            return Vec::new();
        };
        let topics = once(None).chain(rules.iter().map(|(_, rule)| Some(rule)));
        let topics = topics.filter_map(|rule| {
            let subject = rule.and_then(Rule::subject);
            let both = filter.meet(&shapes)?;
            let all = subject.map_or(Some(both.clone()), |subject| both.meet(subject))?;
            Some(all.example(|name| rule.and_then(|rule| rule.wants(name)), ANY))
        });
        topics
            .filter_map(|topic| self.lane_of(&topic, rules, intents))
            .collect()
    }

    /// Where a message of `topic` goes, if this subscription is the first that matches it.
    fn lane_of(
        &self,
        topic: &str,
        rules: &[(usize, Rule)],
        intents: &Intents,
    ) -> Option<(String, LaneId)> {
        let matches = |filter: &str| Pattern::parse(filter).is_ok_and(|one| one.matches(topic));
        let mut subscriptions = self.mqtt.subscribe.iter();
        if subscriptions.position(|one| matches(&one.topic)) != Some(self.subscription) {
            return None;
        }
        let origin = origin_of(self.mqtt, topic).ok()?;
        if let Some((index, rule)) = rules.iter().find(|(_, rule)| rule.matches(&origin)) {
            return Some((format!("route[{index}].intent"), rule.intent()));
        }
        let key = if origin.intent.is_some() {
            "intent"
        } else {
            "topic"
        };
        let lane = intents.id(origin.intent.as_deref().unwrap_or(CATCH_ALL))?;
        Some((format!("{}.{key}", self.at), lane))
    }
}

fn tell(
    place: &Place<'_>,
    key: &str,
    shape: &Shape,
    intents: &Intents,
    lane: LaneId,
    found: &mut Problems<'_>,
) {
    let Some(filter) = place.filter() else {
        return;
    };
    let intent = intents.get(lane);
    let (name, holds, lane) = (shape.name, shape.holds, &intent.name);
    let Some(setting) = coalesces(intent) else {
        if shape.is_sequence && intent.lane.order == Order::LiveFirst {
            let what = format!(
                "`{filter}` takes {name}, and `{lane}` has `order = \"live_first\"`, so that after an outage newer messages land before older ones; use an intent that is in order, as in docs/RECIPES.md"
            );
            found.warn(key, what);
        }
        return;
    };
    let what = format!(
        "`{filter}` takes {name}, and `{lane}` has `{setting}`, which keeps only the latest message of each topic, while each holds {holds}; every message is needed: use a filter and an intent of their own that is in order and coalesces nothing, as in docs/RECIPES.md"
    );
    if shape.is_sequence && filter.takes_all() {
        let what = format!(
            "`{filter}` takes all topics, also {name} where there is any, and `{lane}` has `{setting}`, which keeps only the latest message of each topic; name the topics whose latest message says all, as in docs/RECIPES.md"
        );
        found.warn(key, what);
    } else if shape.is_sequence && !has_history(intents, intent) {
        found.error(key, what);
    } else if shape.is_sequence || !has_history(intents, intent) {
        found.warn(key, what);
    }
}

/// The setting by which it keeps only the latest, if it does.
fn coalesces(intent: &Intent) -> Option<&'static str> {
    if intent.disk.coalesce {
        Some("coalesce = \"latest\"")
    } else if intent.lane.when_full == WhenFull::CoalesceLatest {
        Some("when_full = \"coalesce_latest\"")
    } else {
        None
    }
}

/// Whether all that waits in it goes to another intent as well, which keeps it.
fn has_history(intents: &Intents, intent: &Intent) -> bool {
    let history = intent.history.as_deref();
    let history = history.and_then(|name| intents.id(name));
    intent.disk.coalesce && history.is_some_and(|lane| coalesces(intents.get(lane)).is_none())
}

#[cfg(test)]
mod tests;
