//! What of a running agent another configuration changes, by part.

use std::collections::BTreeSet;

use super::loaded::Loaded;
use super::settings::Settings;

/// What is different between the configuration that runs and another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What only an agent that begins anew can take, in the words of the file; nothing where all can be taken by the one that runs.
    pub anew: Option<&'static str>,
    /// Sources that are added, or are others than before, by name; and those that are removed.
    pub sources: BTreeSet<String>,
    pub removed: BTreeSet<String>,
    parts: BTreeSet<Part>,
}

/// What is changed where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Routes,
    /// Addresses, paces, budgets and windows: what is done between the lanes and the cluster.
    Drain,
    Cluster,
    /// What touches no part: the log's level, the heartbeat, the time of a stop, the budget of writes.
    Rest,
}

impl Part {
    fn words(self) -> &'static str {
        match self {
            Part::Routes => "routes",
            Part::Drain => "topics and paces",
            Part::Cluster => "the connections to the cluster",
            Part::Rest => "the log, the heartbeat, `stop_grace` or `write_budget`",
        }
    }
}

impl Difference {
    pub(crate) fn between(old: &Loaded, new: &Loaded) -> Difference {
        let mut all = Difference::of(&old.settings, &new.settings);
        let (before, after) = (old.marks(), new.marks());
        for (name, mark) in &after.sources {
            let known = before.sources.get(name);
            if known.is_some_and(|known| known != mark) {
                all.sources.insert(name.clone());
            }
        }
        if before.keys != after.keys {
            all.anew = all.anew.or(Some("what is in the files of `buffer.keys`"));
        }
        all
    }

    fn of(old: &Settings, new: &Settings) -> Difference {
        let names = |of: &Settings| -> BTreeSet<String> {
            let names = of.sources.iter().map(|one| one.name().to_owned());
            names.collect()
        };
        let routes = (&old.routes, old.intents.histories(), old.route_bytes)
            != (&new.routes, new.intents.histories(), new.route_bytes);
        // Which of a source's messages are urgent follows from the routes.
        let is_other = |name: &String| routes || of_source(old, name) != of_source(new, name);
        let (before, after) = (names(old), names(new));
        let parts = [
            (routes, Part::Routes),
            (of_drain(old) != of_drain(new), Part::Drain),
            (old.clusters != new.clusters, Part::Cluster),
            (of_rest(old) != of_rest(new), Part::Rest),
        ];
        let parts = parts.into_iter().filter(|(is, _)| *is);
        Difference {
            anew: anew(old, new),
            sources: after
                .iter()
                .filter(|name| is_other(name))
                .cloned()
                .collect(),
            removed: before.difference(&after).cloned().collect(),
            parts: parts.map(|(_, part)| part).collect(),
        }
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// What it is about, for the log.
    pub(crate) fn words(&self) -> String {
        let list = |what: &str, names: &BTreeSet<String>| {
            let names = names.iter().map(|name| format!("`{name}`"));
            let names = names.collect::<Vec<_>>().join(", ");
            (!names.is_empty()).then(|| format!("{what} {names}"))
        };
        let parts = self.parts.iter().map(|part| part.words().to_owned());
        let sources = [
            list("sources", &self.sources),
            list("without", &self.removed),
        ];
        let all: Vec<String> = sources.into_iter().flatten().chain(parts).collect();
        if all.is_empty() {
            return "nothing".into();
        }
        all.join("; ")
    }
}

fn of_source<'a>(settings: &'a Settings, name: &str) -> impl PartialEq + use<'a> {
    settings.sources.iter().find(|one| one.name() == name)
}

fn of_drain(settings: &Settings) -> impl PartialEq + '_ {
    (
        (settings.intents.addresses(), settings.intents.paces()),
        (&settings.gateway.identity, &settings.drain),
        (&settings.link, &settings.replay),
    )
}

fn of_rest(settings: &Settings) -> impl PartialEq + '_ {
    let gateway = &settings.gateway;
    let (heartbeat, grace) = (settings.status.heartbeat, gateway.stop_grace);
    (&settings.log, heartbeat, grace, gateway.write_budget)
}

/// In the order of what an operator would look for.
fn anew(old: &Settings, new: &Settings) -> Option<&'static str> {
    let lanes = |of: &Settings| {
        let lanes = of.intents.iter().map(|(_, one)| {
            let pace = (one.pace.urgent, one.pace.in_order);
            (
                one.name.clone(),
                one.lane.clone(),
                one.sending.clone(),
                pace,
            )
        });
        lanes.collect::<Vec<_>>()
    };
    let status = |of: &Settings| (of.status.listen.clone(), of.status.hosts.clone());
    let bytes = |of: &Settings| (of.unacked_bytes, of.cluster().in_flight);
    [
        (
            old.gateway.identity.id != new.gateway.identity.id,
            "`gateway.id`",
        ),
        (old.store.state != new.store.state, "`gateway.state_dir`"),
        (
            lanes(old) != lanes(new),
            "which intents there are, what they keep, or what they send together",
        ),
        (old.store != new.store, "what is kept on disk, and how"),
        (status(old) != status(new), "`[status]`"),
        (
            bytes(old) != bytes(new),
            "`memory.profile` or `uplink.in_flight`",
        ),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: &str = "[[inference]]\nname = \"vision\"\nsocket = \"/run/vision.sock\"\n\
         [[mqtt]]\nname = \"plant\"\nhost = \"broker\"\n[[mqtt.subscribe]]\ntopic = \"a/#\"\nintent = \"state\"\n";

    /// What is put before the sources, what of them is replaced, and what that changes: all else stays as it is.
    #[test]
    fn only_what_is_different_is_touched() {
        let old = Settings::of(SOURCES);
        let (none, rest) = ("", "the log, the heartbeat, `stop_grace` or `write_budget`");
        for (before, from, to, words) in [
            (none, "", "", "nothing"),
            (none, "a/#", "b/#", "sources `plant`"),
            (
                none,
                "\"plant\"",
                "\"hall\"",
                "sources `hall`; without `plant`",
            ),
            ("[log]\nlevel = \"debug\"\n", "", "", rest),
            ("[gateway]\nstop_grace = \"5s\"\n", "", "", rest),
            ("[gateway]\nsite = \"west\"\n", "", "", "topics and paces"),
            ("[replay]\nspread = \"1s\"\n", "", "", "topics and paces"),
            (
                "[[intent]]\nname = \"state\"\nweight = 3\n",
                "",
                "",
                "topics and paces",
            ),
            (
                "[[intent]]\nname = \"state\"\ntopic = \"x\"\n",
                "",
                "",
                "topics and paces",
            ),
            (
                "[[route]]\nsubject = \"x\"\nintent = \"critical\"\n",
                "",
                "",
                "sources `plant`, `vision`; routes",
            ),
        ] {
            let new = Settings::of(&format!("{before}{}", SOURCES.replace(from, to)));
            let found = Difference::of(&old, &new);
            assert_eq!(
                (found.anew, found.words().as_str()),
                (None, words),
                "{before}{to}"
            );
        }
        let mut new = old.clone();
        new.clusters[0].client_id = "another".into();
        let found = Difference::of(&old, &new);
        assert_eq!(found.words(), "the connections to the cluster");
        assert_eq!(found.anew, None);
    }

    #[test]
    fn what_is_on_disk_or_divides_memory_takes_an_agent_that_begins_anew() {
        let old = Settings::of(SOURCES);
        for (before, what) in [
            ("[gateway]\nid = \"another\"\n", "`gateway.id`"),
            ("[gateway]\nstate_dir = \"/x\"\n", "`gateway.state_dir`"),
            ("[[intent]]\nname = \"mine\"\n", "which intents"),
            (
                "[[intent]]\nname = \"state\"\nmemory = \"4 MiB\"\n",
                "which intents",
            ),
            (
                "[[intent]]\nname = \"state\"\nbudget = \"1 GiB\"\n",
                "which intents",
            ),
            ("[buffer]\nrequire_mount = true\n", "on disk"),
            ("[status]\nlisten = \"127.0.0.1:9\"\n", "`[status]`"),
            ("[memory]\nprofile = \"tiny\"\n", ""),
        ] {
            let new = Settings::of(&format!("{before}{SOURCES}"));
            let anew = Difference::of(&old, &new).anew;
            assert!(
                anew.is_some_and(|anew| anew.contains(what)),
                "{before}: {anew:?}"
            );
        }
    }
}
