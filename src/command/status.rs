//! `tidegate status`: how the running agent is.

use std::path::PathBuf;
use std::process::ExitCode;

use super::console::{ask, fail, load, say};
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
    let state = match arguments.config.as_deref().map(load) {
        None => arguments.state,
        Some(Ok(loaded)) => loaded.settings.store.state,
        Some(Err(code)) => return code,
    };
    match ask(&state) {
        Ok(snapshot) if arguments.json => say(&format!("{:#}\n", serde_json::json!(snapshot))),
        Ok(snapshot) => say(&table(&snapshot)),
        Err(error) => fail(&*error),
    }
}
