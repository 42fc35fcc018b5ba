//! `tidegate disk-writer`, which is not for people: the process that calls sled for an agent (`buffer::Writer`).

use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::console::fail;

pub(super) fn run() -> ExitCode {
    // It ends at the end of its input as well, but not while it waits for the disk.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return fail(&error);
    }
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    match input.and_then(|input| Ok((input, output?))) {
        Ok((input, output)) => {
            buffer::write_for_parent(BufReader::new(File::from(input)), File::from(output))
        }
        Err(error) => fail(&error),
    }
}
