//! `[[modbus]]` as written.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::frame::REGISTERS_MAX;
use crate::Span;

/// A Modbus bus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusSection {
    /// Name of the source, in logs, metrics and events.
    pub name: String,
    /// `{ port = "/dev/serial/by-id/...", baud = 19200 }` or `{ tcp = "10.0.0.5:502" }`.
    pub line: LineSection,
    /// How long a slave may take to begin its answer. Default: `"300ms"`.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Further attempts after no or a broken answer. Default: 1.
    #[serde(default = "default_retries")]
    pub retries: u8,
    /// Silence that a slave needs after its answer (turnaround), besides t3.5. Default: `"0s"`.
    #[serde(default = "default_turnaround")]
    pub turnaround: Span,
    /// How long slaves usually take to begin their answer: for the sum that `check` makes of the line's time. Default: `"5ms"`.
    #[serde(default = "default_response_time")]
    pub response_time: Span,
    /// Registers that are not asked for but may be read along to save a request. Default: 8.
    #[serde(default = "default_max_gap")]
    pub max_gap: u16,
    pub slave: Vec<SlaveSection>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineSection {
    /// Serial port. Prefer a name under `/dev/serial/by-id`.
    pub port: Option<PathBuf>,
    /// Default: 19200 (Modbus over serial line V1.02 section 3.2).
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// Default: `"even"`.
    #[serde(default)]
    pub parity: Parity,
    /// Default: 1, or 2 without parity.
    pub stop_bits: Option<u8>,
    /// Modbus TCP: `"host:port"`.
    pub tcp: Option<String>,
    /// What goes over it. Default: `"rtu"` on a port, `"tcp"` over TCP; `"rtu"` over TCP is for gateways that pass the
    /// serial line through.
    pub framing: Option<Framing>,
    /// The line gives back what is sent, as some RS-485 adapters for two wires do. Default: false.
    #[serde(default)]
    pub echo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    Rtu,
    Tcp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    None,
    #[default]
    Even,
    Odd,
}

/// A device on the bus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlaveSection {
    /// 1 to 247.
    pub address: u8,
    /// The event's device.
    pub device: String,
    /// As for the bus, for this slave alone.
    pub timeout: Option<Span>,
    pub turnaround: Option<Span>,
    pub group: Vec<GroupSection>,
}

/// Registers that are read together and make one event.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSection {
    /// The event's kind.
    pub name: String,
    /// Function: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers. Default: 3.
    #[serde(default = "default_function")]
    pub function: u8,
    /// Default: `"1s"`.
    #[serde(default = "default_interval")]
    pub interval: Span,
    pub intent: Option<String>,
    pub field: Vec<FieldSection>,
}

/// One value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldSection {
    pub name: String,
    /// Address as on the wire, from 0.
    pub address: u16,
    /// Default: `"u16"`, or `"bool"` for functions 1 and 2.
    #[serde(rename = "type")]
    pub kind: Option<TypeName>,
    /// Order of bytes: `"abcd"` big endian (default), `"dcba"`, `"badc"`, `"cdab"`.
    #[serde(default)]
    pub order: WordOrder,
    /// value = raw x scale + offset.
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    pub unit: Option<String>,
    /// For `"string"`: registers, two characters each.
    pub length: Option<u16>,
    /// For `"bits"`: the lowest bit, from 0.
    pub bit: Option<u8>,
    /// For `"bits"`: how many. Default: 1.
    pub bits: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeName {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    String,
    Bits,
}

/// Order of the bytes of a value, named by those of a 32-bit one; longer ones follow the same rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordOrder {
    #[default]
    Abcd,
    /// Words swapped.
    Cdab,
    /// Bytes swapped within words.
    Badc,
    /// Both: little endian.
    Dcba,
}

fn default_timeout() -> Span {
    Span(Duration::from_millis(300))
}

fn default_retries() -> u8 {
    1
}

fn default_turnaround() -> Span {
    Span(Duration::ZERO)
}

fn default_response_time() -> Span {
    Span(Duration::from_millis(5))
}

fn default_max_gap() -> u16 {
    8
}

fn default_baud() -> u32 {
    19_200
}

fn default_function() -> u8 {
    3
}

fn default_interval() -> Span {
    Span(Duration::from_secs(1))
}

impl LineSection {
    /// Two without parity, so that a character has eleven bits (Modbus over serial line V1.02 section 2.5.1).
    pub(super) fn stop_bits(&self) -> u8 {
        self.stop_bits
            .unwrap_or(if self.parity == Parity::None { 2 } else { 1 })
    }

    #[must_use]
    pub fn name(&self) -> String {
        self.port
            .as_ref()
            .map(|port| port.display().to_string())
            .or_else(|| self.tcp.clone())
            .unwrap_or_default()
    }
}

impl FieldSection {
    #[must_use]
    pub fn kind(&self, function: u8) -> TypeName {
        self.kind.unwrap_or(if function <= 2 {
            TypeName::Bool
        } else {
            TypeName::U16
        })
    }

    /// Registers (or bits, for functions 1 and 2) that the value takes.
    #[must_use]
    pub fn registers(&self, function: u8) -> u16 {
        match self.kind(function) {
            TypeName::Bool | TypeName::U16 | TypeName::I16 | TypeName::Bits => 1,
            TypeName::U32 | TypeName::I32 | TypeName::F32 => 2,
            TypeName::U64 | TypeName::I64 | TypeName::F64 => 4,
            TypeName::String => self.length.unwrap_or(1),
        }
    }
}

impl ModbusSection {
    /// What is wrong with it: the key below the section, and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let line = &self.line;
        match (&line.port, &line.tcp) {
            (None, None) => problems.push((
                "line".into(),
                "names no line; set `port` (serial) or `tcp`".into(),
            )),
            (Some(_), Some(_)) => problems.push((
                "line".into(),
                "names two lines; set `port` or `tcp`, not both".into(),
            )),
            (Some(_), None) | (None, Some(_)) => {}
        }
        if !(300..=4_000_000).contains(&line.baud) {
            problems.push((
                "line.baud".into(),
                format!(
                    "`{}` is not a baud rate; use 300 to 4000000, like 9600 or 19200",
                    line.baud
                ),
            ));
        }
        if line.port.is_some() && line.framing == Some(Framing::Tcp) {
            problems.push((
                "line.framing".into(),
                "a serial port carries no Modbus TCP; use \"rtu\" or leave it out".into(),
            ));
        }
        if line.echo && line.port.is_none() && line.framing != Some(Framing::Rtu) {
            problems.push((
                "line.echo".into(),
                "Modbus TCP has no echo; leave it out, or set framing = \"rtu\"".into(),
            ));
        }
        if line.stop_bits.is_some_and(|bits| !(1..=2).contains(&bits)) {
            problems.push(("line.stop_bits".into(), "must be 1 or 2".into()));
        }
        if self.slave.is_empty() {
            problems.push((
                "slave".into(),
                "at least one [[modbus.slave]] is needed".into(),
            ));
        }
        for (index, slave) in self.slave.iter().enumerate() {
            slave.problems(&format!("slave[{index}]"), &mut problems);
        }
        problems
    }

    /// Key and value of each intent that a group names.
    pub fn intents(&self) -> impl Iterator<Item = (String, &Option<String>)> {
        self.slave.iter().enumerate().flat_map(|(s, slave)| {
            let groups = slave.group.iter().enumerate();
            groups.map(move |(g, group)| (format!("slave[{s}].group[{g}].intent"), &group.intent))
        })
    }

    /// Whether events of this bus carry a tag of this name.
    #[must_use]
    pub fn gives_tag(&self, tag: &str) -> bool {
        tag == "slave"
    }
}

impl SlaveSection {
    fn problems(&self, at: &str, problems: &mut Vec<(String, String)>) {
        if !(1..=247).contains(&self.address) {
            problems.push((
                format!("{at}.address"),
                format!("`{}` is not a slave address; use 1 to 247", self.address),
            ));
        }
        for (index, group) in self.group.iter().enumerate() {
            let at = format!("{at}.group[{index}]");
            if !(1..=4).contains(&group.function) {
                problems.push((
                    format!("{at}.function"),
                    format!("`{}` does not read; use 1, 2, 3 or 4", group.function),
                ));
            }
            if group.interval.0 < Duration::from_millis(10) {
                problems.push((
                    format!("{at}.interval"),
                    format!("`{}` is too short; use \"10ms\" or more", group.interval),
                ));
            }
            if group.field.is_empty() {
                problems.push((
                    format!("{at}.field"),
                    "at least one [[modbus.slave.group.field]] is needed".into(),
                ));
            }
            for (number, field) in group.field.iter().enumerate() {
                field.problems(group.function, &format!("{at}.field[{number}]"), problems);
            }
        }
    }
}

impl FieldSection {
    fn problems(&self, function: u8, at: &str, problems: &mut Vec<(String, String)>) {
        let registers = self.registers(function);
        if function <= 2 && self.kind(function) != TypeName::Bool {
            problems.push((
                format!("{at}.type"),
                "functions 1 and 2 read single bits; use \"bool\"".into(),
            ));
        }
        if registers == 0 || registers > REGISTERS_MAX {
            problems.push((
                format!("{at}.length"),
                format!("`{registers}` is out of range; use 1 to {REGISTERS_MAX} registers"),
            ));
        }
        if u32::from(self.address) + u32::from(registers) > 65_536 {
            problems.push((
                format!("{at}.address"),
                format!(
                    "`{}` and what follows it goes past the last address, 65535",
                    self.address
                ),
            ));
        }
        if self.kind(function) == TypeName::String && self.length.is_none() {
            problems.push((
                format!("{at}.length"),
                "missing; a string needs its number of registers".into(),
            ));
        }
        let (bit, bits) = (self.bit.unwrap_or(0), self.bits.unwrap_or(1));
        if self.kind(function) == TypeName::Bits
            && (bits == 0 || u16::from(bit) + u16::from(bits) > 16)
        {
            problems.push((
                format!("{at}.bits"),
                format!("bits {bit} and {bits} more do not lie within 16; use bit 0 to 15"),
            ));
        }
    }
}
