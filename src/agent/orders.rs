//! What is asked of the agent from outside, by signals, over all agents of this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::End;
use super::prepare::{self, AgentError, Prepared, Unopened};
use crate::config::{Loaded, Weight};
use crate::process::supervisor::{self, Ask, Signals};
use crate::process::{chain, logging};
use crate::rollout::{self, Pull, Rollout};
use crate::status::Port;

pub(crate) const GOES_ON: &str =
    "the agent cannot begin with the new configuration; it goes on with the one before";

/// What is asked of the agent.
pub(super) enum Request {
    /// To stop, by the signal of this name.
    Stop(&'static str),
    /// To read the configuration, for this reason.
    Read(&'static str),
}

pub(crate) struct Orders {
    path: PathBuf,
    signals: Signals,
    /// Another text is in the file.
    dropped: mpsc::Receiver<()>,
    pub(super) pull: Pull,
    pub(crate) rollout: Rollout,
    /// What the agent runs with.
    loaded: Option<Arc<Loaded>>,
    port: Option<Port>,
    /// It has all that it began with, so that it can go on with another configuration.
    whole: bool,
}

impl Orders {
    pub(crate) fn new(path: &Path, signals: Signals, rollout: Rollout) -> Orders {
        Orders {
            path: path.to_owned(),
            signals,
            dropped: rollout::watch(path),
            pull: Pull::new(),
            rollout,
            loaded: None,
            port: None,
            whole: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An agent has begun, `whole` or without its disk.
    pub(crate) fn begins_with(&mut self, loaded: &Arc<Loaded>, port: Option<&Port>, whole: bool) {
        (self.port, self.whole) = (port.cloned(), whole);
        self.runs_with(loaded);
    }

    /// The agent has begun with it, or goes on with it.
    pub(super) fn runs_with(&mut self, loaded: &Arc<Loaded>) {
        if let Some(old) = self.loaded.replace(Arc::clone(loaded)) {
            logging::change(&old.settings.log, &loaded.settings.log);
        }
        // What is in its files is as of now.
        loaded.marks();
        self.rollout.runs_with(loaded, Instant::now());
        self.rollout.pulls_by(&mut self.pull, loaded, &self.path);
    }

    /// What the agent runs with, or the last one did.
    pub(crate) fn loaded(&self) -> Option<&Arc<Loaded>> {
        self.loaded.as_ref()
    }

    /// What is wrong with it, though not so that it could not be used.
    pub(crate) fn tell_warnings(&self, loaded: &Loaded) {
        let file = self.path.display();
        for problem in &loaded.warnings {
            match problem.weight {
                Weight::Error | Weight::LeftOut => {
                    tracing::error!(%file, "{problem}; the agent runs without this setting, with the default in its place");
                }
                Weight::Tolerated => {
                    tracing::error!(%file, "{problem}; the agent runs nonetheless, as versions before did; put it right");
                }
                Weight::Warning => tracing::warn!(%file, "{problem}"),
            }
        }
    }

    /// All that an agent takes which may not be there; a port that is open already stays open.
    pub(crate) fn prepare(&self, loaded: &Arc<Loaded>) -> Result<Prepared, AgentError> {
        prepare::prepare(loaded, self.port.as_ref(), Unopened::Fails)
    }

    /// For an agent that another goes on for where the keys of its buffer cannot be had.
    fn prepare_with_keys(&self, loaded: &Arc<Loaded>) -> Result<Prepared, AgentError> {
        let prepared = self.prepare(loaded)?;
        prepared.store.check_keys()?;
        Ok(prepared)
    }

    /// What the agent takes in place where it can, or else what one takes that begins anew.
    fn turn_to(&self, loaded: &Arc<Loaded>, reason: &'static str) -> Result<End, AgentError> {
        let running = self.loaded.as_ref().filter(|_| self.whole);
        let change = running.map(|running| prepare::prepare_change(loaded, running));
        Ok(match change.transpose()?.flatten() {
            Some(change) => End::Change(reason, Box::new(change)),
            None => End::StartAnew(reason, Box::new(self.prepare_with_keys(loaded)?)),
        })
    }

    /// Waits until something is asked for. Safe to cancel.
    pub(super) async fn next(&mut self) -> Request {
        loop {
            return tokio::select! {
                biased;
                ask = self.signals.next() => match ask {
                    Ask::Stop(signal) => Request::Stop(signal),
                    Ask::Reload => Request::Read("SIGHUP: the configuration is read again"),
                },
                Some(()) = self.dropped.recv() => {
                    if !self.rollout.is_delivered_anew(&self.path) {
                        continue;
                    }
                    Request::Read("the file has changed: the configuration is read again")
                }
                () = self.pull.news() => {
                    if !self.rollout.is_delivered_anew(&self.path) {
                        continue;
                    }
                    Request::Read("another configuration was pulled: it is read")
                }
            };
        }
    }

    /// The configuration is read, for this reason. One that cannot be used is said and ends nothing.
    pub(super) fn read_again(&mut self, reason: &'static str) -> Option<End> {
        supervisor::reloading();
        let end = self.reloaded(reason);
        if end.is_none() {
            supervisor::ready();
        }
        end
    }

    /// Waits until somebody says stop. What else is asked for meanwhile waits. Safe to cancel.
    pub(super) async fn stop(&mut self) -> &'static str {
        self.signals.stop().await
    }

    pub(crate) async fn stopped_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop()).await.is_ok()
    }

    /// For an agent that is to follow this one though nobody asked for another configuration: the one that was delivered, or else the same.
    pub(super) fn again(&mut self) -> Option<Prepared> {
        let loaded = self.delivered();
        let prepared =
            loaded.and_then(|loaded| self.or_rejected(&loaded, self.prepare_with_keys(&loaded)));
        if prepared.is_some() {
            return prepared;
        }
        let same = self.prepare(self.loaded.as_ref()?);
        or_stays(same, "the agent cannot begin again")
    }

    /// What delivered last, for the agent to go back to.
    pub(super) fn before(&self) -> Option<End> {
        let reason = "the configuration does not deliver; the one before runs again";
        let failed = "the agent cannot begin with the configuration that delivered before";
        or_stays(self.turn_to(self.rollout.proved()?, reason), failed)
    }

    /// What somebody goes back to by hand, if the agent can.
    pub(super) fn go_back(&mut self, by: &str) -> Option<End> {
        let back = self.rollout.back().cloned()?;
        let reason = "`tidegate config return`: the configuration before runs again";
        let failed =
            "`tidegate config return`: the agent cannot begin with the configuration before";
        let end = or_stays(self.turn_to(&back, reason), failed)?;
        self.rollout.goes_back(back, by);
        Some(end)
    }

    /// The text that was delivered last is tried whatever vouches for it.
    pub(super) fn force(&mut self) {
        self.rollout.forces(&self.path);
    }

    /// The configuration that was delivered last, for the agent to take.
    pub(super) fn reloaded(&mut self, reason: &'static str) -> Option<End> {
        let loaded = self.delivered()?;
        let end = self.turn_to(&loaded, reason);
        self.or_rejected(&loaded, end)
    }

    /// The same, if it is good, was not gone back from, and its time has come.
    fn delivered(&mut self) -> Option<Arc<Loaded>> {
        let delivered = self.rollout.delivered(&self.path);
        let file = delivered.file.display();
        let loaded = match delivered.loaded {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(%file, "{problem}");
                }
                tracing::error!(%file, "the new configuration is not used; the agent goes on with the one it has");
                let why = problems.first().map(ToString::to_string);
                let why = why.unwrap_or_default();
                self.rollout
                    .rejects_delivered(&delivered.file, &self.path, why);
                return None;
            }
        };
        if let Err(why) = self.rollout.admits(&loaded) {
            tracing::error!(%file, why, "the new configuration is not tried; the agent goes on with the one it has");
            return None;
        }
        if let Err(why) = self.rollout.may_try(&loaded) {
            tracing::error!(%file, why, "the configuration was gone back from before; it is not tried again until it, or a file that it refers to, is another; the agent goes on with the one it has");
            return None;
        }
        if self.rollout.waits(&loaded) {
            return None;
        }
        if let Err(why) = self.rollout.has_place(&loaded, Instant::now()) {
            tracing::warn!(%file, why, "the new configuration is not tried yet; the agent goes on with the one it has, and nothing is lost");
            return None;
        }
        Some(Arc::new(loaded))
    }

    /// A configuration that no agent can begin with is rejected.
    fn or_rejected<T>(&mut self, loaded: &Loaded, had: Result<T, AgentError>) -> Option<T> {
        had.map_err(|error| {
            tracing::error!(error = chain(&error), file = %self.path.display(), "{GOES_ON}");
            self.rollout.rejects(&loaded.texts, chain(&error));
        })
        .ok()
    }
}

/// The agent goes on as it is where that cannot be had.
fn or_stays<T>(had: Result<T, AgentError>, failed: &str) -> Option<T> {
    had.map_err(|error| {
        tracing::error!(error = chain(&error), "{failed}; it goes on as it is");
    })
    .ok()
}
