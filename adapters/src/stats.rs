//! What a source counts, for the status.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::printable;

/// What an operator wants to know of a source.
#[derive(Debug, Default)]
pub struct SourceStats {
    pub connected: AtomicBool,
    pub received: AtomicU64,
    pub refused: AtomicU64,
    /// Failures to connect or to read, since the start.
    pub errors: AtomicU64,
    /// Pauses: times that nothing was taken from it because its lane had no room in memory, and microseconds of them.
    pub pauses: AtomicU64,
    pub paused_us: AtomicU64,
    /// Bytes that were heard before an answer and belong to none (Modbus on a line of bytes).
    pub skipped: AtomicU64,
    last_error: Mutex<String>,
}

impl SourceStats {
    pub fn up(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    pub fn down(&self, why: &dyn ToString) {
        self.connected.store(false, Ordering::Relaxed);
        self.error(why);
    }

    pub fn error(&self, why: &dyn ToString) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = printable(&why.to_string());
    }

    #[must_use]
    pub fn last_error(&self) -> String {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
