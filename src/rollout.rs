//! What becomes of a configuration that was delivered: the file is a proposal, and what runs is what was proved, or is being proved.
//!
//! ```text
//! received → rejected | trying → proving → kept | returned | unproven
//! ```
//!
//! `record` is what is remembered and how it changes, `shelf` the files that keep it (`config/` in the state directory), `start` which
//! configuration a process begins with, `admission` which one is not even tried, `proof` what counts for and against the one that runs, `wellness` which sources
//! were well before it, `trial` puts these together while an agent runs. It comes by two `ways`, `watch` and `pull`;
//! `waiting` says when it is tried.

use std::path::Path;

use crate::config::Texts;

mod admission;

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

pub(crate) use history::{Entry, History};
pub(crate) use proof::Seen;
pub(crate) use pull::Pull;
pub(crate) use record::State;
pub(crate) use start::start;
pub(crate) use trial::{Rollout, Step};
pub(crate) use waiting::tried_after;
pub(crate) use watch::watch;

/// What became of the last configurations of the agent whose state is here.
pub(crate) fn history(state: &Path) -> History {
    shelf::Shelf::in_state(state).read().history
}

/// The texts of the one that delivered last, if there is one.
pub(crate) fn proved_texts(state: &Path) -> Option<Texts> {
    shelf::Shelf::in_state(state).proved_texts()
}
