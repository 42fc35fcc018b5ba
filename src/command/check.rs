//! `tidegate check`: everything that is wrong with a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use super::console::{fail, refuse, say};
use crate::config::{self, Weight};
use crate::state::{StoreError, keys};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// The file in whose place it is to be put: with the layers, register maps and signature that are beside that.
    #[arg(long, value_name = "FILE")]
    in_place_of: Option<PathBuf>,
    /// Print the effective configuration, with defaults and overrides from the environment.
    #[arg(long)]
    print: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let path = &arguments.config;
    let place = arguments.in_place_of.as_ref().unwrap_or(path);
    let loaded = match config::load_for(path, place) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(path, &problems),
    };
    if arguments.print {
        return toml::to_string(&loaded.file).map_or_else(|error| fail(&error), |text| say(&text));
    }
    if loaded
        .warnings
        .iter()
        .any(|problem| problem.weight != Weight::Warning)
    {
        return refuse(path, &loaded.warnings);
    }
    // Not of `run`, which goes on from memory with what it has. A key may not be where this is run.
    if let Err(error @ StoreError::Key(_)) = keys(&loaded.settings.store.keys) {
        return fail(&error);
    }
    let warnings: String = loaded
        .warnings
        .iter()
        .map(|warning| format!("{}: {warning}\n", path.display()))
        .collect();
    let signer = loaded.trust.signer.as_deref();
    let signed = signer.map_or(String::new(), |signer| format!(", signed by {signer}"));
    let sealed = if loaded.trust.sealed { ", sealed" } else { "" };
    say(&format!(
        "{warnings}{}: good{signed}{sealed}\n",
        path.display()
    ))
}
