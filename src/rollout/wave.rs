//! How long a configuration waits for its time, and how much of that has passed. Pure: time comes in as an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pace::delay;

/// What has passed is noted so often: more of it is not lost with the power.
const NOTE_EVERY_S: u64 = 300;

/// A configuration that waits for its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wave {
    /// Which text it is.
    pub sha256: String,
    /// How long it waits since it was first seen, in seconds, and how much of that had passed ...
    pub waits_s: u64,
    pub passed_s: u64,
    /// ... when the clock of this boot showed so many seconds.
    pub boot: String,
    pub at_s: u64,
    /// Somebody wants it tried now.
    pub hurried: bool,
}

/// A moment on the clock of a boot, which counts what time passes whatever the system's clock is set to.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// Nothing where it is not known.
    pub boot: String,
    pub at_s: u64,
}

impl Wave {
    pub(super) fn new(sha256: &str, now: &Moment) -> Wave {
        Wave {
            sha256: sha256.to_owned(),
            boot: now.boot.clone(),
            at_s: now.at_s,
            ..Wave::default()
        }
    }

    /// Notes what has passed. In another boot the time in between is not known.
    pub(super) fn passes(&mut self, now: &Moment) {
        let more = self.more(now);
        if self.boot != now.boot || now.boot.is_empty() || more >= NOTE_EVERY_S {
            self.passed_s += more;
            (self.boot, self.at_s) = (now.boot.clone(), now.at_s);
        }
    }

    fn more(&self, now: &Moment) -> u64 {
        let is_same = self.boot == now.boot;
        if is_same {
            now.at_s.saturating_sub(self.at_s)
        } else {
            0
        }
    }

    /// Seconds until it is tried.
    pub(super) fn left_s(&self, now: &Moment) -> u64 {
        if self.hurried {
            return 0;
        }
        let passed_s = self.passed_s + self.more(now);
        self.waits_s.saturating_sub(passed_s)
    }
}

/// How long the gateway `id` waits before it tries this text.
pub(super) fn wait(spread: Duration, id: &str, sha256: &str) -> Duration {
    delay(spread, &format!("{id} {sha256}"))
}
