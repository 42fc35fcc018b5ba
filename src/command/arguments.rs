//! The command line.

use clap::{Parser, Subcommand};

use super::check::CheckArguments;
use super::config::ConfigArguments;
use super::run::RunArguments;
use super::status::StatusArguments;
use crate::state::DISK_WRITER;

/// Edge gateway agent: collects events from MQTT, Modbus and local inference programs, keeps them on
/// disk while the link is down, and drains them to Kafka.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the agent.
    Run(RunArguments),
    /// Check a configuration and print everything that is wrong with it. Changes nothing.
    ///
    /// Exit code 0: good; 1: there are errors; 2: wrong usage.
    Check(CheckArguments),
    /// What became of the configuration that was delivered.
    Config(ConfigArguments),
    /// Show how the running agent is: lanes, backlog, link, sources.
    Status(StatusArguments),
    /// Say what an outage would do: when each lane is full, what is given up, how long the drain takes.
    Plan(super::plan::PlanArguments),
    /// Look into the buffer on disk. Only reads, also beside a running agent, unless told to repair.
    Buffer(super::buffer::BufferArguments),
    /// Look at a Modbus bus by hand: find slaves, read, watch, measure. Only reads, and not beside a running agent.
    Modbus(super::modbus::ModbusArguments),
    /// Simulate the return of a fleet from an outage: what arrives at the cluster, and how late an alarm is.
    ///
    /// Runs the agent's own shaper in virtual time, as configured and without its parts.
    #[cfg(feature = "simulate")]
    Simulate(super::simulate::Simulation),
    /// Write to sled databases as the agent that has started this process orders; it is of no use to anybody else.
    #[command(name = DISK_WRITER, hide = true)]
    DiskWriter,
    /// Show the version, the git revision and the libraries.
    Version,
    /// Print the JSON schema of the configuration.
    Schema,
    /// Print a completion script.
    #[cfg(feature = "packaging")]
    Completions { shell: clap_complete::Shell },
    /// Print the manual page.
    #[cfg(feature = "packaging")]
    Man,
    /// Show the main job: a simulated plant, a mock cluster, an outage and what became of every event.
    ///
    /// Needs mosquitto on this machine, and nothing else. Exits with 1 if the account does not close.
    #[cfg(feature = "demo")]
    Demo(super::demo::DemoArguments),
}
