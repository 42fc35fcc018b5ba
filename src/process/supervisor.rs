//! Signals in, and systemd's notifications out (`sd_notify(3)`, `Type=notify-reload`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
    notify_at_once(&NotifyState::Watchdog);
}

pub(crate) fn stopping() {
    notify_at_once(&NotifyState::Stopping);
}

/// As [`notify`] while the agent runs: where systemd does not read, the message is left out, and the agent does not wait.
fn notify_at_once(state: &NotifyState<'_>) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send_at_once(&path, &state.to_string()) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn send_at_once(path: &OsStr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    socket.send(message.as_bytes()).map(|_| ())
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
