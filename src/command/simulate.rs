//! `tidegate simulate`: a fleet that comes back from an outage, in virtual time.
//!
//! Each gateway runs the agent's own shaper, pacer, flow and back-off. What is made up is around them: sources that give
//! events at a steady rate, and a cluster that serves requests one after the other. So the curves show what the settings
//! do, not what a certain cluster does.

mod arrivals;

mod cluster;

mod fleet;

mod gateway;

mod plot;

mod random;

use std::path::PathBuf;
use std::process::ExitCode;

use adapters::Span;

use super::console::{fail, load, say};
use crate::config::{File, Settings};
use crate::pace::ReplaySection;
use fleet::{BROKERS, Curve, Fleet};

/// What is simulated.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Simulation {
    /// A configuration, for its [replay], [[intent]] and `uplink.in_flight`. Default: the defaults.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, default_value_t = 10_000)]
    gateways: u32,
    /// How long all of them were away from the cluster.
    #[arg(long, default_value = "8h")]
    outage: Span,
    /// Events a second of a gateway: 1 % of them `critical`, 30 % `state`, the rest `diagnostic`.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Bytes of an event.
    #[arg(long, default_value_t = 200)]
    size: u32,
    /// What the cluster can take, times what the fleet sends on a usual day.
    #[arg(long, default_value_t = 3.0)]
    capacity: f64,
    /// Where `fleet.csv` and `fleet.svg` go. Default: nowhere.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SimulationError {
    #[error("{key}: `{value}` is too small; use {least} or more")]
    Small {
        key: &'static str,
        value: f64,
        least: f64,
    },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// One way to come back.
struct Policy {
    name: &'static str,
    settings: Settings,
    /// In flight goes by what is delivered; without, it is all that `uplink.in_flight` allows.
    adapts: bool,
}

pub(super) fn run(what: &Simulation) -> ExitCode {
    let file = match &what.config {
        None => File::of_defaults(),
        Some(path) => match load(path) {
            Ok(loaded) => loaded.file,
            Err(code) => return code,
        },
    };
    match what.run(&file) {
        Ok(table) => say(&table),
        Err(error) => fail(&error),
    }
}

impl Simulation {
    /// Runs every policy, writes what was asked for, and returns a table of them.
    pub(crate) fn run(&self, file: &File) -> Result<String, SimulationError> {
        self.check()?;
        let mut table = format!(
            "{} gateways with {} events/s each, back after {}; the cluster takes {} x that\n\n{:<44}{:>12}{:>16}{:>12}\n",
            self.gateways,
            self.rate,
            self.outage,
            self.capacity,
            "policy",
            "peak/steady",
            "alarms late by",
            "drained in"
        );
        let mut curves = Vec::new();
        // One policy after the other: the processor's caches hold no more.
        for policy in &policies(file) {
            let curve = Curve::merge(&self.on_all_brokers(policy));
            let drained = curve.drained_s.map_or("never".into(), adapters::age);
            let row = format!(
                "{:<44}{:>12.2}{:>16}{drained:>12}\n",
                policy.name,
                curve.peak(),
                adapters::age(curve.latest_alarm_s()),
            );
            table.push_str(&row);
            curves.push((policy.name, curve));
        }
        self.write(&curves)?;
        Ok(table)
    }

    fn on_all_brokers(&self, policy: &Policy) -> Vec<Curve> {
        std::thread::scope(|scope| {
            let run = |broker| scope.spawn(move || Fleet::new(self, policy, broker).run());
            let threads: Vec<_> = (0..BROKERS).map(run).collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|curve| curve.expect("a simulation ends"))
                .collect()
        })
    }

    fn check(&self) -> Result<(), SimulationError> {
        let least = [
            ("gateways", f64::from(self.gateways), 1.0),
            ("rate", self.rate, 0.001),
            ("size", f64::from(self.size), 1.0),
            ("capacity", self.capacity, 1.01),
            ("outage", self.outage.0.as_secs_f64(), 10.0),
        ];
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((key, value, least)) => Err(SimulationError::Small { key, value, least }),
            None => Ok(()),
        }
    }

    fn write(&self, curves: &[(&str, Curve)]) -> Result<(), SimulationError> {
        let Some(directory) = &self.out else {
            return Ok(());
        };
        let files = [
            ("fleet.csv", plot::csv(curves)),
            ("fleet.svg", plot::svg(curves)),
        ];
        for (name, text) in files {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .map_err(|source| SimulationError::Write { path, source })?;
        }
        Ok(())
    }
}

/// As configured; with all but the share of the usual rate; and as agents do that have none of it.
fn policies(file: &File) -> [Policy; 3] {
    let with = |change: fn(&mut ReplaySection)| {
        let mut file = file.clone();
        change(&mut file.replay);
        Settings::new(&file)
    };
    [
        Policy {
            name: "as configured",
            settings: with(|_| {}),
            adapts: true,
        },
        Policy {
            name: "without catch_up",
            settings: with(|replay| replay.catch_up = 0.0),
            adapts: true,
        },
        Policy {
            name: "without catch_up, spread, ramp, adaptation",
            settings: with(|replay| {
                replay.catch_up = 0.0;
                replay.spread = Span(std::time::Duration::ZERO);
                replay.ramp = Span(std::time::Duration::ZERO);
                replay.events_per_s = 0;
                replay.bytes_per_s = adapters::Size(0);
            }),
            adapts: false,
        },
    ]
}

#[cfg(test)]
mod tests;
