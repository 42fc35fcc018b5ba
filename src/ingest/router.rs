//! Which intent an event has: rules, the first match wins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use adapters::{AdapterKind, Memo, Origin, Pattern};
use buffer::LaneId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[route]]`: every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    pub adapter: Option<AdapterKind>,
    /// Name of a source.
    pub source: Option<String>,
    /// A topic filter over the MQTT topic, or over `bus/slave/group` of Modbus.
    pub subject: Option<String>,
    pub kind: Option<String>,
    pub device: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The intent of what matches.
    pub intent: String,
}

/// Which intents there are, and the rules, as meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Routes {
    /// By lane.
    pub names: Vec<String>,
    pub rules: Vec<Rule>,
    /// Where an event goes that no rule matches, and that asks for nothing.
    pub catch_all: LaneId,
}

impl Routes {
    /// The lanes that rules may send events of `source` to.
    pub(crate) fn lanes_of(&self, source: &str) -> impl Iterator<Item = LaneId> {
        self.rules
            .iter()
            .filter_map(move |rule| rule.lane_of(source))
    }
}

/// What of an event must match, and its lane then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    section: RouteSection,
    subject: Option<Pattern>,
    lane: LaneId,
}

impl Rule {
    /// The section was checked.
    pub(crate) fn new(section: &RouteSection, lane: LaneId) -> Rule {
        let subject = section.subject.as_deref();
        Rule {
            section: section.clone(),
            subject: subject.map(|text| Pattern::parse(text).expect("a checked filter is one")),
            lane,
        }
    }

    /// What it says of `field`: `device`, `kind` or the name of a tag.
    pub(crate) fn wants(&self, field: &str) -> Option<&str> {
        match field {
            "device" => self.section.device.as_deref(),
            "kind" => self.section.kind.as_deref(),
            tag => self.section.tags.get(tag).map(String::as_str),
        }
    }

    pub(crate) fn subject(&self) -> Option<&Pattern> {
        self.subject.as_ref()
    }

    pub(crate) fn intent(&self) -> LaneId {
        self.lane
    }

    /// The lane that it sends events of `source` to, if it may match one.
    fn lane_of(&self, source: &str) -> Option<LaneId> {
        let named = self.section.source.as_deref();
        named
            .is_none_or(|named| named == source)
            .then_some(self.lane)
    }

    pub(crate) fn matches(&self, origin: &Origin) -> bool {
        let rule = &self.section;
        let is = |wanted: &Option<String>, have: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == have)
        };
        rule.adapter.is_none_or(|adapter| adapter == origin.adapter)
            && is(&rule.source, &origin.source)
            && is(&rule.kind, &origin.kind)
            && is(&rule.device, &origin.device)
            && self
                .subject
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&origin.subject))
            && rule
                .tags
                .iter()
                .all(|(name, wanted)| origin.tags.get(name) == Some(wanted))
    }
}

#[derive(Debug)]
pub(crate) struct Router {
    rules: Vec<Rule>,
    named: HashMap<String, LaneId>,
    catch_all: LaneId,
    /// By address; the origin is held so that its address is not used again.
    remembered: Memo<usize, (Arc<Origin>, LaneId)>,
    /// Events that asked for an intent that does not exist.
    pub unknown_intents: u64,
}

impl Router {
    /// The lanes of origins are remembered that hold no more than `most` bytes.
    #[must_use]
    pub(crate) fn new(routes: Routes, most: usize) -> Router {
        let lanes = (0..).map(LaneId);
        Router {
            named: routes.names.into_iter().zip(lanes).collect(),
            rules: routes.rules,
            catch_all: routes.catch_all,
            remembered: Memo::new(most),
            unknown_intents: 0,
        }
    }

    /// The lane of events from `origin`: by the first rule that matches, else by the intent that the
    /// event asks for, else the one for diagnostics.
    pub(crate) fn lane(&mut self, origin: &Arc<Origin>) -> LaneId {
        let address = Arc::as_ptr(origin).addr();
        if let Some((_, lane)) = self.remembered.get(&address) {
            return *lane;
        }
        let lane = self.look_up(origin);
        let bytes = size_of::<Origin>() + origin.bytes();
        self.remembered
            .insert(address, (Arc::clone(origin), lane), bytes);
        lane
    }

    fn look_up(&mut self, origin: &Origin) -> LaneId {
        if let Some(rule) = self.rules.iter().find(|rule| rule.matches(origin)) {
            return rule.lane;
        }
        let Some(name) = &origin.intent else {
            return self.catch_all;
        };
        self.named.get(name).copied().unwrap_or_else(|| {
            self.unknown_intents += 1;
            tracing::warn!(intent = %name, source = %origin.source, "event asks for an intent that does not exist; it is taken as diagnostic");
            self.catch_all
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adapters::{AdapterKind, Quality};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Settings;

    fn origin(subject: &str, kind: &str, intent: Option<&str>) -> Arc<Origin> {
        Arc::new(Origin {
            adapter: AdapterKind::Mqtt,
            source: "plant".into(),
            subject: subject.into(),
            device: "press-3".into(),
            kind: kind.into(),
            tags: BTreeMap::from([("line".into(), "a".into())]),
            intent: intent.map(Into::into),
            content_type: None,
            quality: Quality::Good,
        })
    }

    #[test]
    fn the_first_rule_that_matches_wins_then_what_the_event_asks_for() {
        let settings = Settings::of(
            "[[route]]\nsubject = \"+/alarm\"\nkind = \"test\"\nintent = \"diagnostic\"\n\
             [[route]]\nsubject = \"+/alarm\"\nintent = \"critical\"\n\
             [[route]]\ntags = { line = \"b\" }\nintent = \"state\"\n",
        );
        let mut router = Router::new(settings.routes.clone(), settings.route_bytes);
        for (subject, kind, asks, gets) in [
            ("a/alarm", "real", None, "critical"),
            ("a/alarm", "test", Some("critical"), "diagnostic"),
            ("a/state", "real", Some("feature"), "feature"),
            ("a/state", "real", None, "diagnostic"),
            ("a/state", "real", Some("nonsense"), "diagnostic"),
        ] {
            let lane = router.lane(&origin(subject, kind, asks));
            assert_eq!(
                settings.intents.get(lane).name,
                gets,
                "{subject} {kind} {asks:?}"
            );
        }
        assert_eq!(router.unknown_intents, 1);
    }

    proptest! {
        #[test]
        fn every_event_has_a_lane_and_always_the_same(subject in "[a-z/+#]{0,12}", kind in "[a-z]{0,4}") {
            let settings = Settings::of("[[route]]\nsubject = \"a/#\"\nintent = \"state\"\n");
            let mut router = Router::new(settings.routes, settings.route_bytes);
            let origin = origin(&subject, &kind, None);
            let first = router.lane(&origin);
            prop_assert_eq!(first, router.lane(&Arc::new(Origin::clone(&origin))));
        }
    }
}
