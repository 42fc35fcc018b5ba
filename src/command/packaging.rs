//! What packagers and editors ask for: completions, the manual page, the schema of the configuration.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::console::{fail, say};
use crate::config::File;

pub(super) fn schema() -> ExitCode {
    say(&format!("{:#}\n", schemars::schema_for!(File).to_value()))
}

pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut script);
    say(&String::from_utf8_lossy(&script))
}

pub(super) fn man() -> ExitCode {
    let mut page = Vec::new();
    match clap_mangen::Man::new(Arguments::command()).render(&mut page) {
        Ok(()) => say(&String::from_utf8_lossy(&page)),
        Err(error) => fail(&error),
    }
}
