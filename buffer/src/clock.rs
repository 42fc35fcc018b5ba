//! The buffer's clock: milliseconds during which the gateway ran since the buffer was made.
//!
//! Ages must hold over restarts, and the wall clock of a gateway may be wrong at boot. So this clock goes by
//! boot time (`CLOCK_BOOTTIME`, suspend included), and is written down with the marks. Time without power does
//! not count, nor the last seconds before a cut.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The id of this boot, or nothing where the system does not tell: then time between two starts does not count.
///
/// systemd's `ProcSubset=pid` hides the kernel's own file; the unit says the id (`%b`) in the environment.
#[must_use]
pub fn boot_id() -> Option<String> {
    let said = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let said = said.or_else(|| std::env::var("TIDEGATE_BOOT_ID").ok())?;
    let id = digits(&said);
    (!id.is_empty()).then_some(id)
}

/// The kernel writes it with dashes, systemd without.
fn digits(id: &str) -> String {
    let digits = id.chars().filter(char::is_ascii_hexdigit);
    digits.map(|digit| digit.to_ascii_lowercase()).collect()
}

/// The clock as it was last written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) at_ms: u64,
    /// Which boot it was, and how long after it.
    boot: String,
    boot_ms: u64,
}

#[derive(Debug)]
pub(crate) struct DiskClock {
    boot: String,
    /// The clock and boot time at `opened`.
    base_ms: u64,
    boot_ms: u64,
    opened: Instant,
}

impl DiskClock {
    /// Goes on from what was written down.
    pub(crate) fn since(written: &Written) -> DiskClock {
        let boot = boot_id().unwrap_or_default();
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let millis = Duration::try_from(time).map_or(0, |time| time.as_millis());
        let boot_ms = u64::try_from(millis).unwrap_or(0);
        let same = !boot.is_empty() && boot == digits(&written.boot);
        let between = if same {
            boot_ms.saturating_sub(written.boot_ms)
        } else {
            0
        };
        DiskClock {
            boot,
            base_ms: written.at_ms + between,
            boot_ms,
            opened: Instant::now(),
        }
    }

    /// Milliseconds at `now`.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        self.base_ms + self.passed(now)
    }

    /// The moment at which the clock showed `millis`.
    pub(crate) fn when(&self, millis: u64, now: Instant) -> Option<Instant> {
        now.checked_sub(Duration::from_millis(self.at(now).saturating_sub(millis)))
    }

    pub(crate) fn written(&self, now: Instant) -> Written {
        Written {
            at_ms: self.at(now),
            boot: self.boot.clone(),
            boot_ms: self.boot_ms + self.passed(now),
        }
    }

    fn passed(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.opened).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_over_restarts_and_stands_still_without_power() {
        let first = DiskClock::since(&Written::default());
        let hour = Duration::from_hours(1);
        let written = first.written(first.opened + hour);
        assert_eq!(written.at_ms, 3_600_000);
        let rebooted = Written {
            boot: "another".into(),
            ..written.clone()
        };
        let after = DiskClock::since(&rebooted);
        assert_eq!(after.at(after.opened), 3_600_000);
        // The same boot: the hour that we claimed to have run lies ahead, so that none has passed.
        let again = DiskClock::since(&written);
        assert_eq!(again.at(again.opened), 3_600_000);
    }
}
