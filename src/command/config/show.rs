//! `tidegate config show`: what is set, by the file, its layers and the environment.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::command::console::{refuse, say};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct ShowArguments {
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// Say of each key where it was set.
    #[arg(long)]
    origin: bool,
}

pub(super) fn run(arguments: &ShowArguments) -> ExitCode {
    let settings = match config::settings(&arguments.config) {
        Ok(settings) => settings,
        Err(problems) => return refuse(&arguments.config, &problems),
    };
    let lines = settings.into_iter().map(|one| {
        let origin = if arguments.origin {
            format!("  # {}", one.origin)
        } else {
            String::new()
        };
        format!("{} = {}{origin}\n", one.key, one.value)
    });
    say(&lines.collect::<String>())
}
