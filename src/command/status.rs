//! `tidegate status`: how the running agent is.

use std::path::PathBuf;
use std::process::ExitCode;

use super::console::{ask, fail, refuse, say};
use crate::config::{self, STATE_DIR};
use crate::status::table;

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// The configuration file of the agent, for its state directory.
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state: PathBuf,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: StatusArguments) -> ExitCode {
    let state = match &arguments.config {
        None => arguments.state,
        Some(path) => match config::state_of(path) {
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
