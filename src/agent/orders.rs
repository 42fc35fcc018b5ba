//! What is asked of the agent from outside, by signals, over all agents of this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::End;
use super::prepare::{self, AgentError, Prepared};
use crate::config::{self, Loaded};
use crate::process::chain;
use crate::process::supervisor::{self, Ask, Signals};
use crate::status::Port;

pub(crate) const GOES_ON: &str =
    "the agent cannot begin with the new configuration; it goes on with the one before";

pub(crate) struct Orders {
    path: PathBuf,
    signals: Signals,
    /// What the agent runs with.
    loaded: Option<Arc<Loaded>>,
    port: Option<Port>,
}

impl Orders {
    pub(crate) fn new(path: &Path, signals: Signals) -> Orders {
        Orders {
            path: path.to_owned(),
            signals,
            loaded: None,
            port: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn runs_with(&mut self, loaded: &Arc<Loaded>, port: Option<&Port>) {
        (self.loaded, self.port) = (Some(Arc::clone(loaded)), port.cloned());
    }

    /// All that an agent takes which may not be there; a port that is open already stays open.
    pub(crate) fn prepare(&self, loaded: &Arc<Loaded>) -> Result<Prepared, AgentError> {
        prepare::prepare(loaded, self.port.as_ref())
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
            match self.signals.next().await {
                Ask::Stop(signal) => return End::Stop(signal),
                Ask::Reload => {
                    supervisor::reloading();
                    if let Some(next) = self.reloaded() {
                        let reason = "SIGHUP: the configuration is read again";
                        return End::StartAnew(reason, Box::new(next));
                    }
                    supervisor::ready();
                }
            }
        }
    }

    /// Waits until somebody says stop. What else is asked for meanwhile waits. Safe to cancel.
    pub(super) async fn stop(&mut self) -> &'static str {
        self.signals.stop().await
    }

    pub(crate) async fn stopped_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop()).await.is_ok()
    }

    /// For an agent that is to follow this one though nobody asked for another configuration: the one in the file, or else the same.
    pub(super) fn again(&self) -> Option<Prepared> {
        if let Some(prepared) = self.reloaded() {
            return Some(prepared);
        }
        let same = self.prepare(self.loaded.as_ref()?);
        same.map_err(|error| {
            tracing::error!(
                error = chain(&error),
                "the agent cannot begin again; it goes on as it is"
            );
        })
        .ok()
    }

    /// The configuration as it is now in the file, if it is good and an agent can begin with it.
    fn reloaded(&self) -> Option<Prepared> {
        let file = self.path.display();
        let problems = match config::load(&self.path) {
            Ok(loaded) => match self.prepare_with_keys(&loaded.into()) {
                Ok(prepared) => return Some(prepared),
                Err(error) => {
                    tracing::error!(error = chain(&error), %file, "{GOES_ON}");
                    return None;
                }
            },
            Err(problems) => problems,
        };
        for problem in problems {
            tracing::error!(%file, "{problem}");
        }
        tracing::error!(%file, "the new configuration is not used; the agent goes on with the one it has");
        None
    }
}
