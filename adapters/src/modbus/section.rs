//! `[[modbus]]` as written.

mod line;

mod field;

mod slave;

mod map;

mod written;

mod import;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use field::JsonForm;
pub use field::{FieldSection, MomentFormat, Raw, TypeName, WordOrder};
pub use import::{ImportError, Numbering, import};
pub use line::{Framing, Level, LineSection, Parity, Rs485By, Rs485Section};
pub use map::{MapError, MapSection, ReadMap};
pub use slave::{GroupSection, Report, SlaveSection};
pub(in crate::modbus) use written::{WrittenGroup, written};

use super::frame::{BITS_MAX, REGISTERS_MAX};
use crate::Span;

/// A Modbus bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Registers read with one request, and bits. Default: what a frame can hold, 125 and 2000.
    #[serde(default = "default_max_registers")]
    pub max_registers: u16,
    #[serde(default = "default_max_bits")]
    pub max_bits: u16,
    pub slave: Vec<SlaveSection>,
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

fn default_max_registers() -> u16 {
    REGISTERS_MAX
}

fn default_max_bits() -> u16 {
    BITS_MAX
}

impl ModbusSection {
    /// What is wrong with it: the key below the section, and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        self.line.problems(&mut problems);
        for (key, most, limit) in [
            ("max_registers", self.max_registers, REGISTERS_MAX),
            ("max_bits", self.max_bits, BITS_MAX),
        ] {
            if !(1..=limit).contains(&most) {
                problems.push((
                    key.into(),
                    format!("`{most}` is out of range; use 1 to {limit}"),
                ));
            }
        }
        if self.slave.is_empty() {
            problems.push((
                "slave".into(),
                "at least one [[modbus.slave]] is needed".into(),
            ));
        }
        for (index, slave) in self.slave.iter().enumerate() {
            slave.problems(self, &format!("slave[{index}]"), &mut problems);
        }
        problems
    }

    /// Key and value of each intent that a slave or a group names.
    pub fn intents(&self) -> impl Iterator<Item = (String, &Option<String>)> {
        self.slave.iter().enumerate().flat_map(|(s, slave)| {
            let own = (format!("slave[{s}].intent"), &slave.intent);
            let groups = slave.group.iter().enumerate();
            let groups = groups
                .map(move |(g, group)| (format!("slave[{s}].group[{g}].intent"), &group.intent));
            std::iter::once(own).chain(groups)
        })
    }

    /// The longest interval of its groups.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let groups = self.slave.iter().flat_map(|slave| {
            let groups = slave.group.iter();
            groups.map(|group| group.interval(slave).0)
        });
        groups.max().unwrap_or_default()
    }

    /// Whether events of this bus carry a tag of this name.
    #[must_use]
    pub fn gives_tag(&self, tag: &str) -> bool {
        tag == "slave"
    }
}
