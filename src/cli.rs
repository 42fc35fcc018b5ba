//! The command line.

use std::path::PathBuf;

use adapters::{Size, Span};
use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Edge gateway agent: collects events from MQTT, Modbus and local inference programs, keeps them on
/// disk while the link is down, and drains them to Kafka.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent.
    Run {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration and print everything that is wrong with it. Changes nothing.
    ///
    /// Exit code 0: good; 1: there are errors; 2: wrong usage.
    Check {
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// Print the effective configuration, with defaults and overrides from the environment.
        #[arg(long)]
        print: bool,
    },
    /// Show how the running agent is: lanes, backlog, link, sources.
    Status {
        /// The configuration file of the agent, for its state directory.
        #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
        config: Option<PathBuf>,
        /// The state directory of the agent.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/tidegate")]
        state: PathBuf,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Say what an outage would do: when each lane is full, what is given up, how long the drain takes.
    Plan(PlanArguments),
    /// Look into the buffer on disk. Only reads, also beside a running agent, unless told to repair.
    Buffer(crate::inspect::BufferArguments),
    /// Look at a Modbus bus by hand: find slaves, read, watch, measure. Only reads, and not beside a running agent.
    Modbus(crate::doctor::ModbusArguments),
    /// Simulate the return of a fleet from an outage: what arrives at the cluster, and how late an alarm is.
    ///
    /// Runs the agent's own shaper in virtual time, as configured and without its parts.
    #[cfg(feature = "simulate")]
    Simulate(crate::simulate::Simulation),
    /// Show the version, the git revision and the libraries.
    Version,
    /// Print the JSON schema of the configuration.
    Schema,
    /// Print a completion script.
    Completions { shell: Shell },
    /// Print the manual page.
    Man,
    /// Show the main job: a simulated plant, a mock cluster, an outage and what became of every event.
    ///
    /// Needs mosquitto on this machine, and nothing else. Exits with 1 if the account does not close.
    #[cfg(feature = "demo")]
    Demo {
        /// An outage of 6 seconds instead of 30.
        #[arg(long)]
        quick: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "24h")]
    pub outage: Span,
    /// What the sources of an intent give: events a second, and bytes of a payload, as in state=10x200. Can be repeated.
    #[arg(long, value_name = "INTENT=EVENTSxBYTES")]
    pub rate: Vec<crate::plan::Given>,
    /// Ask the running agent what it takes in, and what an event takes on disk.
    #[arg(long)]
    pub measured: bool,
    /// What the link carries in a second, as in "30 kB". Default: more than is sent.
    #[arg(long, value_name = "SIZE")]
    pub link: Option<Size>,
}
