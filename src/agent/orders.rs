//! What is asked of the agent from outside, by signals, over all agents of this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::End;
use super::prepare::{self, AgentError, Prepared, Unopened};
use crate::config::{self, Loaded, Texts};
use crate::process::chain;
use crate::process::supervisor::{self, Ask, Signals};
use crate::rollout::{self, Rollout};
use crate::status::Port;

pub(crate) const GOES_ON: &str =
    "the agent cannot begin with the new configuration; it goes on with the one before";

pub(crate) struct Orders {
    path: PathBuf,
    signals: Signals,
    /// Another text is in the file.
    dropped: mpsc::Receiver<()>,
    pub(crate) rollout: Rollout,
    /// What the agent runs with.
    loaded: Option<Arc<Loaded>>,
    port: Option<Port>,
}

impl Orders {
    pub(crate) fn new(path: &Path, signals: Signals, rollout: Rollout) -> Orders {
        Orders {
            path: path.to_owned(),
            signals,
            dropped: rollout::watch(path),
            rollout,
            loaded: None,
            port: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn runs_with(&mut self, loaded: &Arc<Loaded>, port: Option<&Port>) {
        (self.loaded, self.port) = (Some(Arc::clone(loaded)), port.cloned());
        self.rollout.runs_with(loaded, Instant::now());
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

    /// Waits until the agent is to end. A configuration that cannot be used is said and ends nothing. Safe to cancel.
    pub(super) async fn next(&mut self) -> End {
        loop {
            let reason = tokio::select! {
                biased;
                ask = self.signals.next() => match ask {
                    Ask::Stop(signal) => return End::Stop(signal),
                    Ask::Reload => "SIGHUP: the configuration is read again",
                },
                Some(()) = self.dropped.recv() => {
                    if !self.is_news() {
                        continue;
                    }
                    "the file has changed: the configuration is read again"
                }
            };
            supervisor::reloading();
            if let Some(next) = self.reloaded() {
                return End::StartAnew(reason, Box::new(next));
            }
            supervisor::ready();
        }
    }

    /// A text that was read by a signal or at the start is none, and what runs is answered without being read again.
    fn is_news(&mut self) -> bool {
        // Before the texts: what comes meanwhile is news the next time.
        let vouchers = config::vouchers(&self.path);
        let texts = Texts::readable(&self.path, &self.path);
        self.path.exists() && self.rollout.is_news(&texts, vouchers)
    }

    /// Waits until somebody says stop. What else is asked for meanwhile waits. Safe to cancel.
    pub(super) async fn stop(&mut self) -> &'static str {
        self.signals.stop().await
    }

    pub(crate) async fn stopped_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop()).await.is_ok()
    }

    /// For an agent that is to follow this one though nobody asked for another configuration: the one in the file, or else the same.
    pub(super) fn again(&mut self) -> Option<Prepared> {
        if let Some(prepared) = self.reloaded() {
            return Some(prepared);
        }
        self.prepare_or_stay(self.loaded.as_ref()?, "the agent cannot begin again")
    }

    /// What delivered last, for an agent to go back to.
    pub(super) fn before(&self) -> Option<Prepared> {
        let proved = self.rollout.proved()?;
        self.prepare_or_stay(
            proved,
            "the agent cannot begin with the configuration that delivered before",
        )
    }

    /// What somebody goes back to by hand, if an agent can begin with it.
    pub(super) fn go_back(&mut self, by: &str) -> Option<Prepared> {
        let back = self.rollout.back().cloned()?;
        let failed =
            "`tidegate config return`: the agent cannot begin with the configuration before";
        let prepared = self.prepare_or_stay(&back, failed)?;
        self.rollout.goes_back(back, by);
        Some(prepared)
    }

    /// The agent goes on as it is where that cannot be had.
    fn prepare_or_stay(&self, loaded: &Arc<Loaded>, failed: &str) -> Option<Prepared> {
        let prepared = self.prepare(loaded);
        prepared
            .map_err(|error| {
                tracing::error!(error = chain(&error), "{failed}; it goes on as it is");
            })
            .ok()
    }

    /// The text that is in the file now is tried whatever vouches for it; where it must be signed, this changes nothing.
    pub(super) fn force(&mut self) {
        let texts = Texts::readable(&self.path, &self.path);
        self.rollout.forces(&texts);
    }

    /// The configuration as it is now in the file, if it is good, was not gone back from, and an agent can begin with it.
    pub(super) fn reloaded(&mut self) -> Option<Prepared> {
        let file = self.path.display();
        let loaded = match config::load(&self.path) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(%file, "{problem}");
                }
                tracing::error!(%file, "the new configuration is not used; the agent goes on with the one it has");
                let why = problems.first().map(ToString::to_string);
                let texts = Texts::readable(&self.path, &self.path);
                self.rollout.rejects(&texts, why.unwrap_or_default());
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
        let loaded = Arc::new(loaded);
        match self.prepare_with_keys(&loaded) {
            Ok(prepared) => Some(prepared),
            Err(error) => {
                tracing::error!(error = chain(&error), %file, "{GOES_ON}");
                self.rollout.rejects(&loaded.texts, chain(&error));
                None
            }
        }
    }
}
