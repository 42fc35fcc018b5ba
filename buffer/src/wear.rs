//! How much the agent writes to the flash.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

/// The disk writer process that runs, or 0. The kernel adds what it wrote to our own count when it is waited for.
static WRITER: AtomicU32 = AtomicU32::new(0);

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Bytes that this process had the kernel write, and what they amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wear {
    /// Since the buffer was made.
    pub written: u64,
    /// Since the day began, on the buffer's clock.
    pub today: u64,
    /// When it began.
    day_ms: u64,
    /// How far the process's own count was taken over; it begins at 0 with the process.
    #[serde(skip)]
    counted: u64,
}

impl Wear {
    /// Takes over what the process has written until now, the buffer's clock.
    pub(crate) fn count(&mut self, now_ms: u64) {
        let process = written_by_this_process().unwrap_or(0);
        let fresh = process.saturating_sub(self.counted);
        // It falls back for a moment when a disk writer has ended and is not yet waited for.
        self.counted = self.counted.max(process);
        if now_ms >= self.day_ms + DAY_MS {
            (self.day_ms, self.today) = (now_ms, 0);
        }
        self.written += fresh;
        self.today += fresh;
    }

    /// How much of the day has passed, from 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a day's milliseconds are far below 2^53"
    )]
    pub(crate) fn day_passed(&self, now_ms: u64) -> f64 {
        (now_ms.saturating_sub(self.day_ms) as f64 / DAY_MS as f64).min(1.0)
    }
}

/// Bytes of pages that this process and its disk writer made the kernel write back (`write_bytes` of `/proc/PID/io`): what
/// files, their names and their rewriting cost, but not the file system's journal. `None` where the kernel does not count.
#[must_use]
pub fn written_by_this_process() -> Option<u64> {
    let writer = match WRITER.load(Ordering::Relaxed) {
        0 => None,
        process => written_by(&process.to_string()),
    };
    Some(written_by("self")? + writer.unwrap_or(0))
}

fn written_by(process: &str) -> Option<u64> {
    let counts = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    let line = counts
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line?.trim().parse().ok()
}

/// The disk writer process that runs from now on, if any.
pub(crate) fn writer_is(process: Option<u32>) {
    WRITER.store(process.unwrap_or(0), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_counted_and_begun_anew() {
        let mut wear = Wear {
            written: 10,
            today: 10,
            ..Wear::default()
        };
        wear.count(DAY_MS / 2);
        assert!((wear.day_passed(DAY_MS / 2) - 0.5).abs() < 1e-9);
        let (before, process) = (wear.written, wear.counted);
        wear.count(DAY_MS);
        assert_eq!(
            (wear.today, wear.written),
            (wear.counted - process, before + wear.counted - process)
        );
        assert!(wear.day_passed(DAY_MS) < 1e-9);
    }
}
