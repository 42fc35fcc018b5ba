//! Register maps: what slaves of one make have in common, in a file of its own.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GroupSection, ModbusSection, SlaveSection};
use crate::Span;
use crate::modbus::frame::{BITS_MAX, REGISTERS_MAX};

/// A file that `map` of a slave names. Keys are those of the slave.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapSection {
    pub timeout: Option<Span>,
    pub turnaround: Option<Span>,
    pub max_gap: Option<u16>,
    pub max_registers: Option<u16>,
    pub max_bits: Option<u16>,
    #[serde(default)]
    pub forbidden: Vec<[u16; 2]>,
    pub one_request_per_field: Option<bool>,
    pub interval: Option<Span>,
    pub intent: Option<String>,
    pub group: Vec<GroupSection>,
}

#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: line {line}: {message}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },
}

/// Makes a map of a file's text; else the line where something is wrong, and what.
pub type ReadMap<'a> = &'a dyn Fn(&str) -> Result<MapSection, (usize, String)>;

impl MapSection {
    fn read(path: &Path, read: ReadMap<'_>) -> Result<(MapSection, String), MapError> {
        let path_of = || path.to_owned();
        let text = std::fs::read_to_string(path).map_err(|source| MapError::Read {
            path: path_of(),
            source,
        })?;
        match read(&text) {
            Ok(map) => Ok((map, text)),
            Err((line, message)) => Err(MapError::Syntax {
                path: path_of(),
                line,
                message,
            }),
        }
    }
}

impl MapSection {
    /// What is wrong with it by itself.
    pub(in crate::modbus) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (index, group) in self.group.iter().enumerate() {
            let most = if group.function <= 2 {
                self.max_bits.unwrap_or(BITS_MAX)
            } else {
                self.max_registers.unwrap_or(REGISTERS_MAX)
            };
            group.problems(most, &format!("group[{index}]"), &mut problems);
        }
        problems
    }
}

/// Where the map `name` is.
fn place(name: &Path, beside: &Path) -> PathBuf {
    let (beside, in_modbus) = (beside.join(name), beside.join("modbus").join(name));
    if beside.exists() { beside } else { in_modbus }
}

impl ModbusSection {
    /// Puts the maps that slaves name in their place; `beside` is the directory of the configuration, and `read` makes a map of a text.
    /// The texts go into `texts`, by the names that slaves give. Returns what is wrong with them: the key below the section, and what
    /// would be right.
    pub fn resolve(
        &mut self,
        beside: &Path,
        read: ReadMap<'_>,
        texts: &mut Vec<(PathBuf, String)>,
    ) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (index, slave) in self.slave.iter_mut().enumerate() {
            let Some(name) = slave.map.take() else {
                continue;
            };
            match MapSection::read(&place(&name, beside), read) {
                Ok((map, text)) => {
                    texts.push((name.clone(), text));
                    slave.take_over(name, map);
                }
                Err(error) => problems.push((format!("slave[{index}].map"), error.to_string())),
            }
        }
        problems
    }
}

impl SlaveSection {
    fn take_over(&mut self, name: PathBuf, map: MapSection) {
        self.mapped = (name, map.group.len());
        self.timeout = self.timeout.or(map.timeout);
        self.turnaround = self.turnaround.or(map.turnaround);
        self.max_gap = self.max_gap.or(map.max_gap);
        self.max_registers = self.max_registers.or(map.max_registers);
        self.max_bits = self.max_bits.or(map.max_bits);
        self.one_request_per_field = self.one_request_per_field.or(map.one_request_per_field);
        self.interval = self.interval.or(map.interval);
        self.intent = self.intent.take().or(map.intent);
        self.forbidden.extend(map.forbidden);
        self.group.splice(0..0, map.group);
    }
}
