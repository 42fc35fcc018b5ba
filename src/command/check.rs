//! `tidegate check`: everything that is wrong with a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use super::console::{fail, load, refuse, say};
use crate::config::Weight;
use crate::state::{StoreError, keys};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// Print the effective configuration, with defaults and overrides from the environment.
    #[arg(long)]
    print: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let path = &arguments.config;
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(code) => return code,
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
