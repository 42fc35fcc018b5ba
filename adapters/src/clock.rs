//! The time that events are stamped with: boot time plus an offset that the agent believes in.
//!
//! Nobody reads the system's clock for a stamp: it may be set at any moment, to whatever. The agent compares it with its
//! belief every second, hears what witnesses say, and says here what is believed (`src/process/clock/judge.rs`).

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::Stamp;

/// How far a time is to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// It is known to be wrong.
    Wrong,
    /// Nothing speaks against it, and no witness vouches for it.
    #[default]
    Unverified,
    /// A witness vouches for it.
    Vouched,
}

/// What is believed: the time is boot time plus `offset_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Belief {
    pub offset_us: i64,
    pub trust: Trust,
}

impl Belief {
    /// Microseconds since 1970 when the boot clock shows `boot_us`.
    #[must_use]
    pub fn at(&self, boot_us: u64) -> i64 {
        let boot_us = i64::try_from(boot_us).unwrap_or(i64::MAX);
        self.offset_us.saturating_add(boot_us)
    }

    fn stamp(&self, boot: u32, boot_us: u64) -> Stamp {
        let verified = self.trust == Trust::Vouched;
        Stamp {
            unix_us: self.at(boot_us),
            unsynced_boot_us: (!verified).then_some(boot_us),
            boot: NonZeroU32::new(boot).filter(|_| !verified),
            is_wrong: (!verified).then_some(self.trust == Trust::Wrong),
        }
    }
}

/// The time, for whoever stamps events and for whoever sends them. Copies share what is believed.
#[derive(Debug, Clone)]
pub struct Clock {
    boot: u32,
    shared: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    belief: Belief,
    /// Offsets of boots that a witness vouched for. The agent bounds them.
    boots: Vec<(u32, i64)>,
}

impl Clock {
    /// Of the boot with this number, which is not 0; the system's clock is believed until the agent knows more.
    #[must_use]
    pub fn new(boot: u32) -> Clock {
        let belief = Belief {
            offset_us: read().offset_us(),
            trust: Trust::Unverified,
        };
        let boots = Vec::new();
        Clock {
            boot,
            shared: Arc::new(Mutex::new(Known { belief, boots })),
        }
    }

    /// This is believed from now on; `boots` are offsets of boots that a witness vouched for.
    pub fn believe(&self, belief: Belief, boots: impl Iterator<Item = (u32, i64)>) {
        let mut known = self.known();
        known.belief = belief;
        known.boots.clear();
        known.boots.extend(boots);
    }

    #[must_use]
    pub fn belief(&self) -> Belief {
        self.known().belief
    }

    /// The time now, in microseconds since 1970, unless it is known to be wrong.
    #[must_use]
    pub fn now_us(&self) -> Option<i64> {
        let belief = self.belief();
        (belief.trust != Trust::Wrong).then(|| belief.at(boot_us()))
    }

    /// A stamp of now. Costs one reading of the boot clock.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.belief().stamp(self.boot, boot_us())
    }

    /// How long ago it was stamped, unless that cannot be said for sure: of this boot by the boot clock, else where a witness vouches
    /// for both times.
    #[must_use]
    pub fn age(&self, stamp: Stamp) -> Option<Duration> {
        let now_us = boot_us();
        let is_ours = stamp.boot.map(NonZeroU32::get) == Some(self.boot);
        let us = match stamp.unsynced_boot_us {
            Some(stamped_us) if is_ours => now_us.checked_sub(stamped_us)?,
            _ => {
                let (then, belief) = (self.settled(stamp), self.belief());
                let vouched = [then.1, belief.trust] == [Trust::Vouched; 2];
                let us = belief.at(now_us).checked_sub(then.0).filter(|_| vouched)?;
                u64::try_from(us).ok()?
            }
        };
        Some(Duration::from_micros(us))
    }

    /// When an event was seen, as far as that is known by now, in microseconds since 1970.
    #[must_use]
    pub fn settled(&self, stamp: Stamp) -> (i64, Trust) {
        if stamp.unsynced_boot_us.is_none() {
            return (stamp.unix_us, Trust::Vouched); // as most are, and without the lock
        }
        let known = self.known();
        settled(stamp, self.boot, known.belief, &known.boots)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stamp of another boot is never corrected by this boot's clock, only by what a witness said in its own boot.
fn settled(stamp: Stamp, boot: u32, belief: Belief, boots: &[(u32, i64)]) -> (i64, Trust) {
    let Some(boot_us) = stamp.unsynced_boot_us else {
        return (stamp.unix_us, Trust::Vouched);
    };
    let of = stamp.boot.map(NonZeroU32::get);
    let is_ours = of == Some(boot);
    if is_ours && belief.trust == Trust::Vouched {
        return (belief.at(boot_us), Trust::Vouched);
    }
    let mut others = boots.iter().filter(|_| !is_ours);
    if let Some((_, offset_us)) = others.find(|(known, _)| of == Some(*known)) {
        let then = Belief {
            offset_us: *offset_us,
            trust: Trust::Vouched,
        };
        return (then.at(boot_us), Trust::Vouched);
    }
    match stamp.is_wrong {
        Some(false) => (stamp.unix_us, Trust::Unverified),
        // What is believed now is better than what was known to be wrong.
        Some(true) if is_ours && belief.trust == Trust::Unverified => {
            (belief.at(boot_us), Trust::Unverified)
        }
        // Earlier versions stamped so only when the clock was wrong.
        Some(true) | None => (stamp.unix_us, Trust::Wrong),
    }
}

/// The system's clock and the boot clock, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub boot_us: u64,
    pub wall_us: i64,
}

impl Reading {
    /// What the system's clock adds to the boot clock.
    #[must_use]
    pub fn offset_us(&self) -> i64 {
        let boot_us = i64::try_from(self.boot_us).unwrap_or(i64::MAX);
        self.wall_us.saturating_sub(boot_us)
    }
}

/// Readings that took longer than this are made again: the process was interrupted in between.
const ONE_MOMENT_US: u64 = 5_000;

/// Reads both clocks.
#[must_use]
pub fn read() -> Reading {
    let mut reading = read_once();
    for _ in 0..3 {
        if boot_us().saturating_sub(reading.boot_us) <= ONE_MOMENT_US {
            break;
        }
        reading = read_once();
    }
    reading
}

fn read_once() -> Reading {
    let boot_us = boot_us();
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    Reading {
        boot_us,
        wall_us: i64::try_from(micros).unwrap_or(i64::MAX),
    }
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

    const OURS: u32 = 7;
    const HOUR: i64 = 3_600_000_000;

    fn belief(offset_us: i64, trust: Trust) -> Belief {
        Belief { offset_us, trust }
    }

    #[test]
    fn an_age_is_only_said_where_it_is_known() {
        let clock = Clock::new(OURS);
        let hour = Duration::from_hours(1);
        let now = boot_us();
        let ago = |trust, boot| {
            let stamp = belief(0, trust).stamp(boot, now);
            Stamp {
                unix_us: stamp.unix_us - HOUR,
                unsynced_boot_us: stamp.unsynced_boot_us,
                ..stamp
            }
        };
        for (stamp, believed, known) in [
            // Of this boot by the boot clock, whatever the time was believed to be.
            (ago(Trust::Wrong, OURS), Trust::Wrong, Some(Duration::ZERO)),
            (
                ago(Trust::Unverified, OURS),
                Trust::Vouched,
                Some(Duration::ZERO),
            ),
            (ago(Trust::Vouched, OURS), Trust::Vouched, Some(hour)),
            (ago(Trust::Vouched, OURS), Trust::Unverified, None),
            (ago(Trust::Unverified, OURS + 1), Trust::Vouched, None),
        ] {
            clock.believe(belief(0, believed), std::iter::empty());
            let age = clock.age(stamp);
            let near = |known: Duration| known..known + Duration::from_mins(1);
            let is_right = match known {
                Some(known) => age.is_some_and(|age| near(known).contains(&age)),
                None => age.is_none(),
            };
            assert!(is_right, "{stamp:?} {believed:?}: {age:?}");
        }
        clock.believe(belief(-2 * HOUR, Trust::Vouched), std::iter::empty());
        let age = clock.age(ago(Trust::Vouched, OURS));
        assert_eq!(age, None, "it is of the future");
    }

    #[test]
    fn a_stamp_is_settled_by_what_is_known_of_its_own_boot() {
        use Trust::{Unverified as Maybe, Vouched, Wrong};
        let right = 1_764_000_000_000_000;
        let then = right + 500;
        let here = |trust| belief(10, trust).stamp(OURS, 500);
        let there = |trust| belief(10, trust).stamp(OURS + 1, 500);
        let old = |unsynced_boot_us| Stamp {
            unix_us: 510,
            unsynced_boot_us,
            ..Stamp::default()
        };
        let none: &[(u32, i64)] = &[];
        for (stamp, now, boots, settles) in [
            // What was vouched for stays, whatever is believed now.
            (here(Vouched), (0, Wrong), none, (510, Vouched)),
            (here(Vouched), (right, Vouched), none, (510, Vouched)),
            // What was not is corrected once a witness has spoken in the same boot.
            (here(Maybe), (right, Vouched), none, (then, Vouched)),
            (here(Wrong), (right, Vouched), none, (then, Vouched)),
            // A clock that was set, without a witness: better than 1970, worse than known.
            (here(Wrong), (right, Maybe), none, (then, Maybe)),
            (here(Maybe), (right, Maybe), none, (510, Maybe)),
            (here(Wrong), (right, Wrong), none, (510, Wrong)),
            // Another boot's uptime says nothing of this one.
            (there(Wrong), (right, Vouched), none, (510, Wrong)),
            (there(Maybe), (right, Vouched), none, (510, Maybe)),
            // But what a witness said in that boot does.
            (
                there(Wrong),
                (HOUR, Wrong),
                &[(OURS + 1, right)],
                (then, Vouched),
            ),
            // Stamps of earlier versions name no boot.
            (old(Some(500)), (right, Vouched), none, (510, Wrong)),
            (old(None), (right, Vouched), none, (510, Vouched)),
        ] {
            let now = belief(now.0, now.1);
            let settled = settled(stamp, OURS, now, boots);
            assert_eq!(settled, settles, "{stamp:?} {now:?} {boots:?}");
        }
    }

    #[test]
    fn copies_of_a_clock_share_what_is_believed() {
        let clock = Clock::new(OURS);
        let copy = clock.clone();
        let before = read();
        let stamp = copy.stamp();
        assert!((stamp.unix_us - before.wall_us).abs() < 5_000_000);
        assert_eq!(copy.settled(stamp), (stamp.unix_us, Trust::Unverified));
        let right = belief(before.offset_us() + HOUR, Trust::Vouched);
        clock.believe(right, std::iter::empty());
        assert_eq!(copy.settled(stamp).1, Trust::Vouched);
        assert!((copy.settled(stamp).0 - stamp.unix_us - HOUR).abs() < 1_000_000);
        clock.believe(belief(0, Trust::Wrong), std::iter::empty());
        assert_eq!(copy.now_us(), None);
    }
}
