//! Arguments of `tidegate modbus`.

use std::path::PathBuf;

use adapters::Span;
use adapters::modbus::{FieldSection, Framing, LineSection, Parity, Place};
use clap::{Args, Subcommand};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error};

use crate::config;

#[derive(Debug, Args)]
pub(crate) struct ModbusArguments {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Find the slaves of a bus.
    Scan {
        #[command(flatten)]
        bus: Bus,
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=247))]
        from: u8,
        #[arg(long, default_value_t = 247, value_parser = clap::value_parser!(u8).range(1..=247))]
        to: u8,
        /// How long each may take to begin its answer.
        #[arg(long, default_value = "100ms")]
        timeout: Span,
    },
    /// Read registers or bits once.
    Read {
        #[command(flatten)]
        bus: Bus,
        #[command(flatten)]
        target: Target,
    },
    /// Read again and again, and show what changes.
    Watch {
        #[command(flatten)]
        bus: Bus,
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value = "1s")]
        interval: Span,
        /// Default: until it is interrupted.
        #[arg(long)]
        times: Option<u32>,
    },
    /// Measure round trips, and suggest timeout, `max_gap` and interval.
    Bench {
        #[command(flatten)]
        bus: Bus,
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        times: u32,
    },
    /// Make a register map of a CSV table: a line of names, then a field a row. Writes TOML.
    ///
    /// Needs the columns name and address; may have group and any key of a group or a field.
    Import {
        #[arg(value_name = "FILE")]
        table: PathBuf,
    },
}

/// Which line: as configured, or as given.
#[derive(Debug, Args)]
pub(crate) struct Bus {
    /// The configuration file, for its [[modbus]].
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["port", "tcp"])]
    pub config: Option<PathBuf>,
    /// Name of the [[modbus]] in it, if it has several.
    #[arg(long, value_name = "NAME", requires = "config")]
    pub source: Option<String>,
    /// A serial port.
    #[arg(long, value_name = "DEVICE", conflicts_with = "config")]
    pub port: Option<PathBuf>,
    #[arg(long, default_value_t = 19_200, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub baud: u32,
    /// none, even or odd.
    #[arg(long, default_value = "even", value_parser = named::<Parity>)]
    pub parity: Parity,
    /// rtu or ascii on a port; tcp, rtu or ascii over TCP.
    #[arg(long, value_parser = named::<Framing>)]
    pub framing: Option<Framing>,
    /// Modbus TCP, as in 10.0.0.5:502.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "port"])]
    pub tcp: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=247))]
    pub slave: u8,
    /// 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub function: u8,
    /// As on the wire, from 0.
    #[arg(long, default_value_t = 0)]
    pub address: u16,
    /// Registers or bits.
    #[arg(long, default_value_t = 1)]
    pub count: u16,
    /// What they hold, as in a field of the configuration: u16, f32, ... Default: each register by itself.
    #[arg(long = "type", value_name = "TYPE", value_parser = named::<adapters::modbus::TypeName>)]
    pub kind: Option<adapters::modbus::TypeName>,
    /// abcd, cdab, badc or dcba.
    #[arg(long, default_value = "abcd", value_parser = named::<adapters::modbus::WordOrder>)]
    pub order: adapters::modbus::WordOrder,
    #[arg(long, default_value = "300ms")]
    pub timeout: Span,
}

/// Reads a word as the configuration has it.
fn named<T: DeserializeOwned>(word: &str) -> Result<T, Error> {
    T::deserialize(word.into_deserializer())
}

impl Bus {
    pub(super) fn line(&self) -> Result<LineSection, String> {
        if let Some(path) = &self.config {
            return self.configured(path);
        }
        let mut line = LineSection::of_port(PathBuf::new(), self.baud);
        line.port.clone_from(&self.port);
        line.tcp.clone_from(&self.tcp);
        (line.parity, line.framing) = (self.parity, self.framing);
        Ok(line)
    }

    fn configured(&self, path: &std::path::Path) -> Result<LineSection, String> {
        let loaded = config::load(path).map_err(|problems| {
            let first = problems.first().map(ToString::to_string);
            format!("{}: {}", path.display(), first.unwrap_or_default())
        })?;
        let buses = loaded.file.modbus;
        let names: Vec<&str> = buses.iter().map(|bus| bus.name.as_str()).collect();
        let wanted = buses.iter().filter(|bus| {
            let name = self.source.as_ref();
            name.is_none_or(|name| *name == bus.name)
        });
        match wanted.collect::<Vec<_>>().as_slice() {
            [bus] => Ok(bus.line.clone()),
            _ => Err(format!(
                "name one of the [[modbus]] in {} with --source: {}",
                path.display(),
                names.join(", ")
            )),
        }
    }
}

impl Target {
    pub(super) fn place(&self) -> Place {
        Place {
            slave: self.slave,
            function: self.function,
            address: self.address,
            count: self.count,
        }
    }

    /// One value at `address`. A text takes all registers.
    pub(super) fn field(&self, address: u16) -> FieldSection {
        let is_text = self.kind == Some(adapters::modbus::TypeName::String);
        FieldSection {
            kind: self.kind,
            order: self.order,
            length: is_text.then_some(self.count),
            ..FieldSection::at(address)
        }
    }
}
