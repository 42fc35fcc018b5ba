//! What becomes of a configuration that was delivered: the file is a proposal, and what runs is what was proved, or is being proved.
//!
//! ```text
//! received → rejected | trying → proving → kept | returned | unproven
//! ```
//!
//! `record` is what is remembered and how it changes, `shelf` the files that keep it (`config/` in the state directory), `start` which
//! configuration a process begins with, `admission` which one is not even tried, `backlog` which one has no place for what waits, `proof` what counts for and against the one that runs, `wellness` which sources
//! were well before it, `drops` which lanes drop events, `trial` puts these together while an agent runs. It comes by two `ways`, `watch` and `pull`;
//! `waiting` says when it is tried.

use std::path::Path;

use jiff::Timestamp;

use crate::config::Texts;

mod admission;

mod backlog;

mod drops;

mod history;

mod proof;

mod pull;

mod record;

mod shelf;

mod start;

mod trial;

mod waiting;

mod watch;

mod wave;

mod ways;

mod wellness;

pub(crate) use backlog::Waiting;
pub(crate) use drops::Dropped;
pub(crate) use history::{Entry, History};
pub(crate) use proof::Seen;
pub(crate) use pull::Pull;
pub(crate) use record::State;
pub(crate) use start::start;
pub(crate) use trial::{Rollout, Step};
pub(crate) use waiting::tried_after;
pub(crate) use watch::watch;

/// What an act is called that no agent has seen.
pub(crate) const REPAIR: &str = "buffer repair";

/// What became of the last configurations of the agent whose state is here.
pub(crate) fn history(state: &Path) -> History {
    shelf::Shelf::in_state(state).read().history
}

/// Notes that somebody has repaired the buffer beside it, for the agent that runs next to tell of.
///
/// # Errors
/// An agent runs, or the disk does not take it.
pub(crate) fn note_repair(state: &Path, by: &str, result: &str) -> std::io::Result<()> {
    let shelf = shelf::Shelf::in_state(state);
    shelf.claim()?;
    let mut record = shelf.read();
    let now = Timestamp::now().to_string();
    let act = Entry::of(REPAIR, &record.effective, Some(by), Some(result), now);
    record.acts(act);
    shelf.note(&record)
}

/// The texts of the one that delivered last, if there is one.
pub(crate) fn proved_texts(state: &Path) -> Option<Texts> {
    shelf::Shelf::in_state(state).proved_texts()
}
