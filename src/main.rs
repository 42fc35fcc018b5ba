//! Tidegate: an edge gateway agent. Each folder opens with what it owns; ARCHITECTURE.md has the way of an event through them.

mod command;

mod config;

mod rollout;

mod agent;

mod ingest;

mod pace;

mod drain;

mod uplink;

mod state;

mod status;

mod process;

fn main() -> std::process::ExitCode {
    command::run()
}
