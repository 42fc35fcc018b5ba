//! Which lanes drop events, as far as a configuration is judged by it. Pure: time comes in as an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One that goes on dropping for so long does not do so by chance; and a lane that is kept in another way has so long to show that it does
/// not.
const LASTS: Duration = Duration::from_secs(10);
/// A lane that dropped nothing for so long before a trial, and does in it, does so because of it.
const QUIET: Duration = Duration::from_mins(1);

/// That, where a configuration has `within` to prove itself.
pub(super) fn lasts(within: Duration) -> Duration {
    LASTS.min(within / 2)
}

/// What a lane has dropped since ever, for one reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropped<'a> {
    pub lane: &'a str,
    pub reason: &'static str,
    pub count: u64,
}

/// A lane drops, and did not before the trial.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dropping {
    pub lane: String,
    pub reason: &'static str,
    /// For long enough to speak against the configuration.
    pub lasts: bool,
}

#[derive(Debug, Default)]
pub(super) struct Drops {
    parts: BTreeMap<(String, &'static str), Part>,
    /// When lanes were first looked at in this process.
    since: Option<Instant>,
    /// When what runs began, and, if it is on trial, how long what speaks against it has to last.
    begun: Option<Instant>,
    lasts: Option<Duration>,
}

#[derive(Debug, Default)]
struct Part {
    count: u64,
    /// When it last dropped something, also in an outage.
    any: Option<Instant>,
    /// The same with a link, and since when it has gone on since what runs began.
    last: Option<Instant>,
    first: Option<Instant>,
    /// It dropped before the trial as well, as far as is known.
    excused: bool,
}

impl Part {
    fn drops_at(&self, now: Instant) -> bool {
        let since = |last| now.saturating_duration_since(last);
        self.any.is_some_and(|last| since(last) < QUIET)
    }

    /// It has dropped something more.
    fn drops(&mut self, link_up: bool, least: Duration, now: Instant) {
        self.any = Some(now);
        if !link_up {
            return;
        }
        let pause = self.last.replace(now);
        let pause = pause.map(|last| now.saturating_duration_since(last));
        if pause.is_none_or(|pause| pause > least) {
            self.first = None;
        }
        self.first.get_or_insert(now);
    }

    /// It has gone on for so long.
    fn lasts(&self, least: Duration) -> bool {
        let on = self.first.zip(self.last);
        on.is_some_and(|(first, last)| last.saturating_duration_since(first) >= least)
    }
}

impl Drops {
    /// A trial begins, of a configuration that has `within` to prove itself; or what ran before runs again.
    pub(super) fn begins(&mut self, within: Option<Duration>, now: Instant) {
        (self.begun, self.lasts) = (Some(now), within.map(lasts));
        let is_young = self.is_young(now);
        for part in self.parts.values_mut() {
            part.excused = part.drops_at(now) || (is_young && part.count > 0);
            part.first = None;
        }
    }

    /// Too little is known of what was dropped before.
    fn is_young(&self, now: Instant) -> bool {
        let since = |first| now.saturating_duration_since(first);
        self.since.is_none_or(|first| since(first) < QUIET)
    }

    /// Takes down what was dropped, where that is anything; in an outage (not `link_up`) that says nothing of a configuration.
    pub(super) fn look(&mut self, all: &[Dropped<'_>], link_up: bool, now: Instant) {
        let (is_first, least) = (self.since.is_none(), self.lasts.unwrap_or(LASTS));
        self.since.get_or_insert(now);
        for one in all {
            let key = (one.lane.to_owned(), one.reason);
            let part = self.parts.entry(key).or_insert_with(|| Part {
                // What was dropped before this process says nothing of when.
                count: if is_first { one.count } else { 0 },
                excused: is_first,
                ..Part::default()
            });
            if one.count > part.count {
                part.drops(link_up, least, now);
            }
            part.count = one.count;
        }
        if !link_up && self.lasts.is_none() {
            // What runs has not had a chance to show what it does.
            self.begun = self.begun.map(|_| now);
        }
    }

    /// The lane that began to drop in this trial, and still does.
    pub(super) fn dropping(&self, now: Instant) -> Option<Dropping> {
        let (parts, least) = (self.parts.iter(), self.lasts?);
        let began = parts.filter_map(|((lane, reason), part)| {
            let last = part
                .last
                .filter(|_| part.first.is_some() && !part.excused)?;
            let is_over = now.saturating_duration_since(last) >= least;
            let lasts = part.lasts(least);
            (!is_over).then(|| Dropping {
                lane: lane.clone(),
                reason,
                lasts,
            })
        });
        began.max_by_key(|one| one.lasts)
    }

    /// Whether this lane drops as well with what ran before and runs again; nothing as long as that had not long enough to show it.
    pub(super) fn drops_again(&self, lane: &str, now: Instant) -> Option<bool> {
        let begun = self.begun?;
        let mut parts = self.parts.iter().filter(|((name, _), _)| name == lane);
        let drops = parts.any(|(_, part)| part.lasts(LASTS));
        let had_its_time = now.saturating_duration_since(begun) >= QUIET;
        (drops || had_its_time).then_some(drops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_mins(10);

    fn drops(count: u64) -> [Dropped<'static>; 1] {
        let (lane, reason) = ("state", "age");
        [Dropped {
            lane,
            reason,
            count,
        }]
    }

    /// Its name, the second at which a trial begins, what was dropped by which second and whether there was a link, and whether that
    /// speaks against the configuration.
    type Case = (&'static str, u64, &'static [(u64, u64, bool)], bool);

    const CASES: [Case; 8] = [
        (
            "begins with it",
            100,
            &[(1, 0, true), (101, 5, true), (105, 6, true), (111, 9, true)],
            true,
        ),
        (
            "now and then",
            100,
            &[(1, 0, true), (101, 5, true), (150, 6, true)],
            false,
        ),
        (
            "once",
            100,
            &[(1, 0, true), (101, 5, true), (111, 5, true)],
            false,
        ),
        (
            "before as well",
            100,
            &[(1, 0, true), (60, 3, true), (101, 5, true), (111, 9, true)],
            false,
        ),
        (
            "long before",
            100,
            &[(1, 0, true), (30, 3, true), (101, 5, true), (111, 9, true)],
            true,
        ),
        (
            "in the outage before",
            100,
            &[(1, 0, true), (60, 3, false), (101, 5, true), (111, 9, true)],
            false,
        ),
        (
            "in an outage",
            100,
            &[(1, 0, true), (101, 5, false), (111, 9, false)],
            false,
        ),
        (
            "an earlier process did",
            2,
            &[(1, 7, true), (3, 8, true), (13, 9, true)],
            false,
        ),
    ];

    #[test]
    fn a_lane_that_was_quiet_before_and_goes_on_dropping_in_the_trial_speaks_against_it() {
        for (name, begins, seen, against) in CASES {
            let start = Instant::now();
            let at = |s| start + Duration::from_secs(s);
            let (mut all, mut begun) = (Drops::default(), false);
            let mut last = start;
            for (second, count, connected) in seen.iter().copied() {
                if second >= begins && !std::mem::replace(&mut begun, true) {
                    all.begins(Some(WITHIN), at(begins));
                }
                last = at(second);
                all.look(&drops(count), connected, last);
            }
            let said = all.dropping(last);
            assert_eq!(said.is_some_and(|one| one.lasts), against, "{name}");
        }
    }

    #[test]
    fn what_drops_with_the_one_before_as_well_is_found_out() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut all = Drops::default();
        all.look(&[], true, start);
        all.begins(Some(WITHIN), start);
        for second in 1..=20 {
            all.look(&drops(second), true, at(second));
        }
        assert!(all.dropping(at(20)).is_some_and(|one| one.lasts));
        all.begins(None, at(20));
        assert_eq!(all.dropping(at(20)), None);
        assert_eq!(all.drops_again("state", at(21)), None);
        assert_eq!(all.drops_again("state", at(80)), Some(false));
        // What was under way with the other one says nothing.
        all.look(&drops(21), true, at(22));
        assert_eq!(all.drops_again("state", at(23)), None);
        assert_eq!(all.drops_again("state", at(80)), Some(false));
        for second in 23..=32 {
            all.look(&drops(second), true, at(second));
        }
        assert_eq!(all.drops_again("state", at(32)), Some(true));
    }
}
