//! What a configuration has to prove: the parts that are others than those of the one that delivered last.

use std::time::Instant;

use super::super::proof::Proof;
use super::Rollout;
use crate::config::{Loaded, Settings};

impl Rollout {
    pub(super) fn new_proof(&self, loaded: &Loaded, now: Instant) -> Proof {
        let new = &loaded.settings;
        let old = self.proved.as_ref().map(|one| &one.settings);
        let sources = new.sources.iter().filter(|one| {
            let same = old.is_some_and(|old| old.sources.contains(one));
            !same && self.well.contains(one.name())
        });
        let sources = sources.map(|one| (one.name().to_owned(), one.interval()));
        let uplink = old.is_none_or(|old| way_out(old) != way_out(new));
        let within = loaded.file.fleet.prove_within.0;
        let proof = Proof::new(uplink, sources, old.is_some(), within, now);
        let brings = old.map(|old| self.topics_of(new, old));
        let keeps_otherwise = old.is_some_and(|old| keeping(old) != keeping(new));
        let moves = old.is_some_and(|old| old.clusters != new.clusters);
        proof
            .with_lanes(keeps_otherwise, moves, within)
            .with_topics(brings.unwrap_or_default().into_iter())
    }

    /// Those that `new` brings, and, with another cluster, those that took something of the last one.
    fn topics_of(&self, new: &Settings, old: &Settings) -> Vec<String> {
        let (known, moves) = (topics(old), old.clusters != new.clusters);
        let is_to_prove = |(lane, topic): &(&str, String)| {
            let is_known = known.iter().any(|(_, one)| one == topic);
            !is_known || (moves && self.used.contains(*lane))
        };
        let topics = topics(new).into_iter().filter(is_to_prove);
        topics.map(|(_, topic)| topic).collect()
    }

    /// Topics of which the cluster is to say that it has them.
    pub(crate) fn topics(&self) -> Vec<String> {
        let proof = self.proof.iter();
        proof.flat_map(Proof::topics).cloned().collect()
    }
}

/// Of each lane whose records all go to one topic, its name and that.
fn topics(settings: &Settings) -> Vec<(&str, String)> {
    let lanes = settings.intents.iter().map(|(_, one)| one.name.as_str());
    let topics = lanes.zip(settings.addresses().constant());
    topics
        .filter_map(|(lane, topic)| Some((lane, topic?)))
        .collect()
}

/// All that records pass on their way to the cluster.
fn way_out(settings: &Settings) -> impl PartialEq + '_ {
    (&settings.clusters, &settings.drain, &settings.intents)
}

/// What decides whether an event is dropped: how lanes keep it, which one it goes to, and to which topic.
fn keeping(settings: &Settings) -> impl PartialEq + '_ {
    let lanes = settings.intents.iter().map(|(_, one)| &one.lane);
    let lanes: Vec<_> = lanes.collect();
    let kept = (lanes, &settings.store, settings.unacked_bytes);
    (kept, &settings.routes, settings.intents.addresses())
}
