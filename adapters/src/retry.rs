//! The one loop in which sources reconnect: what is said of a failure, and how long attempts are apart.

use std::cell::Cell;
use std::fmt::Display;

use tracing::warn;

use crate::{Backoff, Intake, Stop, stopped};

/// A source that reconnects until it is stopped.
pub(crate) struct Reconnect<'a> {
    pub(crate) intake: &'a Intake,
    pub(crate) backoff: Backoff,
    /// Name of the source.
    pub(crate) source: &'a str,
    /// What it connects to.
    pub(crate) peer: String,
}

/// How an attempt says that it works.
pub(crate) struct Works<'a> {
    intake: &'a Intake,
    worked: Cell<bool>,
}

impl Works<'_> {
    /// The next failure is logged again, and waits little.
    pub(crate) fn now(&self) {
        self.intake.stats.up();
        self.worked.set(true);
    }
}

impl Reconnect<'_> {
    /// `attempt` works until it fails, or until stopped (`None`). The first failure of a series is logged.
    pub(crate) async fn until_stopped<E: Display>(
        mut self,
        stop: &mut Stop,
        mut attempt: impl AsyncFnMut(&Works<'_>, &mut Stop) -> Option<E>,
    ) {
        let works = Works {
            intake: self.intake,
            worked: Cell::new(false),
        };
        let mut said = false;
        while let Some(error) = attempt(&works, stop).await {
            self.intake.stats.down(&error);
            if works.worked.take() {
                self.backoff.reset();
                said = false;
            }
            if !std::mem::replace(&mut said, true) {
                warn!(source = self.source, peer = self.peer, %error, "source lost; reconnecting until it works");
            }
            tokio::select! {
                () = self.backoff.wait() => {}
                () = stopped(stop) => return,
            }
        }
    }
}
