//! A new configuration is tried by a fleet in waves: each gateway waits for a moment of its own within `fleet.spread`, so that what is
//! wrong with it shows at a few. Pure: time comes in as an argument.

use std::time::Duration;

use super::record::{Record, State};
use super::wave::{Moment, Wave, wait};
use crate::config::Version;

impl Record {
    /// Whether the time of this configuration has come, which wants to be tried within `spread`. What was tried already, and what there
    /// is nothing else to run instead of, is not waited with.
    ///
    /// # Errors
    /// How long it has to wait yet.
    pub(crate) fn may_begin(
        &mut self,
        version: &Version,
        spread: Duration,
        id: &str,
        now: &Moment,
    ) -> Result<(), Duration> {
        let runs = self.effective.sha256 == version.sha256;
        if spread.is_zero()
            || self.proved.is_none()
            || runs
            || self.is_proved(version)
            || self.is_being_tried(version)
            || self.was_tried(version)
        {
            self.wave = None;
            return Ok(());
        }
        let sha256 = &version.sha256;
        let mut wave = self.wave.take().filter(|wave| wave.sha256 == *sha256);
        let wave = wave.get_or_insert_with(|| Wave::new(sha256, now));
        wave.waits_s = wait(spread, id, sha256).as_secs();
        wave.passes(now);
        let left_s = wave.left_s(now);
        self.wave = Some(wave.clone());
        if left_s == 0 {
            return Ok(());
        }
        self.state = State::Received;
        self.attempted = version.clone();
        Err(Duration::from_secs(left_s))
    }

    /// What waits may be tried now; to be called every second or so.
    pub(super) fn is_time(&mut self, now: &Moment) -> bool {
        let Some(wave) = &mut self.wave else {
            return false;
        };
        wave.passes(now);
        wave.left_s(now) == 0
    }

    /// What was delivered last is not waited with any longer.
    pub(super) fn hurries(&mut self) {
        self.wave = Some(Wave {
            sha256: self.attempted.sha256.clone(),
            hurried: true,
            ..Wave::default()
        });
    }

    /// It ran here, and what was said against it may have been put right since.
    fn was_tried(&self, version: &Version) -> bool {
        let mut returned = self.returned.iter();
        returned.any(|(one, _)| one.sha256 == version.sha256)
    }
}

/// When a gateway that runs another configuration, which delivered, tries this one: so many seconds after it first sees it; never where
/// it is withdrawn before. By what an agent goes by, second by second.
pub(crate) fn tried_after(
    version: &Version,
    spread: Duration,
    id: &str,
    withdrawn: Option<Duration>,
) -> Option<u64> {
    let before = Version::default();
    let mut record = Record {
        proved: Some(before.clone()),
        effective: before.clone(),
        ..Record::default()
    };
    let mut now = Moment {
        boot: "1".into(),
        at_s: 0,
    };
    let withdrawn_s = withdrawn.map(|after| after.as_secs());
    let may_begin = |record: &mut Record, now: &Moment| {
        let begun = record.may_begin(version, spread, id, now);
        begun.is_ok().then_some(now.at_s)
    };
    if let Some(at_s) = may_begin(&mut record, &now) {
        return Some(at_s);
    }
    for at_s in 1..=spread.as_secs() {
        now.at_s = at_s;
        if withdrawn_s == Some(at_s) {
            record.is_back(&before);
        }
        if record.is_time(&now) {
            return may_begin(&mut record, &now);
        }
    }
    None
}

/// When a configuration is tried, in words: `left` from now, which is `wall_us` since 1970 by the system's clock.
pub(super) fn turn(left: Duration, wall_us: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(wall_us).unwrap_or_default();
    let at = at.checked_add(left).unwrap_or(at);
    let at = at.strftime("%Y-%m-%d %H:%M:%S");
    format!(
        "it waits for its time within `fleet.spread`, and is tried at {at} UTC by this gateway's clock; `tidegate config retry` tries it now"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Texts;

    fn of_text(text: &str) -> Version {
        Version::of_texts(&Texts::of(text))
    }

    const SPREAD: Duration = Duration::from_hours(6);

    fn at(boot: &str, at_s: u64) -> Moment {
        Moment {
            boot: boot.into(),
            at_s,
        }
    }

    fn kept() -> Record {
        let mut record = Record::default();
        let old = of_text("old");
        record.tries(&old);
        record.proves(&old, std::collections::BTreeSet::new(), "1");
        record.effective = old;
        record
    }

    /// A gateway whose wait for the text `new` is long enough.
    fn id() -> (String, u64) {
        let new = of_text("new");
        let all = (0..100).map(|number| format!("gw-{number}"));
        let mut all = all.map(|id| {
            let waits = wait(SPREAD, &id, &new.sha256).as_secs();
            (id, waits)
        });
        all.find(|(_, waits)| *waits > 10_000).unwrap()
    }

    #[test]
    fn it_is_tried_when_its_time_has_passed_also_over_restarts_and_other_boots() {
        let (mut record, new, (id, waits)) = (kept(), of_text("new"), id());
        let mut begin = |boot: &str, at_s| record.may_begin(&new, SPREAD, &id, &at(boot, at_s));
        assert_eq!(begin("1", 1000), Err(Duration::from_secs(waits)));
        // The same boot: what passed while the process was away counts.
        assert_eq!(begin("1", 5000), Err(Duration::from_secs(waits - 4000)));
        // Another boot: what passed in between is not known.
        assert_eq!(begin("2", 10), Err(Duration::from_secs(waits - 4000)));
        assert_eq!(begin("2", 110), Err(Duration::from_secs(waits - 4100)));
        assert_eq!(begin("2", 10 + waits - 4000), Ok(()));
        assert_eq!(record.state, State::Received, "and then it is tried");
        record.tries(&new);
        assert_eq!((record.state, &record.wave), (State::Proving, &None));
        let again = record.may_begin(&new, SPREAD, &id, &at("2", 11));
        assert_eq!(again, Ok(()), "it is being tried");
    }

    #[test]
    fn what_takes_its_place_has_a_wait_of_its_own_and_what_is_withdrawn_has_none() {
        let (mut record, new, (id, waits)) = (kept(), of_text("new"), id());
        let late = at("1", waits + 100);
        assert!(record.may_begin(&new, SPREAD, &id, &at("1", 0)).is_err());
        record.is_back(&of_text("old"));
        assert_eq!((record.state, record.is_time(&late)), (State::Kept, false));
        assert_eq!(
            record.may_begin(&new, SPREAD, &id, &late),
            Err(Duration::from_secs(waits)),
            "it was withdrawn, and is seen for the first time again"
        );
    }

    #[test]
    fn whoever_wants_it_tried_does_not_wait_and_neither_does_a_gateway_without_another() {
        let (mut record, new, (id, _)) = (kept(), of_text("new"), id());
        assert!(record.may_begin(&new, SPREAD, &id, &at("1", 0)).is_err());
        assert!(!record.is_time(&at("1", 1)));
        record.hurries();
        assert!(record.is_time(&at("1", 1)));
        assert_eq!(record.may_begin(&new, SPREAD, &id, &at("1", 1)), Ok(()));
        // The same where it was gone back from.
        let mut record = kept();
        record.returns(&new, "no");
        record.forgets();
        record.hurries();
        assert_eq!(record.may_begin(&new, SPREAD, &id, &at("1", 1)), Ok(()));
        record.returns(&new, "no");
        let mut mended = new.clone();
        mended.secrets = "another password".into();
        let again = record.may_begin(&mended, SPREAD, &id, &at("1", 1));
        assert_eq!(again, Ok(()), "it was tried here before");
        let mut empty = Record::default();
        assert_eq!(empty.may_begin(&new, SPREAD, &id, &at("1", 0)), Ok(()));
        let none = Duration::ZERO;
        assert_eq!(kept().may_begin(&new, none, &id, &at("1", 0)), Ok(()));
    }

    #[test]
    fn what_has_passed_is_noted_now_and_then_and_not_each_second() {
        let (mut record, new, (id, _)) = (kept(), of_text("new"), id());
        assert!(record.may_begin(&new, SPREAD, &id, &at("1", 0)).is_err());
        let mut noted = 0;
        for second in 0..3600 {
            let before = record.clone();
            assert!(!record.is_time(&at("1", second)));
            noted += u32::from(before != record);
        }
        assert_eq!(noted, 11);
    }
}
