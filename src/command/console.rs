//! What every subcommand does on a terminal: say, complain, load a configuration, ask the running agent.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use adapters::{Escaped, is_dangerous};

use crate::config::{self, Loaded, Problem, Weight};
use crate::process::chain;
use crate::status::{self, Retry, Snapshot};

/// Characters of an error that are shown.
const ERROR_MAX: usize = 4000;

/// Loads a configuration, or prints all that is wrong with it.
pub(super) fn load(path: &Path) -> Result<Loaded, ExitCode> {
    config::load(path).map_err(|problems| refuse(path, &problems))
}

/// Prints what is wrong, and how much of it has to be put right.
pub(super) fn refuse(path: &Path, problems: &[Problem]) -> ExitCode {
    let is_wrong = |problem: &&Problem| problem.weight != Weight::Warning;
    let errors = problems.iter().filter(is_wrong).count();
    let lines: String = problems
        .iter()
        .map(|problem| format!("{}: {problem}\n", path.display()))
        .collect();
    complain(&format!(
        "{lines}{}: {errors} to be put right\n",
        path.display()
    ));
    ExitCode::from(1)
}

/// Asks the running agent how it is.
pub(super) fn ask(state: &Path) -> Result<Snapshot, Box<dyn std::error::Error>> {
    Ok(runtime()?.block_on(status::ask(state))?)
}

/// Has the running agent try its configuration again.
pub(super) fn order_retry(state: &Path, retry: Retry) -> Result<(), Box<dyn std::error::Error>> {
    Ok(runtime()?.block_on(status::retry(state, retry))?)
}

/// For one task at a time.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Prints a text of whole lines; whatever is in it, it only prints.
pub(super) fn say(text: &str) -> ExitCode {
    // A reader that has gone (a closed pipe) wants no more.
    if std::io::stdout().write_all(plain(text).as_bytes()).is_err() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn complain(text: &str) {
    if std::io::stderr().write_all(plain(text).as_bytes()).is_err() {}
}

/// The text with all control characters written out but the ends of its lines.
fn plain(text: &str) -> Cow<'_, str> {
    let is_plain = |one: char| matches!(one, '\n' | '\t') || !is_dangerous(one);
    if text.chars().all(is_plain) {
        return text.into();
    }
    let mut written = String::with_capacity(text.len());
    for one in text.chars() {
        if is_plain(one) {
            written.push(one);
        } else {
            written.extend(one.escape_default());
        }
    }
    written.into()
}

/// Prints an error and its causes once, on one line.
pub(super) fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = String::from("tidegate: ");
    // Writing to a String cannot fail.
    let mut escaped = Escaped::new(&mut text, ERROR_MAX);
    escaped.write_str(&chain(error)).ok();
    complain(&(text + "\n"));
    ExitCode::from(1)
}
