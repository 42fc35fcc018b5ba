//! Where the lines of the log go, and that there are not too many of one kind.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber, callsite};
use tracing_subscriber::layer::{Context, Layer};

use super::line::Line;
use super::quota::Quota;

const JOURNAL: &str = "/run/systemd/journal/socket";

/// The log.
pub(super) struct Lines {
    to: To,
    /// By the place in the code: there are no more than that has.
    quotas: Mutex<HashMap<callsite::Identifier, Quota>>,
}

pub(super) enum To {
    Human { colours: bool },
    Json,
    Journal(UnixDatagram),
}

impl To {
    /// The journal, if it is there.
    pub(super) fn journal() -> std::io::Result<To> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNAL)?;
        Ok(To::Journal(socket))
    }

    fn write(&self, line: &Line) {
        let time = || format!("{:.6}", Timestamp::now());
        let to_stderr = |text: String| std::io::stderr().write_all(text.as_bytes());
        let written = match self {
            To::Human { colours } => to_stderr(line.human(&time(), *colours)),
            To::Json => to_stderr(line.json(&time())),
            To::Journal(socket) => socket
                .send(line.journal().as_bytes())
                .map(drop)
                .or_else(|_| to_stderr(line.human(&time(), false))),
        };
        // There is no log to say it in.
        if written.is_err() {}
    }
}

impl Lines {
    pub(super) fn new(to: To) -> Lines {
        Lines {
            to,
            quotas: Mutex::default(),
        }
    }

    /// How many lines of this kind were left out before this one, if it is let pass, and whether it is the last for a while.
    /// Whoever asks for the lines of a developer gets them all.
    fn admits(&self, event: &Event<'_>) -> Option<(u64, bool)> {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return Some((0, false));
        }
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let quota = quotas.entry(metadata.callsite());
        let quota = quota.or_insert_with(|| Quota::new(now));
        quota.admits(now).map(|left| (left, quota.is_used_up()))
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some((left_out, is_last)) = self.admits(event) else {
            return;
        };
        let mut line = Line::of(event);
        if left_out > 0 {
            line.add("lines_of_this_kind_left_out_before", left_out);
        } else if is_last {
            line.add("more_lines_of_this_kind_are_left_out_for_seconds", 10);
        }
        self.to.write(&line);
    }
}
