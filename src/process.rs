//! What the process owes its system: signals and systemd's notifications, the log, the allocator, the flash below its state
//! directory, its version.

pub(crate) mod allocator;

pub(crate) mod flash;

pub(crate) mod logging;

pub(crate) mod supervisor;

pub(crate) mod version;

/// An error and its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
