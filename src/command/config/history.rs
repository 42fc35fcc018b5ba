//! `tidegate config history`: what became of the last configurations.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::command::console::say;
use crate::config::STATE_DIR;
use crate::rollout::{self, Entry};

#[derive(Debug, clap::Args)]
pub(super) struct HistoryArguments {
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state: PathBuf,
    /// For programs: a line an entry.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &HistoryArguments) -> ExitCode {
    let entries = rollout::history(&arguments.state);
    let line = |one: &Entry| {
        if arguments.json {
            return format!("{}\n", serde_json::json!(one));
        }
        let sha256 = one.sha256.get(..12).unwrap_or(&one.sha256);
        let by = one.by.iter().map(|by| format!(" by {by}"));
        let why = one.why.iter().map(|why| format!(": {why}"));
        let more: String = by.chain(why).collect();
        format!("{}  {sha256}  {}{more}\n", one.at, one.what)
    };
    say(&entries.entries().iter().map(line).collect::<String>())
}
