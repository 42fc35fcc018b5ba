//! The one loop in which sources reconnect: what is said of a failure, and how long attempts are apart.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

use crate::{Backoff, Intake, Stop, stopped};

/// A source that reconnects until it is stopped.
pub(crate) struct Reconnect<'a> {
    backoff: Backoff,
    /// Name of the source.
    source: &'a str,
    /// What it connects to.
    peer: String,
    works: Works<'a>,
    said: bool,
}

/// How an attempt says that it works.
pub(crate) struct Works<'a> {
    intake: &'a Intake,
    worked: AtomicBool,
}

impl Works<'_> {
    /// The next failure is logged again, and waits little.
    pub(crate) fn now(&self) {
        self.intake.stats.up();
        self.worked.store(true, Ordering::Relaxed);
    }
}

impl<'a> Reconnect<'a> {
    pub(crate) fn new(
        intake: &'a Intake,
        backoff: Backoff,
        source: &'a str,
        peer: String,
    ) -> Reconnect<'a> {
        Reconnect {
            backoff,
            source,
            peer,
            works: Works {
                intake,
                worked: AtomicBool::new(false),
            },
            said: false,
        }
    }

    pub(crate) fn works(&self) -> &Works<'a> {
        &self.works
    }

    /// An attempt failed; waits until the next is due, or says `false` where the source is stopped. The first failure of a
    /// series is logged.
    pub(crate) async fn again(&mut self, error: impl Display, stop: &mut Stop) -> bool {
        self.works.intake.stats.down(&error);
        if self.works.worked.swap(false, Ordering::Relaxed) {
            self.backoff.reset();
            self.said = false;
        }
        if !std::mem::replace(&mut self.said, true) {
            warn!(source = self.source, peer = self.peer, %error, "source lost; reconnecting until it works");
        }
        tokio::select! {
            () = self.backoff.wait() => true,
            () = stopped(stop) => false,
        }
    }
}
