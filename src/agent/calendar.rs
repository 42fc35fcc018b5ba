//! The time, and what goes by the calendar: the link's budgets and windows.

use std::io;
use std::time::Instant;

use adapters::Trust;
use serde_json::json;

use super::Agent;
use crate::process::clock::By;
use crate::state::Job;
use crate::status::ClockStatus;

impl Agent {
    /// Compares the clocks and hears who vouches for them; a change is told.
    pub(super) fn follow_clock(&mut self, now: Instant) {
        let said = self.drain.hearsay.take(now);
        if let Some(verdict) = self.timekeeper.look(&said) {
            let by = verdict.by.map(By::name);
            let notice = json!({ "trust": trust(verdict.trust), "by": by, "system_clock_off_s": verdict.wall_off_s });
            self.notice("clock", &notice, now);
            self.drain.clock_is_set(&mut self.lanes);
        }
        if let Some(note) = self.timekeeper.note(false) {
            self.keeper.ask(Job::NoteClock(note));
        }
    }

    pub(super) fn noted_clock(&mut self, outcome: io::Result<()>) {
        self.timekeeper.noted();
        if let Err(error) = outcome {
            tracing::warn!(%error, "cannot note which times were trusted; after a restart a wrong clock is noticed less well, and fewer times can be corrected; free space or replace the disk");
        }
    }

    pub(super) fn clock_status(&self) -> ClockStatus {
        let verdict = self.timekeeper.verdict();
        ClockStatus {
            trust: trust(verdict.trust).into(),
            by: verdict.by.map(|by| by.name().to_owned()),
            system_clock_off_s: verdict.wall_off_s,
        }
    }

    pub(super) fn follow_calendar(&mut self, now: Instant) {
        for (per, until) in self.drain.follow_calendar(now) {
            let (per, until) = (per.name(), until.to_string());
            tracing::warn!(budget = per, %until, "a budget of the link is used up; intents that are not urgent wait in the buffer, urgent ones go on; raise [[link.budget]] if this is too early");
            let notice = json!({ "budget": per, "used_up": true, "until": until });
            self.notice("link", &notice, now);
        }
        if !self.noting
            && let Some(note) = self.drain.allowance.note(false)
        {
            self.noting = true;
            self.keeper.ask(Job::Note(note));
        }
    }

    pub(super) fn noted(&mut self, outcome: io::Result<()>) {
        self.noting = false;
        if let Err(error) = outcome {
            tracing::warn!(%error, "cannot note what is used of the link's budgets; a restart would not know it");
        }
    }
}

fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Wrong => "wrong",
        Trust::Unverified => "unverified",
        Trust::Vouched => "vouched for",
    }
}
