//! What a source counts, for the status.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    slaves: Mutex<BTreeMap<u8, SlaveStats>>,
    last_error: Mutex<String>,
}

/// Of one slave of a Modbus bus, since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlaveStats {
    /// Reads of a group that the slave answered, also with a refusal, and those that it did not.
    pub answered: u64,
    pub failed: u64,
    /// Whether it counts as one that answers: it is not silent, and its line is there.
    pub is_there: bool,
}

impl SourceStats {
    pub fn slave_answered(&self, slave: u8) {
        let mut slaves = self.lock_slaves();
        let slave = slaves.entry(slave).or_default();
        (slave.answered, slave.is_there) = (slave.answered + 1, true);
    }

    /// A read of it failed; `is_away` where it counts no more as one that answers.
    pub fn slave_failed(&self, slave: u8, is_away: bool) {
        let mut slaves = self.lock_slaves();
        let slave = slaves.entry(slave).or_default();
        slave.failed += 1;
        slave.is_there &= !is_away;
    }

    /// Of each slave that was asked, by its address.
    #[must_use]
    pub fn slaves(&self) -> BTreeMap<u8, SlaveStats> {
        self.lock_slaves().clone()
    }

    fn lock_slaves(&self) -> MutexGuard<'_, BTreeMap<u8, SlaveStats>> {
        self.slaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
