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
        let brings = |old| {
            let known = topics(old);
            let others = topics(new)
                .into_iter()
                .filter(move |one| !known.contains(one));
            others.collect::<Vec<_>>()
        };
        let keeps_otherwise = old.is_some_and(|old| keeping(old) != keeping(new));
        proof
            .with_lanes(keeps_otherwise, within, now)
            .with_topics(old.map(brings).unwrap_or_default().into_iter())
    }

    /// Topics of which the cluster is to say that it has them.
    pub(crate) fn topics(&self) -> Vec<String> {
        let proof = self.proof.iter();
        proof.flat_map(Proof::topics).cloned().collect()
    }
}

/// Those that all records of a lane go to.
fn topics(settings: &Settings) -> Vec<String> {
    let constant = settings.addresses().constant();
    constant.into_iter().flatten().collect()
}

/// All that records pass on their way to the cluster.
fn way_out(settings: &Settings) -> impl PartialEq + '_ {
    (&settings.clusters, &settings.drain, &settings.intents)
}

/// What decides whether an event is kept until the cluster has it, and whether that takes it.
fn keeping(settings: &Settings) -> impl PartialEq + '_ {
    let lanes = settings.intents.iter().map(|(_, one)| &one.lane);
    let lanes: Vec<_> = lanes.collect();
    let kept = (lanes, &settings.store, settings.unacked_bytes);
    (kept, &settings.routes, settings.intents.addresses())
}
