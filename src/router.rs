//! Which intent an event has: rules, the first match wins.

use std::collections::HashMap;
use std::sync::Arc;

use adapters::Origin;
use adapters::mqtt::Pattern;
use buffer::LaneId;

use crate::config::{File, RouteSection};
use crate::intent::{CATCH_ALL, Intents};

/// Origins whose lane is remembered; beyond it all are forgotten and looked up anew.
const REMEMBERED_MAX: usize = 8192;

#[derive(Debug)]
pub(crate) struct Router {
    rules: Vec<(RouteSection, Option<Pattern>, LaneId)>,
    named: HashMap<String, LaneId>,
    catch_all: LaneId,
    /// By address; the origin is held so that its address is not used again.
    remembered: HashMap<usize, (Arc<Origin>, LaneId)>,
    /// Events that asked for an intent that does not exist.
    pub unknown_intents: u64,
}

impl Router {
    #[must_use]
    pub(crate) fn new(file: &File, intents: &Intents) -> Router {
        let catch_all = intents
            .id(CATCH_ALL)
            .expect("the diagnostic intent is built in");
        let rule = |route: &RouteSection| {
            let subject = route
                .subject
                .as_deref()
                .and_then(|subject| Pattern::parse(subject).ok());
            (
                route.clone(),
                subject,
                intents.id(&route.intent).unwrap_or(catch_all),
            )
        };
        Router {
            rules: file.route.iter().map(rule).collect(),
            named: intents
                .iter()
                .map(|(lane, intent)| (intent.name.clone(), lane))
                .collect(),
            catch_all,
            remembered: HashMap::new(),
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
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(address, (Arc::clone(origin), lane));
        lane
    }

    fn look_up(&mut self, origin: &Origin) -> LaneId {
        if let Some((_, _, lane)) = self
            .rules
            .iter()
            .find(|(rule, subject, _)| matches(rule, subject.as_ref(), origin))
        {
            return *lane;
        }
        let Some(name) = &origin.intent else {
            return self.catch_all;
        };
        self.named.get(name).copied().unwrap_or_else(|| {
            self.unknown_intents += 1;
            tracing::warn!(intent = %name, source = %origin.source, "event asks for an intent that does not exist; it is taken as {CATCH_ALL}");
            self.catch_all
        })
    }
}

fn matches(rule: &RouteSection, subject: Option<&Pattern>, origin: &Origin) -> bool {
    let is =
        |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|wanted| wanted == have);
    rule.adapter.is_none_or(|adapter| adapter == origin.adapter)
        && is(&rule.source, &origin.source)
        && is(&rule.kind, &origin.kind)
        && is(&rule.device, &origin.device)
        && subject.is_none_or(|pattern| pattern.matches(&origin.subject))
        && rule
            .tags
            .iter()
            .all(|(name, wanted)| origin.tags.get(name) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adapters::{AdapterKind, Quality};
    use proptest::prelude::*;

    use super::*;

    fn file(routes: &str) -> File {
        toml::from_str(&format!(
            "[uplink]\nbrokers = [\"localhost:9092\"]\n{routes}"
        ))
        .unwrap()
    }

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
        let file = file(
            "[[route]]\nsubject = \"+/alarm\"\nkind = \"test\"\nintent = \"diagnostic\"\n\
             [[route]]\nsubject = \"+/alarm\"\nintent = \"critical\"\n\
             [[route]]\ntags = { line = \"b\" }\nintent = \"state\"\n",
        );
        let intents = Intents::new(&file);
        let mut router = Router::new(&file, &intents);
        for (subject, kind, asks, gets) in [
            ("a/alarm", "real", None, "critical"),
            ("a/alarm", "test", Some("critical"), "diagnostic"),
            ("a/state", "real", Some("feature"), "feature"),
            ("a/state", "real", None, "diagnostic"),
            ("a/state", "real", Some("nonsense"), "diagnostic"),
        ] {
            let lane = router.lane(&origin(subject, kind, asks));
            assert_eq!(intents.get(lane).name, gets, "{subject} {kind} {asks:?}");
        }
        assert_eq!(router.unknown_intents, 1);
    }

    proptest! {
        #[test]
        fn every_event_has_a_lane_and_always_the_same(subject in "[a-z/+#]{0,12}", kind in "[a-z]{0,4}") {
            let file = file("[[route]]\nsubject = \"a/#\"\nintent = \"state\"\n");
            let mut router = Router::new(&file, &Intents::new(&file));
            let origin = origin(&subject, &kind, None);
            let first = router.lane(&origin);
            prop_assert_eq!(first, router.lane(&Arc::new(Origin::clone(&origin))));
        }
    }
}
