//! Arguments of `tidegate modbus`.

use std::path::PathBuf;

use adapters::Span;
use adapters::modbus::{
    FieldSection, Framing, LineSection, Numbering, Parity, Place, TypeName, WordOrder,
};
use clap::{ArgGroup, Args, Subcommand};
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
        /// First slave asked, in decimal or as 0x1F.
        #[arg(long, default_value = "1", value_parser = slave)]
        from: u8,
        /// Last slave asked.
        #[arg(long, default_value = "247", value_parser = slave)]
        to: u8,
        /// How long each may take to begin its answer. Default: 100ms, or 1s with --sunspec.
        #[arg(long)]
        timeout: Option<Span>,
        /// List the SunSpec models of one slave instead.
        #[arg(long, requires = "slave", conflicts_with_all = ["from", "to"])]
        sunspec: bool,
        /// With --sunspec: whose models.
        #[arg(long, requires = "sunspec", value_parser = slave)]
        slave: Option<u8>,
        /// With --sunspec: write a register map of the models to this new file.
        #[arg(long, value_name = "FILE", requires = "sunspec")]
        map: Option<PathBuf>,
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
    /// Make a register map of a table (CSV): a line of names, then a field a row. Writes TOML.
    ///
    /// Commas, semicolons or tabs separate. Needs the columns name and address; may have group, addresses, and any key of a
    /// group or a field.
    Import {
        /// `-` is standard input.
        #[arg(value_name = "FILE")]
        table: PathBuf,
        /// wire: from 0; modicon: 40001 is holding register 0, 30001 input register 0, 10001 and 00001 bits. A column
        /// `addresses` may say it for its row.
        #[arg(long, value_name = "NUMBERING", value_parser = named::<Numbering>)]
        addresses: Option<Numbering>,
    },
}

/// Which line: as configured, or as given.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("line").required(true).args(["config", "port", "tcp"])))]
pub(crate) struct Bus {
    /// The configuration file, for its [[modbus]].
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of the [[modbus]] in it, if it has several.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["port", "tcp"])]
    pub source: Option<String>,
    /// A serial port.
    #[arg(long, value_name = "DEVICE")]
    pub port: Option<PathBuf>,
    #[arg(long, default_value_t = 19_200, conflicts_with_all = ["config", "tcp"], value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub baud: u32,
    /// none, even or odd.
    #[arg(long, default_value = "even", conflicts_with_all = ["config", "tcp"], value_parser = named::<Parity>)]
    pub parity: Parity,
    /// rtu or ascii on a port; tcp, rtu or ascii over TCP.
    #[arg(long, conflicts_with = "config", value_parser = named::<Framing>)]
    pub framing: Option<Framing>,
    /// Modbus TCP, as in 10.0.0.5:502.
    #[arg(long, value_name = "HOST:PORT")]
    pub tcp: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// 1 to 247, in decimal or as 0x1F.
    #[arg(long, value_parser = slave)]
    pub slave: u8,
    /// 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub function: u8,
    /// As on the wire, from 0, in decimal or as 0x1F.
    #[arg(long, default_value = "0", value_parser = address)]
    pub address: u16,
    /// Registers or bits; with --type values, or the registers of a string.
    #[arg(long, default_value_t = 1)]
    pub count: u16,
    /// What the registers hold, as in a field of the configuration: u16, f32, ... Default: each register by itself.
    #[arg(long = "type", value_name = "TYPE", value_parser = named::<TypeName>)]
    pub kind: Option<TypeName>,
    /// abcd, cdab, badc or dcba.
    #[arg(long, default_value = "abcd", value_parser = named::<WordOrder>)]
    pub order: WordOrder,
    #[arg(long, default_value = "300ms")]
    pub timeout: Span,
}

/// Reads a word as the configuration has it.
fn named<T: DeserializeOwned>(word: &str) -> Result<T, Error> {
    T::deserialize(word.into_deserializer())
}

/// A register's or a bit's.
fn address(word: &str) -> Result<u16, String> {
    whole(word)
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| "use 0 to 65535, in decimal or as 0x1F".into())
}

fn slave(word: &str) -> Result<u8, String> {
    whole(word)
        .and_then(|number| u8::try_from(number).ok())
        .filter(|slave| (1..=247).contains(slave))
        .ok_or_else(|| "a slave has an address of 1 to 247, in decimal or as 0xF7".into())
}

/// A number in decimal or as `0x...`.
fn whole(word: &str) -> Option<u32> {
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((word, 10), |digits| (digits, 16));
    // A sign would pass otherwise.
    let is_digits = digits.chars().all(|digit| digit.is_digit(radix));
    is_digits
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
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
    /// The registers or bits of all values.
    pub(super) fn place(&self) -> Result<Place, String> {
        if self.function <= 2 && self.kind.is_some_and(|kind| kind != TypeName::Bool) {
            return Err(format!(
                "--function {} reads single bits; leave out --type, or use --function 3 or 4",
                self.function
            ));
        }
        let values = if self.is_text() { 1 } else { self.count };
        Ok(Place {
            slave: self.slave,
            function: self.function,
            address: self.address,
            count: self.each().saturating_mul(values),
        })
    }

    /// Registers or bits of one value.
    pub(super) fn each(&self) -> u16 {
        self.field(0).registers(self.function)
    }

    /// One value at `address`. A text takes all registers.
    pub(super) fn field(&self, address: u16) -> FieldSection {
        FieldSection {
            kind: self.kind,
            order: self.order,
            length: self.is_text().then_some(self.count),
            ..FieldSection::at(address)
        }
    }

    fn is_text(&self) -> bool {
        self.kind == Some(TypeName::String)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        modbus: ModbusArguments,
    }

    fn parse(line: &str) -> Result<Task, clap::Error> {
        Alone::try_parse_from(line.split(' ')).map(|alone| alone.modbus.task)
    }

    fn place(options: &str) -> Result<Place, String> {
        let task = parse(&format!("modbus read --tcp h:502 {options}")).unwrap();
        let Task::Read { target, .. } = task else {
            panic!("{task:?}");
        };
        target.place()
    }

    #[test]
    fn count_is_of_values_and_addresses_may_be_hexadecimal() {
        for (options, slave, address, count) in [
            ("--slave 7", 7, 0, 1),
            ("--slave 0x1F --address 0x1F", 31, 31, 1),
            ("--slave 7 --address 0XFFFF", 7, 65_535, 1),
            ("--slave 7 --type u32", 7, 0, 2),
            ("--slave 7 --type f64 --count 3", 7, 0, 12),
            ("--slave 7 --type string --count 8", 7, 0, 8),
            ("--slave 7 --type datetime", 7, 0, 6),
            ("--slave 7 --function 1 --count 9", 7, 0, 9),
            ("--slave 7 --type u64 --count 65535", 7, 0, 65_535),
        ] {
            let place = place(options).unwrap();
            let found = (place.slave, place.address, place.count);
            assert_eq!(found, (slave, address, count), "{options}");
        }
        let error = place("--slave 7 --function 2 --type u32").unwrap_err();
        assert!(error.contains("reads single bits"), "{error}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_would_be_right() {
        for (line, said) in [
            (
                "modbus read --slave 1",
                "<--config <FILE>|--port <DEVICE>|--tcp <HOST:PORT>>",
            ),
            (
                "modbus scan",
                "<--config <FILE>|--port <DEVICE>|--tcp <HOST:PORT>>",
            ),
            (
                "modbus read --tcp h:1 --port /dev/x --slave 1",
                "cannot be used with",
            ),
            (
                "modbus read --tcp h:1 --baud 9600 --slave 1",
                "cannot be used with",
            ),
            (
                "modbus read --tcp h:1 --source bus --slave 1",
                "cannot be used with",
            ),
            (
                "modbus read -c f --framing rtu --slave 1",
                "cannot be used with",
            ),
            ("modbus read --tcp h:1 --slave 248", "1 to 247"),
            ("modbus scan --tcp h:1 --from 0", "1 to 247"),
            ("modbus scan --tcp h:1 --sunspec", "--slave <SLAVE>"),
            ("modbus scan --tcp h:1 --slave 1", "--sunspec"),
            ("modbus scan --tcp h:1 --map f", "--sunspec"),
            (
                "modbus scan --tcp h:1 --sunspec --slave 1 --to 9",
                "cannot be used with",
            ),
            (
                "modbus read --tcp h:1 --slave 1 --address 0x10000",
                "0 to 65535",
            ),
            (
                "modbus read --tcp h:1 --slave 1 --address 0x+1",
                "0 to 65535",
            ),
            ("modbus read --tcp h:1 --slave 1 --address 1F", "0 to 65535"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
