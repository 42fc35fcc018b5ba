//! `tidegate config diff`: what a file sets otherwise than the configuration that delivered last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::command::console::{fail, refuse, say};
use crate::config::{self, STATE_DIR, Setting};
use crate::rollout;

#[derive(Debug, clap::Args)]
pub(super) struct DiffArguments {
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// The state directory of the agent, where the file does not name it.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Exit code 0 where nothing differs, 1 where something does, as of diff(1).
pub(super) fn run(arguments: &DiffArguments) -> ExitCode {
    let path = &arguments.config;
    let new = match config::settings(path) {
        Ok(settings) => by_name(settings),
        Err(problems) => return refuse(path, &problems),
    };
    let named = || config::state_of(path).unwrap_or_else(|_| PathBuf::from(STATE_DIR));
    let state = arguments.state.clone().unwrap_or_else(named);
    let Some(proved) = rollout::proved_texts(&state) else {
        return fail(&std::io::Error::other(format!(
            "no configuration has delivered yet: there is none in {}",
            state.join("config").display()
        )));
    };
    let old = match config::settings_of(&proved, "proved.toml") {
        Ok(settings) => by_name(settings),
        Err(problems) => return refuse(&state, &problems),
    };
    let lines = only_in(&old, &new, '-') + &only_in(&new, &old, '+');
    if lines.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(&lines);
    ExitCode::from(1)
}

fn only_in(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>, sign: char) -> String {
    let only = one
        .iter()
        .filter(|(name, value)| other.get(*name) != Some(value));
    let lines = only.map(|(name, value)| format!("{sign} {name} = {value}\n"));
    lines.collect()
}

fn by_name(settings: Vec<Setting>) -> BTreeMap<String, String> {
    let pairs = settings.into_iter().map(|one| (one.name, one.value));
    pairs.collect()
}
