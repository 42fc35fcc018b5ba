//! What every subcommand does on a terminal: say, complain, load a configuration, ask the running agent.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Loaded};
use crate::process::chain;
use crate::status::{self, Snapshot};

/// Loads a configuration, or prints all that is wrong with it.
pub(super) fn load(path: &Path) -> Result<Loaded, ExitCode> {
    config::load(path).map_err(|problems| {
        let errors = problems.iter().filter(|problem| !problem.warning).count();
        let lines: String = problems
            .iter()
            .map(|problem| format!("{}: {problem}\n", path.display()))
            .collect();
        complain(&format!(
            "{lines}{}: {errors} to be put right\n",
            path.display()
        ));
        ExitCode::from(1)
    })
}

/// Asks the running agent how it is.
pub(super) fn ask(state: &Path) -> Result<Snapshot, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(status::ask(state))?)
}

pub(super) fn say(text: &str) -> ExitCode {
    // A reader that has gone (a closed pipe) wants no more.
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn complain(text: &str) {
    if std::io::stderr().write_all(text.as_bytes()).is_err() {}
}

/// Prints an error and its causes once.
pub(super) fn fail(error: &dyn std::error::Error) -> ExitCode {
    complain(&format!("tidegate: {}\n", chain(error)));
    ExitCode::from(1)
}
