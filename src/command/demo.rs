//! `tidegate demo`: the main job on a simulated plant, with nothing else to start.
//!
//! The agent runs as on a gateway: this binary, as a process of its own, on a configuration like any
//! other. Around it, in this process: librdkafka's mock cluster, MQTT devices on a mosquitto of the
//! demo's own, a Modbus slave on a pseudo-terminal, an inference program, and a consumer that
//! compares what the cluster got with what the agent says.

mod plant;

mod watch;

use std::io::IsTerminal;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use load::mock::Cluster;
use tempfile::TempDir;

use super::console::{fail, say};
use crate::status::Snapshot;
use plant::Plant;
use watch::{Phase, Watch};

const BEFORE: Duration = Duration::from_secs(6);
const AFTER: Duration = Duration::from_secs(6);
/// A drain, or a start, that takes longer than this is a failure.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("cannot start {what}")]
    Start {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("{what} took longer than {PATIENCE:?}")]
    Slow { what: &'static str },
    #[error("the account does not close: {0}")]
    Account(String),
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArguments {
    /// An outage of 6 seconds instead of 30.
    #[arg(long)]
    quick: bool,
}

pub(super) fn run(arguments: &DemoArguments) -> ExitCode {
    show(arguments.quick).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// An error means that something was lost, or could not be started.
fn show(quick: bool) -> Result<(), DemoError> {
    let outage = Duration::from_secs(if quick { 6 } else { 30 });
    let started = |what| move |source| DemoError::Start { what, source };
    let directory = TempDir::new().map_err(started("a temporary directory"))?;
    let cluster = Cluster::start(&watch::TOPICS).map_err(started("the mock cluster"))?;
    let mut plant = Plant::start(&directory).map_err(started("mosquitto (is it installed?)"))?;
    let mut agent = Agent::start(&directory, &plant.config(&cluster.brokers(), &directory))?;
    let mut watch = Watch::start(&cluster.brokers());
    let mut screen = Screen::new();

    tell(
        "the plant is running: MQTT devices, a Modbus slave, an inference program; the cluster is up",
    );
    plant.begin(&directory);
    agent.show_for(BEFORE, &mut screen, &mut watch, Phase::Before)?;
    tell(&format!(
        "the cluster goes away for {} s; everything is kept on disk",
        outage.as_secs()
    ));
    cluster.down();
    agent.show_for(outage, &mut screen, &mut watch, Phase::During)?;
    tell("the cluster is back; alarms go first, the backlog drains behind them at a shaped rate");
    cluster.up();
    agent.show_until("the reconnect", &mut screen, &mut watch, |_| true)?;
    watch.enter(Phase::Draining);
    agent.show_until(
        "the drain",
        &mut screen,
        &mut watch,
        Snapshot::has_caught_up,
    )?;
    tell("the backlog is gone; a few more seconds of a good day");
    agent.show_for(AFTER, &mut screen, &mut watch, Phase::After)?;
    plant.end();
    let last = agent.show_until(
        "the last events",
        &mut screen,
        &mut watch,
        Snapshot::is_drained,
    )?;
    watch.finish(&last)
}

/// The agent, as a process like any other.
struct Agent {
    child: Child,
    state: std::path::PathBuf,
}

impl Agent {
    fn start(directory: &TempDir, config: &str) -> Result<Agent, DemoError> {
        let failed = |source| DemoError::Start {
            what: "the agent",
            source,
        };
        let path = directory.path().join("gateway.toml");
        std::fs::write(&path, config).map_err(failed)?;
        let log = std::fs::File::create(directory.path().join("log")).map_err(failed)?;
        let binary = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(binary);
        let child = command
            .args(["run", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut agent = Agent {
            child,
            state: directory.path().join("state"),
        };
        agent.snapshot()?;
        Ok(agent)
    }

    fn snapshot(&mut self) -> Result<Snapshot, DemoError> {
        let begun = Instant::now();
        let runtime = super::console::runtime().map_err(|source| DemoError::Start {
            what: "the agent",
            source,
        })?;
        loop {
            if let Ok(snapshot) = runtime.block_on(crate::status::ask(&self.state)) {
                return Ok(snapshot);
            }
            if begun.elapsed() > PATIENCE {
                return Err(DemoError::Slow {
                    what: "the agent's start",
                });
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn show_for(
        &mut self,
        time: Duration,
        screen: &mut Screen,
        watch: &mut Watch,
        phase: Phase,
    ) -> Result<(), DemoError> {
        watch.enter(phase);
        let begun = Instant::now();
        while begun.elapsed() < time {
            screen.show(&self.snapshot()?, watch);
            std::thread::park_timeout(
                Duration::from_secs(1).min(time.saturating_sub(begun.elapsed())),
            );
        }
        Ok(())
    }

    fn show_until(
        &mut self,
        what: &'static str,
        screen: &mut Screen,
        watch: &mut Watch,
        done: fn(&Snapshot) -> bool,
    ) -> Result<Snapshot, DemoError> {
        let begun = Instant::now();
        loop {
            let snapshot = self.snapshot()?;
            screen.show(&snapshot, watch);
            if snapshot.link.up && done(&snapshot) {
                return Ok(snapshot);
            }
            if begun.elapsed() > PATIENCE {
                return Err(DemoError::Slow { what });
            }
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.kill().is_err() || self.child.wait().is_err() {
            tell("the agent had ended before the demo did");
        }
    }
}

/// A live table on a terminal; elsewhere the table now and then.
struct Screen {
    live: bool,
    shown: Option<Instant>,
}

impl Screen {
    fn new() -> Screen {
        Screen {
            live: std::io::stdout().is_terminal(),
            shown: None,
        }
    }

    fn show(&mut self, snapshot: &Snapshot, watch: &Watch) {
        let every = if self.live {
            Duration::from_millis(400)
        } else {
            Duration::from_secs(5)
        };
        if self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let clear = if self.live { "\x1b[H\x1b[2J" } else { "" };
        tell(&format!(
            "{clear}{}\n{}",
            crate::status::table(snapshot),
            watch.line()
        ));
    }
}

/// Prints a line; somebody who has closed the pipe does not want it.
fn tell(text: &str) {
    say(&format!("{text}\n"));
}
