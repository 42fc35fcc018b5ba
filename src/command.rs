//! The command line: one file a subcommand, with its arguments and what it does with them.

mod arguments;

mod buffer;

mod check;

mod config;

mod console;

#[cfg(feature = "demo")]
mod demo;

mod disk_writer;

mod modbus;

#[cfg(feature = "packaging")]
mod packaging;

mod plan;

mod run;

#[cfg(feature = "simulate")]
mod simulate;

mod status;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Does what the command line asks for.
pub(crate) fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments.config),
        Command::Check(arguments) => check::run(&arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Buffer(arguments) => buffer::run(&arguments),
        Command::Modbus(arguments) => modbus::run(&arguments),
        Command::DiskWriter => disk_writer::run(),
        Command::Version => console::say(&crate::process::version::long()),
        Command::Schema => console::say(&crate::config::schema()),
        #[cfg(feature = "packaging")]
        Command::Completions { shell } => packaging::completions(shell),
        #[cfg(feature = "packaging")]
        Command::Man => packaging::man(),
        #[cfg(feature = "simulate")]
        Command::Simulate(arguments) => simulate::run(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(&arguments),
    }
}
