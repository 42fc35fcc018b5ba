//! `tidegate config waves`: when each of a fleet's gateways would try a file.

use std::path::PathBuf;
use std::process::ExitCode;

use adapters::Span;

use crate::command::console::{fail, load, say};
use crate::rollout;

#[derive(Debug, clap::Args)]
pub(super) struct WavesArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Suppose that it is withdrawn after so long: "6m".
    #[arg(long, value_name = "TIME")]
    withdrawn: Option<Span>,
}

pub(super) fn run(arguments: &WavesArguments) -> ExitCode {
    let loaded = match load(&arguments.config) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let ids: Result<Vec<String>, _> = std::io::stdin().lines().collect();
    let ids = match ids {
        Ok(ids) => ids,
        Err(error) => return fail(&error),
    };
    let (spread, withdrawn) = (loaded.file.fleet.spread.0, arguments.withdrawn);
    let ids = ids.iter().map(|id| id.trim()).filter(|id| !id.is_empty());
    let tries = ids.filter_map(|id| {
        let after = rollout::tried_after(loaded.version(), spread, id, withdrawn.map(|one| one.0));
        Some((after?, id))
    });
    let mut tries: Vec<(u64, &str)> = tries.collect();
    tries.sort_unstable();
    let lines: String = tries
        .iter()
        .map(|(after, id)| format!("{after}\t{id}\n"))
        .collect();
    say(&lines)
}
