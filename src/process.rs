//! What the process owes its system: signals and systemd's notifications, the log, the allocator, the flash below its state
//! directory, its memory, its version, the time; and the parts that work in it beside the agent's task.

pub(crate) mod allocator;

pub(crate) mod clock;

pub(crate) mod flash;

pub(crate) mod logging;

pub(crate) mod memory;

#[cfg(test)]
pub(crate) mod mutate;

pub(crate) mod parts;

pub(crate) mod supervisor;

pub(crate) mod version;

/// What a panic says, if that is a text.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

/// An error and its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
