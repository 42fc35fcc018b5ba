//! Attempts at a source that is not there: what is said of them, and how long they are apart.

use std::time::Duration;

use crate::{Backoff, Stop, stopped};

#[derive(Debug)]
pub(crate) struct Retry {
    backoff: Backoff,
    /// It was said that it does not work.
    said: bool,
}

impl Retry {
    pub(crate) fn new(first: Duration, most: Duration) -> Retry {
        Retry {
            backoff: Backoff::new(first, most),
            said: false,
        }
    }

    /// It works, or did: the next failure is said again, and waits little.
    pub(crate) fn works(&mut self) {
        self.backoff.reset();
        self.said = false;
    }

    /// It does not work; returns whether that is still to be said.
    pub(crate) fn failed(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Waits before the next attempt; `false` if the agent stops meanwhile.
    pub(crate) async fn pause(&mut self, stop: &mut Stop) -> bool {
        tokio::select! {
            () = self.backoff.wait() => true,
            () = stopped(stop) => false,
        }
    }
}
