//! Signals in, and systemd's notifications out (`sd_notify(3)`, `Type=notify-reload`).

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells systemd that the agent is ready.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("running")]);
}

/// Tells it that the configuration is read again; [`ready`] says that this is over.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd was not told"),
    }
}

/// Feeds systemd's watchdog; called by the agent's own loop, so that a hung loop is noticed.
pub(crate) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// What the agent is asked for from outside.
pub(crate) enum Ask {
    /// By the signal of this name.
    Stop(&'static str),
    /// By SIGHUP.
    Reload,
}

/// One listener for the whole life of the process, so that no signal is missed between two agents.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Safe to cancel: a signal that comes meanwhile waits for the next call.
    pub(crate) async fn next(&mut self) -> Ask {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Ask::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Ask::Stop("SIGINT"),
            _ = self.hang_up.recv() => Ask::Reload,
        }
    }

    /// The same of a stop alone; a SIGHUP waits.
    pub(crate) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
