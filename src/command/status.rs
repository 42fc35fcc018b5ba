//! `tidegate status`: how the running agent is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::console::{ask, fail, refuse, say};
use crate::config::{self, Problem};
use crate::status::table;

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// The configuration file of the agent, for its state directory.
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tidegate")]
    state: PathBuf,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: StatusArguments) -> ExitCode {
    let state = match &arguments.config {
        None => arguments.state,
        Some(path) => match state_of(path) {
            Ok(state) => state,
            Err(problems) => return refuse(path, &problems),
        },
    };
    match ask(&state) {
        Ok(snapshot) if arguments.json => say(&format!("{:#}\n", serde_json::json!(snapshot))),
        Ok(snapshot) => say(&table(&snapshot)),
        Err(error) => fail(&*error),
    }
}

/// Of a file that cannot be used as well: the agent runs with another one then, and is asked for just that.
fn state_of(path: &Path) -> Result<PathBuf, Vec<Problem>> {
    config::load(path).map_or_else(
        |problems| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            config::state_dir(&text).ok_or(problems)
        },
        |loaded| Ok(loaded.settings.store.state),
    )
}
