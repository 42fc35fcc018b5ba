//! What goes by the calendar: the link's budgets and windows.

use std::io;
use std::time::Instant;

use serde_json::json;

use super::Agent;
use crate::state::Job;

impl Agent {
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
