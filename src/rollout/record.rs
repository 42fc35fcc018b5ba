//! What is remembered of the configurations that were delivered, and how it changes. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backlog::Homeless;
use super::history::{Entry, History};
use super::wave::Wave;
use super::ways::{By, Last};
use crate::config::Version;

/// Configurations that were gone back from and are remembered; the fleet does not send as many in a row.
const RETURNED_MAX: usize = 16;
/// Acts that are kept until an agent reports them; nobody does as many while none runs.
const UNTOLD_MAX: usize = 16;
/// Deaths of the process in one boot while a configuration proves itself, at which it is gone back from.
const DEATHS: u32 = 2;

/// What became of the configuration that was delivered last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It is not tried yet: it waits for its time.
    #[default]
    Received,
    /// It cannot be used: what ran before goes on.
    Rejected,
    /// It runs, and there is not enough that speaks for or against it yet.
    Proving,
    /// It delivered.
    Kept,
    /// It ran and did not deliver: the one before runs again.
    Returned,
    /// It runs, and in the time that it had nothing spoke for it, as in an outage.
    Unproven,
}

/// `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub state: State,
    /// Why it is so, in words.
    pub why: Option<String>,
    /// What was delivered last, and what runs.
    pub attempted: Version,
    pub effective: Version,
    /// What is in `proved.toml`, and in `before.toml`.
    pub proved: Option<Version>,
    pub before: Option<Version>,
    /// The highest `fleet.serial` that was ever in it.
    pub serial: Option<u64>,
    /// SHA-256 of the text that somebody here wants tried whatever vouches for it.
    pub forced: Option<String>,
    /// Sources that were well with that, in the boot `boot`.
    pub well: BTreeSet<String>,
    /// The boot in which something was last tried or proved; how often the process died of itself during that trial, and whether one
    /// runs.
    pub boot: String,
    pub deaths: u32,
    pub runs: bool,
    /// The source that was a reason to go back, until it is well again: if it is not, it was no reason.
    pub doubt: Option<String>,
    /// The same of a lane that began to drop events, until it is known whether it does with the one before as well.
    pub doubt_lane: Option<String>,
    /// What was gone back from, with the reason; the newest last.
    pub returned: Vec<(Version, String)>,
    pub history: History,
    /// What somebody did by hand that was not reported yet.
    pub untold: Vec<Entry>,
    /// How what was delivered last came, and what each way brought last.
    pub by: By,
    pub last: Last,
    /// `[fleet]` of what runs, for texts that are pulled and do not say where from.
    pub fleet: Option<Value>,
    /// What waits for its time.
    pub wave: Option<Wave>,
    /// What has no place in what was delivered last, which is tried once that is delivered.
    pub homeless: Option<Homeless>,
}

impl Record {
    /// Why this configuration was gone back from, if it was: it is not tried again as long as it and all that it refers to are the same.
    pub(super) fn was_returned(&self, version: &Version) -> Option<&str> {
        let mut returned = self.returned.iter().rev();
        let found = returned.find(|(one, _)| one == version);
        found.map(|(_, why)| why.as_str())
    }

    pub(super) fn is_proved(&self, version: &Version) -> bool {
        self.proved.as_ref().is_some_and(|one| one.is_same(version))
    }

    /// It cannot be used.
    pub(super) fn rejects(&mut self, version: Version, why: String) {
        (self.state, self.why, self.attempted) = (State::Rejected, Some(why), version);
        (self.wave, self.homeless) = (None, None);
    }

    /// It is not tried yet: these have no place in it.
    pub(super) fn holds(&mut self, version: &Version, homeless: Homeless, why: &str) {
        (self.state, self.why) = (State::Received, Some(why.to_owned()));
        self.attempted = version.clone();
        self.homeless = Some(homeless);
    }

    /// Whether this is one that is not tried yet because of what waits.
    pub(super) fn is_held(&self, version: &Version) -> bool {
        self.homeless.is_some() && self.attempted == *version
    }

    /// A process begins in this boot, and is to run with what is not proved. Says why it must not, if processes before it died of it.
    pub(super) fn begins(&mut self, version: &Version, boot: &str) -> Result<(), String> {
        let again = self.is_being_tried(version) && self.boot == boot;
        if !again {
            self.deaths = 0;
        } else if self.runs {
            self.deaths += 1;
        }
        boot.clone_into(&mut self.boot);
        if self.deaths >= DEATHS && self.proved.is_some() {
            let deaths = self.deaths;
            return Err(format!(
                "the process died {deaths} times in this boot while it ran with it"
            ));
        }
        Ok(())
    }

    pub(super) fn is_being_tried(&self, version: &Version) -> bool {
        matches!(self.state, State::Proving | State::Unproven) && self.attempted == *version
    }

    /// It is tried from now on.
    pub(super) fn tries(&mut self, version: &Version) {
        if !self.is_being_tried(version) {
            (self.state, self.why) = (State::Proving, None);
            self.attempted = version.clone();
        }
        (self.wave, self.homeless, self.doubt_lane) = (None, None, None);
    }

    /// It delivers. What was delivered after it and cannot be used is still rejected.
    pub(super) fn proves(&mut self, version: &Version, well: BTreeSet<String>, boot: &str) {
        self.proved = Some(version.clone());
        self.serial = self.serial.max(version.serial);
        boot.clone_into(&mut self.boot);
        (self.well, self.deaths) = (well, 0);
        if self.attempted == *version {
            (self.state, self.why) = (State::Kept, None);
        }
    }

    pub(super) fn returns(&mut self, version: &Version, why: &str) {
        self.is_still_returned(version, why);
        (self.doubt, self.doubt_lane, self.deaths) = (None, None, 0);
        self.returned.retain(|(one, _)| one != version);
        self.returned.push((version.clone(), why.to_owned()));
        let surplus = self.returned.len().saturating_sub(RETURNED_MAX);
        self.returned.drain(..surplus);
    }

    /// It was delivered once more.
    pub(super) fn is_still_returned(&mut self, version: &Version, why: &str) {
        (self.state, self.why) = (State::Returned, Some(why.to_owned()));
        self.attempted = version.clone();
        (self.wave, self.homeless) = (None, None);
    }

    /// What runs is what was delivered once more.
    pub(super) fn is_back(&mut self, version: &Version) {
        self.state = if self.is_proved(version) {
            State::Kept
        } else {
            State::Proving
        };
        (self.why, self.wave, self.homeless) = (None, None, None);
        self.attempted = version.clone();
    }

    /// What it was last gone back from for was no fault of it.
    pub(super) fn forgives(&mut self) {
        (self.doubt, self.doubt_lane) = (None, None);
        self.returned.pop();
    }

    pub(super) fn is_forced(&self, version: &Version) -> bool {
        self.forced.as_ref() == Some(&version.sha256)
    }

    /// Nothing was gone back from.
    pub(super) fn forgets(&mut self) {
        (self.doubt, self.doubt_lane) = (None, None);
        self.returned.clear();
    }

    /// Somebody did something by hand.
    pub(super) fn acts(&mut self, act: Entry) {
        self.history.add(act.clone());
        self.untold.push(act);
        let surplus = self.untold.len().saturating_sub(UNTOLD_MAX);
        self.untold.drain(..surplus);
    }

    /// Somebody here wants this text tried whatever vouches for it.
    pub(super) fn forces(&mut self, sha256: &str) {
        self.forced = Some(sha256.to_owned());
    }

    /// What it would go back to cannot be had.
    pub(super) fn stays(&mut self) {
        (self.doubt, self.doubt_lane) = (None, None);
        self.returned.pop();
        self.state = State::Unproven;
    }

    pub(super) fn is_unproven(&mut self, version: &Version, why: String) {
        if self.attempted == *version {
            (self.state, self.why) = (State::Unproven, Some(why));
        }
    }
}

impl State {
    /// The word for it, as in `state.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Received => "received",
            State::Rejected => "rejected",
            State::Proving => "proving",
            State::Kept => "kept",
            State::Returned => "returned",
            State::Unproven => "unproven",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Texts;

    fn version(text: &str) -> Version {
        Version::of_texts(&Texts::of(text))
    }

    fn kept() -> Record {
        let mut record = Record::default();
        record.tries(&version("a"));
        record.proves(&version("a"), ["plant".to_owned()].into(), "1");
        record
    }

    #[test]
    fn two_deaths_in_one_boot_are_a_reason_to_go_back_and_power_cuts_are_none() {
        let mut record = kept();
        let new = version("b");
        let mut begin = |boot: &str| {
            let begun = record.begins(&new, boot);
            record.tries(&new);
            record.runs = true;
            begun
        };
        assert_eq!(begin("1"), Ok(()));
        for boot in ["2", "3", "4"] {
            assert_eq!(begin(boot), Ok(()), "the power was cut");
        }
        assert_eq!(begin("4"), Ok(()), "one death");
        assert!(begin("4").is_err(), "two");
    }

    #[test]
    fn what_an_earlier_version_noted_is_read_and_the_highest_serial_never_falls() {
        let old = r#"{ "state": "kept", "why": null, "attempted": { "sha256": "a", "beside": "", "secrets": "" },
            "proved": { "sha256": "a", "beside": "", "secrets": "" }, "well": ["plant"], "boot": "1", "deaths": 0, "runs": true,
            "doubt": null, "returned": [] }"#;
        let mut record: Record = serde_json::from_str(old).unwrap();
        assert_eq!((record.state, record.serial), (State::Kept, None));
        for (serial, highest) in [(Some(3), 3), (None, 3), (Some(2), 3), (Some(9), 9)] {
            let serial = Version {
                serial,
                ..version("b")
            };
            record.proves(&serial, BTreeSet::new(), "1");
            assert_eq!(record.serial, Some(highest));
        }
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn an_orderly_stop_is_no_death_and_without_anything_to_go_back_to_none_counts() {
        let mut record = kept();
        let new = version("b");
        for _ in 0..5 {
            assert_eq!(record.begins(&new, "1"), Ok(()));
            record.tries(&new);
            record.runs = true;
            record.runs = false;
        }
        let mut record = Record::default();
        for _ in 0..5 {
            assert_eq!(record.begins(&new, "1"), Ok(()));
            record.tries(&new);
            record.runs = true;
        }
    }

    #[test]
    fn what_cannot_be_used_is_said_also_when_what_runs_has_proved_itself_meanwhile() {
        let (mut record, new) = (kept(), version("b"));
        record.tries(&new);
        record.rejects(version("c"), "a mistake".into());
        record.is_unproven(&new, "an outage".into());
        record.proves(&new, BTreeSet::new(), "1");
        assert_eq!(record.state, State::Rejected);
        assert!(record.is_proved(&new));
        record.is_back(&new);
        assert_eq!((record.state, record.why), (State::Kept, None));
    }

    #[test]
    fn what_was_gone_back_from_is_remembered_until_something_of_it_changes_and_not_for_ever() {
        let mut record = kept();
        let mut bad = version("b");
        record.returns(&bad, "the new uplink does not connect");
        assert!(record.was_returned(&bad).is_some());
        assert_eq!(record.state, State::Returned);
        bad.secrets = "another password".into();
        assert_eq!(record.was_returned(&bad), None);
        for number in 0..100 {
            record.returns(&version(&number.to_string()), "no");
        }
        assert_eq!(record.returned.len(), RETURNED_MAX);
        assert!(record.is_proved(&version("a")), "it is there to go back to");
    }
}
