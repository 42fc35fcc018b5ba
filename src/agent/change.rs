//! A running agent takes another configuration: only what that changes is touched. Connections, queues and counters of all else go on.

use std::pin::pin;
use std::time::Instant;

use super::prepare::Change;
use super::{Agent, Orders, build};
use crate::config::{Part, Settings};
use crate::process::supervisor;

impl Agent {
    /// Goes on with it; what is under way lands meanwhile.
    pub(super) async fn change(
        &mut self,
        reason: &'static str,
        change: Change,
        orders: &mut Orders,
    ) {
        orders.tell_warnings(&change.loaded);
        if change.loaded.takes_credentials() {
            tracing::info!(
                "systemd's credentials are as they were when the process started: one that was replaced since takes `systemctl restart tidegate`"
            );
        }
        // On disk before it runs: a process that dies of it is known to have.
        let about_to_run = orders.rollout.is_about_to_run(&change.loaded);
        self.meanwhile(about_to_run).await;
        let now = Instant::now();
        self.take_change(&change, now);
        let (loaded, difference) = (change.loaded, change.difference);
        orders.runs_with(&loaded);
        self.sources
            .change(loaded, &difference, change.sources, now);
        self.proves_anew();
        let changed = difference.words();
        tracing::info!(
            reason,
            changed,
            "the agent goes on with it; what is not named goes on as it is, connections as well"
        );
        supervisor::ready();
    }

    /// Does all else while it waits for `work`.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let until = self.step(Instant::now());
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.wait(until) => {}
            }
        }
    }

    fn take_change(&mut self, change: &Change, now: Instant) {
        let (difference, settings) = (&change.difference, &change.loaded.settings);
        if difference.has(Part::Routes) {
            let unknown = self.ingest.router.unknown_intents;
            self.ingest = build::ingest(settings);
            self.ingest.router.unknown_intents = unknown;
        }
        if difference.has(Part::Drain) {
            let way = build::way(settings);
            let shape = settings.replay.clone();
            self.drain.change(&mut self.lanes, way, shape);
            build::tell_metered(settings);
        }
        if difference.has(Part::Cluster)
            && let Err(error) = self.drain.uplink.change(settings.cluster(), now)
        {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                "the connections to the cluster go on with the settings that they had"
            );
        }
        self.intents = settings.intents.clone();
        self.take_facts(settings, now);
    }

    fn take_facts(&mut self, settings: &Settings, now: Instant) {
        let old = self.facts.clone();
        self.facts = build::facts(settings, old.epoch, old.started, old.life);
        self.next_heartbeat = self.next_heartbeat.min(now + self.facts.heartbeat);
    }
}
