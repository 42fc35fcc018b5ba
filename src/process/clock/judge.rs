//! Which time to believe. Pure: the clocks' readings and the witnesses' words come in as arguments.
//!
//! The time is boot time plus an offset. Boot time runs on through suspend and is never set, and NTP slews it as it slews the
//! system's clock; so the offset changes only when somebody sets the clock. Then the question is who, and the rules are:
//!
//! - A witness's word holds at once, also against the memory of earlier ones.
//! - Without one, a clock that was vouched for in this boot is believed for an hour against the system's clock, one that
//!   nobody vouched for until the new time has stood for five minutes: a second of wrong time changes nothing.
//! - A clock is wrong that shows a time before the program was built, before the latest trusted time, or over a year after any that was
//!   seen here, or whose time the cluster refuses. It is left as soon as the system's clock shows a time that may be right.

use std::time::Duration;

use adapters::{Belief, Reading, Trust};

use super::memory::{Boot, Memory};

/// Offsets that differ by less are the same: two clocks are not read at one moment.
const SAME_US: u64 = 100_000;
/// A time that nobody vouches for is believed when it has stood for so long.
const STANDS: u64 = micros(Duration::from_mins(5));
/// The same against a time that was vouched for: longer than the longest pause between two words of timesyncd and of chrony, 34 min.
const STANDS_AGAINST_A_WITNESS: u64 = micros(Duration::from_hours(1));
/// A word is worth something for so long: crystals err by a second in a day, once NTP has steered them.
const VOUCHES: u64 = micros(Duration::from_hours(24));
/// A fresh word is about a time that is no further away: witnesses are asked more often.
const FRESH: u64 = micros(Duration::from_secs(30));
/// A time is remembered as trusted when it was vouched for over so long: a witness may be wrong for a moment.
const TRUSTED_AFTER: u64 = micros(Duration::from_mins(10));
/// A gateway is not without power for longer, as far as a clock that nobody vouches for is to be believed.
const AWAY: i64 = 400 * DAY;
/// The same where no time is remembered: between the build and the first start.
const UNPACKED: i64 = 5 * 365 * DAY;
const DAY: i64 = 24 * 3_600_000_000;
/// The remembered time is not known better.
const SLACK: i64 = 2_000_000;
/// How often what is remembered is written.
const NOTE_EVERY: u64 = micros(Duration::from_hours(1));
/// A broker's clock vouches for ours if they differ by no more, and the answer took no longer.
const CLUSTER_SLACK: u64 = 1_000_000;
/// A time that the cluster took lately stands against one that it refused.
const TAKEN_FOR: u64 = micros(Duration::from_mins(10));

const fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000
}

/// Who vouches for the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Timesyncd,
    Chrony,
    Ntp,
    Cluster,
    /// One of them, before the agent's last start in this boot.
    Memory,
}

impl By {
    pub(crate) fn name(self) -> &'static str {
        match self {
            By::Timesyncd => "systemd-timesyncd",
            By::Chrony => "chrony",
            By::Ntp => "ntp",
            By::Cluster => "cluster",
            By::Memory => "an earlier start",
        }
    }
}

/// What a witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It last found or set the system's clock right when that showed `wall_us`; `fresh` if it did so since it was last asked,
    /// not if this is the first time.
    Synced { by: By, wall_us: i64, fresh: bool },
    /// A broker's clock showed `wall_us` at most `age_us` ago.
    Broker { wall_us: i64, age_us: u64 },
    /// The cluster refused an event with our time, as too far ahead of its own.
    Refused,
    /// The cluster took an event with our time.
    Took,
}

/// What is believed, for people.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Verdict {
    pub(crate) trust: Trust,
    pub(crate) by: Option<By>,
    offset_us: i64,
    /// Seconds by which the system's clock is ahead of what is believed.
    pub(crate) wall_off_s: f64,
}

impl Verdict {
    /// Nothing is to be told of the difference.
    pub(super) fn is_like(self, other: Verdict) -> bool {
        self.trust == other.trust
            && (self.by.is_none() == other.by.is_none())
            && self.holds_against_wall() == other.holds_against_wall()
            && self.offset_us.abs_diff(other.offset_us) <= SAME_US
    }

    pub(super) fn holds_against_wall(self) -> bool {
        self.wall_off_s.abs() > 0.1
    }

    pub(super) fn changed_by_s(self, before: Verdict) -> f64 {
        seconds(self.offset_us.saturating_sub(before.offset_us))
    }
}

/// The system's clock shows another time than is believed.
#[derive(Debug, Clone, Copy)]
struct Off {
    offset_us: i64,
    since: u64,
}

#[derive(Debug)]
pub(super) struct Judge {
    built_us: i64,
    boot: u32,
    memory: Memory,
    belief: Belief,
    by: Option<By>,
    /// The boot clock when the last word for the belief came, and when the first did.
    heard: u64,
    since: u64,
    wall_us: i64,
    now: u64,
    off: Option<Off>,
    /// The cluster refuses our time.
    refuted: bool,
    taken: Option<u64>,
    /// What a broker said last, as an offset.
    broker: Option<i64>,
    noted: u64,
    to_note: bool,
}

impl Judge {
    pub(super) fn new(memory: Memory, built_us: i64, boot: u32, at: Reading) -> Judge {
        let mut judge = Judge {
            built_us,
            boot,
            memory,
            belief: Belief::default(),
            by: None,
            heard: 0,
            since: 0,
            wall_us: at.wall_us,
            now: at.boot_us,
            off: None,
            refuted: false,
            taken: None,
            broker: None,
            noted: at.boot_us,
            to_note: false,
        };
        match judge.memory.of(boot).filter(|one| one.at_us <= at.boot_us) {
            Some(known) if at.boot_us - known.at_us < VOUCHES => {
                let (offset_us, trust) = (known.offset_us, Trust::Vouched);
                judge.belief = Belief { offset_us, trust };
                (judge.by, judge.heard, judge.since) = (Some(By::Memory), known.at_us, known.at_us);
            }
            Some(_) => judge.follow(at),
            // Another boot under the same id, as in a container that was moved.
            None => {
                judge.memory.forget(boot);
                judge.follow(at);
            }
        }
        judge.look(at);
        judge
    }

    pub(super) fn belief(&self) -> Belief {
        self.belief
    }

    /// Offsets of boots that a witness vouched for.
    pub(super) fn boots(&self) -> impl Iterator<Item = (u32, i64)> {
        let boots = self.memory.boots.iter();
        boots.map(|one| (one.number, one.offset_us))
    }

    pub(super) fn verdict(&self) -> Verdict {
        let off = self
            .off
            .map_or(0, |off| off.offset_us - self.belief.offset_us);
        Verdict {
            trust: self.belief.trust,
            by: self.by,
            offset_us: self.belief.offset_us,
            wall_off_s: seconds(off),
        }
    }

    /// Compares the system's clock with what is believed.
    pub(super) fn look(&mut self, at: Reading) {
        (self.now, self.wall_us) = (at.boot_us, at.wall_us);
        let offset_us = at.offset_us();
        if is_same(offset_us, self.belief.offset_us) {
            self.off = None;
            self.belief.offset_us = offset_us;
            if self.belief.trust == Trust::Wrong && !self.refuted && self.may_be(at) {
                self.follow(at);
            }
        } else {
            let stands = self.off.filter(|off| is_same(off.offset_us, offset_us));
            let since = stands.map_or(self.now, |off| off.since);
            self.off = Some(Off { offset_us, since });
            if self.gives_way(at, since) {
                self.follow(at);
            }
        }
        if self.belief.trust == Trust::Vouched && self.now.saturating_sub(self.heard) > VOUCHES {
            self.belief.trust = Trust::Unverified;
            self.by = None;
        }
        self.remember();
    }

    /// Whether the system's clock, which has shown another time since then, is believed instead.
    fn gives_way(&self, at: Reading, since: u64) -> bool {
        let stood = self.now.saturating_sub(since);
        match self.belief.trust {
            // Of two that are wrong, the system's is the one that others see.
            Trust::Wrong => true,
            Trust::Unverified => self.may_be(at) && stood >= STANDS,
            Trust::Vouched => {
                let unheard = self.now.saturating_sub(self.heard.max(since));
                self.may_be(at) && unheard >= STANDS_AGAINST_A_WITNESS
            }
        }
    }

    /// Believes the system's clock, for which nobody vouches.
    fn follow(&mut self, at: Reading) {
        let trust = if self.may_be(at) {
            Trust::Unverified
        } else {
            Trust::Wrong
        };
        self.belief = Belief {
            offset_us: at.offset_us(),
            trust,
        };
        (self.by, self.off, self.refuted) = (None, None, false);
    }

    /// Whether nothing that is remembered speaks against it.
    fn may_be(&self, at: Reading) -> bool {
        let Memory {
            trusted_us,
            trusted_boot,
            seen_us,
            ..
        } = self.memory;
        // This boot began after a time that an earlier one has seen: a clock that stands where the last shutdown left it.
        let begun_after = trusted_boot == self.boot || at.offset_us() >= trusted_us - SLACK;
        let latest = if seen_us.max(trusted_us) > 0 {
            seen_us.max(trusted_us) + AWAY
        } else {
            self.built_us.saturating_add(UNPACKED)
        };
        let earliest = self.built_us.max(trusted_us - SLACK);
        begun_after
            && (earliest..=latest.max(self.built_us.saturating_add(AWAY))).contains(&at.wall_us)
    }

    pub(super) fn hear(&mut self, word: Word, at: Reading) {
        match word {
            Word::Synced { by, wall_us, fresh } if fresh => {
                // If somebody set the clock since, the word is not for what it shows now.
                if at.wall_us.abs_diff(wall_us) <= FRESH {
                    self.vouch(by, at.offset_us(), self.now);
                }
            }
            Word::Synced { by, wall_us, .. } => self.hear_of_earlier(by, wall_us, at),
            Word::Broker { wall_us, age_us } => self.hear_broker(wall_us, age_us, at),
            Word::Refused => {
                let lately = |taken| self.now.saturating_sub(taken) < TAKEN_FOR;
                if self.belief.trust == Trust::Unverified && !self.taken.is_some_and(lately) {
                    (self.belief.trust, self.refuted) = (Trust::Wrong, true);
                }
            }
            Word::Took => {
                self.taken = Some(self.now);
                if std::mem::take(&mut self.refuted) {
                    self.follow(at);
                }
            }
        }
        self.remember();
    }

    /// Before the agent looked, the clock may have been set by somebody else.
    fn hear_of_earlier(&mut self, by: By, wall_us: i64, at: Reading) {
        let is_known = self.memory.of(self.boot).is_some();
        let ago = at.wall_us.saturating_sub(wall_us);
        let ago = u64::try_from(ago.saturating_add(SLACK)).ok();
        let Some(ago) = ago.filter(|ago| *ago < VOUCHES) else {
            return;
        };
        if !is_known && self.belief.trust != Trust::Vouched && self.may_be(at) {
            self.vouch(by, at.offset_us(), self.now.saturating_sub(ago));
        }
    }

    /// A broker's clock is believed where no witness on this machine speaks: twice in a row, if it is not ours.
    fn hear_broker(&mut self, wall_us: i64, age_us: u64, at: Reading) {
        let vouched = self.belief.trust == Trust::Vouched;
        if age_us > CLUSTER_SLACK || (vouched && self.by != Some(By::Cluster)) {
            return;
        }
        let here = Reading { wall_us, ..at };
        let theirs = here.offset_us();
        let agrees = |ours: i64| ours.abs_diff(theirs) <= CLUSTER_SLACK + age_us;
        let before = self.broker.replace(theirs);
        if agrees(at.offset_us()) {
            self.vouch(By::Cluster, at.offset_us(), self.now);
        } else if agrees(self.belief.offset_us) {
            self.vouch(By::Cluster, self.belief.offset_us, self.now);
        } else if before.is_some_and(agrees) {
            self.vouch(By::Cluster, theirs, self.now);
        }
    }

    fn vouch(&mut self, by: By, offset_us: i64, heard: u64) {
        if offset_us.saturating_add_unsigned(self.now) < self.built_us {
            return; // who says a time before the program was built has no clock
        }
        let goes_on =
            self.belief.trust == Trust::Vouched && is_same(offset_us, self.belief.offset_us);
        if !goes_on {
            (self.since, self.to_note) = (self.now, true);
        }
        let trust = Trust::Vouched;
        self.belief = Belief { offset_us, trust };
        (self.by, self.heard, self.refuted) = (Some(by), heard, false);
        let system = Reading {
            boot_us: self.now,
            wall_us: self.wall_us,
        };
        let since = self.off.map_or(self.now, |off| off.since);
        self.off = (!is_same(system.offset_us(), offset_us)).then_some(Off {
            offset_us: system.offset_us(),
            since,
        });
        // What was trusted and lies ahead of this was not right.
        let now_us = self.belief.at(self.now);
        if self.memory.trusted_us > now_us + SLACK {
            self.memory.trusted_us = 0;
        }
        self.memory.seen_us = now_us;
        self.memory.vouched(Boot {
            number: self.boot,
            at_us: heard,
            offset_us,
        });
    }

    fn remember(&mut self) {
        let now_us = self.belief.at(self.now);
        if self.belief.trust != Trust::Wrong {
            self.memory.seen_us = self.memory.seen_us.max(now_us);
        }
        let long = self.now.saturating_sub(self.since) >= TRUSTED_AFTER;
        if self.belief.trust == Trust::Vouched && long && now_us > self.memory.trusted_us {
            (self.memory.trusted_us, self.memory.trusted_boot) = (now_us, self.boot);
        }
    }

    /// What is to be on disk, if it is time to write that.
    pub(super) fn note(&mut self, at_end: bool) -> Option<&Memory> {
        let due = self.to_note || self.now.saturating_sub(self.noted) >= NOTE_EVERY;
        if !due && !at_end {
            return None;
        }
        (self.noted, self.to_note) = (self.now, false);
        Some(&self.memory)
    }
}

fn is_same(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= SAME_US
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests;
