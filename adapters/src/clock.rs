//! Wall-clock time, and whether it can be believed.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::Stamp;

/// Gateways without a battery boot in 1970, or where they were last switched off, until NTP has run.
/// A clock before `not_before` (this binary's build, or the latest time the agent has seen) is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    not_before_us: i64,
}

impl Clock {
    #[must_use]
    pub fn new(not_before_us: i64) -> Clock {
        Clock { not_before_us }
    }

    /// The time now. Costs two system calls: read it once a batch.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let unix_us = unix_us();
        let unsynced_boot_us = (unix_us < self.not_before_us).then(boot_us);
        Stamp {
            unix_us,
            unsynced_boot_us,
        }
    }

    /// A stamp made while the clock was wrong, made right if the clock is right by now.
    #[must_use]
    pub fn corrected(&self, stamp: Stamp) -> Stamp {
        let now = self.stamp();
        match (stamp.unsynced_boot_us, now.unsynced_boot_us) {
            (Some(then), None) => {
                let ago = boot_us()
                    .checked_sub(then)
                    .and_then(|ago| i64::try_from(ago).ok());
                // A boot time in the future is of an earlier boot: nothing can be made of it.
                ago.map_or(stamp, |ago| Stamp {
                    unix_us: now.unix_us - ago,
                    unsynced_boot_us: None,
                })
            }
            (None, _) | (Some(_), Some(_)) => stamp,
        }
    }
}

fn unix_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn boot_us() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let micros = time
        .tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1000);
    u64::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_taken_before_the_clock_was_set_is_corrected_when_it_is() {
        let wrong = Clock::new(i64::MAX).stamp();
        assert!(wrong.unsynced_boot_us.is_some());
        let stale = Stamp {
            unix_us: 1_000_000,
            ..wrong
        };
        assert_eq!(Clock::new(i64::MAX).corrected(stale), stale);
        let right = Clock::new(0).corrected(stale);
        assert!(right.unsynced_boot_us.is_none());
        assert!((right.unix_us - unix_us()).abs() < 5_000_000, "{right:?}");
    }
}
