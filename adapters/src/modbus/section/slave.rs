//! `[[modbus.slave]]` and `[[modbus.slave.group]]` as written.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FieldSection, ModbusSection};
use crate::Span;
use crate::modbus::frame::{BITS_MAX, REGISTERS_MAX};

/// A device on the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlaveSection {
    /// 1 to 247; a unit of Modbus TCP 0 to 255.
    pub address: u8,
    /// The event's device.
    pub device: String,
    /// A register map that many slaves share: a file in `modbus/` beside this one. Its groups come before those here, and
    /// what it says of the device counts where this section says nothing.
    pub map: Option<PathBuf>,
    /// As for the bus, for this slave alone.
    pub timeout: Option<Span>,
    pub turnaround: Option<Span>,
    pub max_gap: Option<u16>,
    pub max_registers: Option<u16>,
    pub max_bits: Option<u16>,
    /// Registers that are never read, not even along with others: `[[first, last], ...]`.
    #[serde(default)]
    pub forbidden: Vec<[u16; 2]>,
    /// Reads each field with a request of its own. Default: false.
    pub one_request_per_field: Option<bool>,
    /// Of groups that have none themselves. Default: `"1s"`.
    pub interval: Option<Span>,
    pub intent: Option<String>,
    #[serde(default)]
    pub group: Vec<GroupSection>,
    /// The map that the first groups are from, and how many.
    #[serde(skip)]
    pub(super) mapped: (PathBuf, usize),
}

/// Registers that are read together and make one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSection {
    /// The event's kind.
    pub name: String,
    /// Function: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers. Default: 3.
    #[serde(default = "default_function")]
    pub function: u8,
    /// Default: the slave's.
    pub interval: Option<Span>,
    pub intent: Option<String>,
    /// `"always"` (default): each read makes an event. `"change"`: one that changes nothing does not.
    #[serde(default)]
    pub report: Report,
    /// With `report = "change"`: an event at least so often. Default: `"5m"`.
    pub heartbeat: Option<Span>,
    /// One event for so long, with least, largest and mean value and the last one.
    pub window: Option<Span>,
    /// Reads exactly these blocks: `[[first, registers], ...]`.
    #[serde(default)]
    pub blocks: Vec<[u16; 2]>,
    pub field: Vec<FieldSection>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    #[default]
    Always,
    Change,
}

const INTERVAL: Span = Span(Duration::from_secs(1));
const INTERVAL_LEAST: Duration = Duration::from_millis(10);
const HEARTBEAT: Span = Span(Duration::from_mins(5));

fn default_function() -> u8 {
    3
}

impl GroupSection {
    pub(in crate::modbus) fn interval(&self, slave: &SlaveSection) -> Span {
        self.interval.or(slave.interval).unwrap_or(INTERVAL)
    }

    pub(in crate::modbus) fn heartbeat(&self) -> Span {
        self.heartbeat.unwrap_or(HEARTBEAT)
    }

    /// `most` registers or bits are read at once.
    pub(super) fn problems(&self, most: u16, at: &str, problems: &mut Vec<(String, String)>) {
        let mut wrong =
            |key: &str, message: String| problems.push((format!("{at}.{key}"), message));
        if !(1..=4).contains(&self.function) {
            let message = format!("`{}` does not read; use 1, 2, 3 or 4", self.function);
            wrong("function", message);
        }
        if let Some(interval) = self.interval.filter(|interval| interval.0 < INTERVAL_LEAST) {
            wrong(
                "interval",
                format!("`{interval}` is too short; use \"10ms\" or more"),
            );
        }
        if self.field.is_empty() {
            wrong(
                "field",
                "at least one [[modbus.slave.group.field]] is needed".into(),
            );
        }
        if self.window.is_some_and(|window| window.0.is_zero()) {
            wrong("window", "must be over 0".into());
        }
        if self.report == Report::Change && self.window.is_some() {
            wrong(
                "window",
                "does not go with report = \"change\"; leave one of them out".into(),
            );
        }
        if self.report == Report::Always && self.heartbeat.is_some() {
            wrong("heartbeat", "goes with report = \"change\"".into());
        }
        for [first, count] in self.blocks.iter().copied() {
            if !(1..=most).contains(&count) || u32::from(first) + u32::from(count) > 65_536 {
                let message = format!(
                    "[{first}, {count}] cannot be read at once; it is [first, registers], 1 to {most} of them"
                );
                wrong("blocks", message);
            }
        }
        self.field_problems(most, at, problems);
    }

    fn field_problems(&self, most: u16, at: &str, problems: &mut Vec<(String, String)>) {
        for (number, field) in self.field.iter().enumerate() {
            let at = format!("{at}.field[{number}]");
            let mut before = self.field.iter().take(number);
            if let Some(place) = before.position(|before| before.name == field.name) {
                let message = format!(
                    "`{}` is the name of field[{place}] too, and an event has one value of a name; use another",
                    field.name
                );
                problems.push((format!("{at}.name"), message));
            }
            field.problems(self.function, most, &at, problems);
            if !self.blocks.is_empty() {
                self.block_problems(field, &at, problems);
            }
        }
    }

    fn block_problems(&self, field: &FieldSection, at: &str, problems: &mut Vec<(String, String)>) {
        for (key, (first, registers)) in field.places(self.function) {
            let end = u32::from(first) + u32::from(registers);
            let covers = |[start, count]: &[u16; 2]| {
                *start <= first && end <= u32::from(*start) + u32::from(*count)
            };
            if !self.blocks.iter().any(covers) {
                let message =
                    format!("the field lies in none of the group's `blocks`, from `{first}` on");
                problems.push((format!("{at}.{key}"), message));
            }
        }
    }
}

impl SlaveSection {
    /// Registers or bits that one request may read.
    pub(in crate::modbus) fn most(&self, function: u8, bus: &ModbusSection) -> u16 {
        if function <= 2 {
            self.max_bits.unwrap_or(bus.max_bits).min(BITS_MAX)
        } else {
            self.max_registers
                .unwrap_or(bus.max_registers)
                .min(REGISTERS_MAX)
        }
    }

    pub(super) fn problems(
        &self,
        bus: &ModbusSection,
        at: &str,
        problems: &mut Vec<(String, String)>,
    ) {
        let mut wrong =
            |key: &str, message: String| problems.push((format!("{at}.{key}"), message));
        if !bus.line.is_modbus_tcp() && !(1..=247).contains(&self.address) {
            let message = format!(
                "`{}` is not a slave address; use 1 to 247 (0 to 255 are units of Modbus TCP)",
                self.address
            );
            wrong("address", message);
        }
        for (key, most, limit) in [
            ("max_registers", self.max_registers, REGISTERS_MAX),
            ("max_bits", self.max_bits, BITS_MAX),
        ] {
            if let Some(most) = most.filter(|most| !(1..=limit).contains(most)) {
                wrong(key, format!("`{most}` is out of range; use 1 to {limit}"));
            }
        }
        if let Some(interval) = self.interval.filter(|interval| interval.0 < INTERVAL_LEAST) {
            wrong(
                "interval",
                format!("`{interval}` is too short; use \"10ms\" or more"),
            );
        }
        for [first, last] in self.forbidden.iter().copied() {
            if first > last {
                wrong(
                    "forbidden",
                    format!("[{first}, {last}] is [first, last]; turn it round"),
                );
            }
        }
        for (index, group) in self.group.iter().enumerate() {
            let at = self.place(at, index);
            group.problems(self.most(group.function, bus), &at, problems);
            self.forbidden_problems(group, &at, problems);
        }
    }

    /// Where a group stands, for a person.
    pub(in crate::modbus) fn place(&self, at: &str, index: usize) -> String {
        let (map, mapped) = &self.mapped;
        if index < *mapped {
            format!("{at}.map {}: group[{index}]", map.display())
        } else {
            format!("{at}.group[{}]", index - mapped)
        }
    }

    fn forbidden_problems(
        &self,
        group: &GroupSection,
        at: &str,
        problems: &mut Vec<(String, String)>,
    ) {
        let meets = |first: u16, count: u16| {
            let last = first.saturating_add(count.saturating_sub(1));
            self.forbidden
                .iter()
                .find(|[from, to]| first <= *to && *from <= last)
        };
        for (number, field) in group.field.iter().enumerate() {
            for (key, (first, count)) in field.places(group.function) {
                if let Some([from, to]) = meets(first, count) {
                    problems.push((
                        format!("{at}.field[{number}].{key}"),
                        format!("`{first}` lies in the forbidden range [{from}, {to}]"),
                    ));
                }
            }
        }
        for [first, count] in &group.blocks {
            if let Some([from, to]) = meets(*first, *count) {
                problems.push((
                    format!("{at}.blocks"),
                    format!("[{first}, {count}] reads into the forbidden range [{from}, {to}]"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_group_have_names_of_their_own() {
        let field = "[[field]]\nname = \"x\"\naddress = 0\n";
        let group = format!("name = \"g\"\n{field}{field}");
        let group: GroupSection = toml::from_str(&group).unwrap();
        let mut problems = Vec::new();
        group.problems(REGISTERS_MAX, "group[0]", &mut problems);
        let [(key, message)] = problems.as_slice() else {
            panic!("one problem: {problems:?}");
        };
        assert_eq!(key, "group[0].field[1].name");
        assert!(message.starts_with("`x` is the name of field[0] too"));
    }
}
