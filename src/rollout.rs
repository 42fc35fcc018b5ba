//! What becomes of a configuration that was delivered: the file is a proposal, and what runs is what was proved, or is being proved.
//!
//! ```text
//! received → rejected | trying → proving → kept | returned | unproven
//! ```
//!
//! `record` is what is remembered and how it changes, `shelf` the files that keep it (`config/` in the state directory), `start` which
//! configuration a process begins with, `admission` which one is not even tried, `proof` what counts for and against the one that runs, `trial` puts these together while an
//! agent runs.

mod admission;

mod proof;

mod record;

mod shelf;

mod start;

mod trial;

mod watch;

pub(crate) use proof::Seen;
pub(crate) use record::{Record, State};
pub(crate) use start::start;
pub(crate) use trial::{Rollout, Step};
pub(crate) use watch::watch;
