//! What the parts of the running agent say for and against its configuration.

use std::time::{Duration, Instant};

use super::super::backlog::{Backlog, Waiting, homeless};
use super::super::proof::{FAIR, Seen, Verdict, patience};
use super::{Rollout, Step};
use crate::config::Loaded;

impl Rollout {
    /// Looks how the agent's parts are; to be called every second or so.
    pub(crate) fn look(&mut self, seen: &Seen<'_>, now: Instant) -> Option<Step> {
        self.look_at_sources(seen, now);
        for lane in &seen.used {
            if !self.used.contains(*lane) {
                self.used.insert((*lane).to_owned());
            }
        }
        self.drops.look(&seen.drops, seen.link_up, now);
        let doubts = self.doubts(seen) || self.doubts_drops(now);
        let dropping = self.drops.dropping(now);
        let proof = self.proof.as_mut();
        let verdict = proof.map(|proof| proof.look(seen, dropping.as_ref(), now));
        let step = match verdict {
            None if doubts => Some(Step::TryAgain),
            None | Some(Verdict::Open) => None,
            Some(Verdict::AskOld) => Some(Step::AskOld),
            Some(Verdict::Proved) => {
                self.proof = None;
                self.forget_doubt_of_none();
                self.record
                    .proves(&self.version, self.well.names(), &self.boot);
                self.keep();
                None
            }
            Some(Verdict::Lost(name)) => {
                self.returns(&format!(
                    "source `{name}` was well before, and is not with it"
                ));
                self.record.doubt = Some(name);
                self.well.begins(now);
                Some(Step::Return)
            }
            Some(Verdict::Refused(why)) => {
                self.returns(&why);
                Some(Step::Return)
            }
            Some(Verdict::Drops(lane, reason)) => {
                self.returns(&format!(
                    "lane `{lane}` drops events with it (reason: {reason}), and dropped none before"
                ));
                self.record.doubt_lane = Some(lane);
                Some(Step::Return)
            }
            Some(Verdict::Unproven(why)) => {
                self.record.is_unproven(&self.version, why);
                None
            }
        };
        let step = step.or_else(|| self.has_come(seen, now).then_some(Step::TryAgain));
        self.note();
        step
    }

    fn look_at_sources(&mut self, seen: &Seen<'_>, now: Instant) {
        let loaded = self.loaded.as_deref();
        let patience = self.proof.is_none();
        let patience = patience.then_some(|name: &str| patience_of(loaded, name));
        self.well.look(&seen.sources, patience, now);
    }

    /// Whether the source that was a reason to go back is not well after that either, though it had its time.
    fn doubts(&mut self, seen: &Seen<'_>) -> bool {
        let Some(name) = &self.record.doubt else {
            return false;
        };
        if seen.sources.iter().any(|(one, well)| *well && one == name) {
            self.record.doubt = None;
            return false;
        }
        if self.well.contains(name) {
            return false;
        }
        tracing::warn!(source = %name, "the source is not well with the configuration before either: that was no reason to go back; the one in the file is tried again");
        self.forgives();
        true
    }

    /// Whether the lane that was a reason to go back drops with the one before as well.
    fn doubts_drops(&mut self, now: Instant) -> bool {
        let Some(lane) = self
            .record
            .doubt_lane
            .as_ref()
            .filter(|_| self.proof.is_none())
        else {
            return false;
        };
        match self.drops.drops_again(lane, now) {
            None => return false,
            Some(false) => {
                self.record.doubt_lane = None;
                return false;
            }
            Some(true) => {}
        }
        tracing::warn!(%lane, "the lane drops events with the configuration before as well: that was no reason to go back; the one in the file is tried again");
        self.forgives();
        true
    }

    fn forgives(&mut self) {
        self.record.forgives();
        self.record.hurries();
        self.instead = false;
    }

    /// Takes down what waits now, by which it is decided whether a configuration has a place for all.
    pub(crate) fn look_at_backlogs<'a>(
        &mut self,
        waiting: impl Iterator<Item = Waiting<'a>>,
        link_up: bool,
    ) {
        let backlogs = waiting.filter(|one| one.is_backlog(link_up));
        self.backlogs = backlogs.map(Backlog::of).collect();
    }

    /// Why this one is not tried yet.
    ///
    /// # Errors
    /// What waits has no place in it. What ran before goes on until that is delivered.
    pub(crate) fn has_place(&mut self, loaded: &Loaded, now: Instant) -> Result<(), String> {
        if self.record.is_forced(loaded.version()) {
            return Ok(());
        }
        let Some((homeless, why)) = homeless(&self.backlogs, loaded) else {
            return Ok(());
        };
        (self.held, self.instead) = (now, true);
        self.record.holds(loaded.version(), homeless, &why);
        Err(why)
    }

    /// Whether the time of what was delivered has come, which is after what waited has had its own.
    fn has_come(&mut self, seen: &Seen<'_>, now: Instant) -> bool {
        let Some(homeless) = &self.record.homeless else {
            return self.is_time();
        };
        let held_for = now.saturating_duration_since(self.held);
        let is_over = homeless.is_over(seen.waiting.iter().copied(), held_for);
        if is_over {
            self.record.homeless = None;
        }
        is_over
    }

    /// A source that a configuration is kept without is no reason any more.
    fn forget_doubt_of_none(&mut self) {
        let sources = self.loaded.iter().flat_map(|one| &one.settings.sources);
        let names: Vec<&str> = sources.map(adapters::SourceSettings::name).collect();
        let doubt = &mut self.record.doubt;
        doubt.take_if(|name| !names.contains(&name.as_str()));
    }
}

/// How long this source has to be well again.
fn patience_of(loaded: Option<&Loaded>, name: &str) -> Duration {
    let Some(loaded) = loaded else {
        return FAIR;
    };
    let mut sources = loaded.settings.sources.iter();
    let interval = sources.find(|one| one.name() == name);
    let interval = interval.map_or(Duration::ZERO, adapters::SourceSettings::interval);
    patience(loaded.file.fleet.prove_within.0, interval)
}
