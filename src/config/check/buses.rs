//! What is to be said of Modbus buses besides what each says of itself.

use std::collections::HashMap;

use super::Problems;
use crate::config::file::File;

pub(super) fn check(file: &File, found: &mut Problems<'_>) {
    let mut lines: HashMap<String, &str> = HashMap::new();
    for (index, bus) in file.modbus.iter().enumerate() {
        if let Some(overload) = bus.overload() {
            let key = format!("modbus[{index}].{}", overload.key);
            if overload.share > 1.0 {
                found.error(key, overload.message);
            } else {
                found.warn(key, overload.message);
            }
        }
        let line = bus.line.name();
        if let Some(other) = lines.insert(line.clone(), &bus.name) {
            let key = if bus.line.port.is_some() {
                "port"
            } else {
                "tcp"
            };
            found.warn(
                format!("modbus[{index}].line.{key}"),
                format!("`{line}` is the line of `{other}` too: a serial line, and many a gateway, takes one master alone, and the second is never read; put the slaves of both into one [[modbus]] section"),
            );
        }
    }
}
