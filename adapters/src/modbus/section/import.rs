//! A register map from a table: a line of names, then one field a row.
//!
//! Nothing of a table is lost silently, and nothing is guessed: what is not understood is an error that names its row, its
//! column, what stands there, and what would be right.

mod modicon;

mod table;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::written::{WrittenGroup, keys, written};
use super::{FieldSection, GroupSection, MapSection};
use table::Row;

/// What the addresses of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbering {
    /// As on the wire, from 0.
    Wire,
    /// 40001 is the first holding register, 30001 the first input register, 10001 the first discrete input, 00001 the first
    /// coil; or the same with six digits.
    Modicon,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read the table")]
    Table(#[from] csv::Error),
    #[error(
        "the table has no column `{0}`; it needs `name` and `address`, and may have `group`, `addresses`, and any key of a group or a field"
    )]
    Missing(&'static str),
    #[error("column `{name}`: {message}")]
    Column { name: String, message: String },
    #[error("row {row}, column `{column}`: {message}")]
    Cell {
        row: u64,
        column: String,
        message: String,
    },
    #[error("row {row}: {message}")]
    Row { row: u64, message: String },
    #[error("the table has a line of names and no rows; it needs one for each field")]
    Empty,
    #[error(
        "row {row}, column `address`: `{address}`, and all other addresses, may be in Modicon's numbering (40001 is holding register 0), which is not guessed: say --addresses modicon, or --addresses wire if they are as on the wire, from 0"
    )]
    Numbering { row: u64, address: String },
}

/// Keys whose value is a text, whatever it looks like.
const TEXTS: [&str; 10] = [
    "name",
    "interval",
    "intent",
    "report",
    "heartbeat",
    "window",
    "type",
    "order",
    "unit",
    "format",
];

/// What a group has said so far.
struct Group {
    /// The row that says what it has.
    first: u64,
    written: WrittenGroup,
    /// Names of its fields, and their rows.
    names: BTreeMap<String, u64>,
}

/// The map of a table as TOML. Rows of one `group` make one; the first of them says what the group has.
///
/// `numbering` is of rows whose column `addresses` does not say.
pub fn import(table: &str, numbering: Option<Numbering>) -> Result<String, ImportError> {
    let (names, rows) = table::read(table)?;
    columns(&names)?;
    if numbering.is_none() {
        is_unambiguous(&rows)?;
    }
    let mut groups: Vec<Group> = Vec::new();
    for row in &rows {
        let (head, field) = taken_apart(row, numbering)?;
        add(&mut groups, row, head, field)?;
    }
    if groups.is_empty() {
        return Err(ImportError::Empty);
    }
    let groups: Vec<WrittenGroup> = groups.into_iter().map(|group| group.written).collect();
    Ok(written(&groups))
}

fn is_of_group(column: &str) -> bool {
    !["name", "field"].contains(&column) && keys::<GroupSection>().contains(&column)
}

fn columns(names: &[String]) -> Result<(), ImportError> {
    for needed in ["name", "address"] {
        if !names.iter().any(|name| name == needed) {
            return Err(ImportError::Missing(needed));
        }
    }
    for (place, name) in names.iter().enumerate() {
        let wrong = |message: String| ImportError::Column {
            name: name.clone(),
            message,
        };
        let is_known = ["group", "addresses"].contains(&name.as_str())
            || is_of_group(name)
            || keys::<FieldSection>().contains(&name.as_str());
        if name.is_empty() {
            let message = format!("the column in place {} has no name", place + 1);
            return Err(wrong(message));
        }
        if !is_known {
            let of_group = keys::<GroupSection>().iter();
            let of_group: Vec<_> = of_group.filter(|key| is_of_group(key)).copied().collect();
            let message = format!(
                "no group or field has such a key; use group, addresses, {}, {}",
                of_group.join(", "),
                keys::<FieldSection>().join(", ")
            );
            return Err(wrong(message));
        }
        if names.iter().take(place).any(|before| before == name) {
            return Err(wrong("there are two of this name; leave one out".into()));
        }
    }
    Ok(())
}

/// Whether the addresses that nobody has said anything about cannot all be meant in two ways.
fn is_unambiguous(rows: &[Row]) -> Result<(), ImportError> {
    let unsaid = rows.iter().filter(|row| row.cell("addresses").is_none());
    let mut addresses = unsaid.map(|row| (row.number, row.cell("address").unwrap_or_default()));
    let first = addresses.clone().next();
    match first {
        Some((row, address)) if addresses.all(|(_, text)| modicon::place(text).is_some()) => {
            Err(ImportError::Numbering {
                row,
                address: address.to_owned(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// What a row says of its group, and its field.
fn taken_apart(row: &Row, numbering: Option<Numbering>) -> Result<(Table, Table), ImportError> {
    let (mut head, mut field) = (Table::new(), Table::new());
    for needed in ["name", "address"] {
        if row.cell(needed).is_none() {
            return Err(row.wrong(needed, "it is empty, and each field has one".into()));
        }
    }
    for (column, cell) in &row.cells {
        match column.as_str() {
            "group" | "addresses" => {}
            of_group if is_of_group(of_group) => {
                let value = understood::<GroupSection>("field = []", row, column, cell)?;
                head.insert(column.clone(), value);
            }
            // They are taken as they are meant below.
            "address" | "scale_from" => {}
            _ => {
                let value = understood::<FieldSection>("address = 0", row, column, cell)?;
                field.insert(column.clone(), value);
            }
        }
    }
    let numbering = match row.cell("addresses").map(str::to_lowercase).as_deref() {
        None => numbering,
        Some("wire") => Some(Numbering::Wire),
        Some("modicon") => Some(Numbering::Modicon),
        Some(other) => {
            return Err(row.wrong("addresses", format!("`{other}`; use wire or modicon")));
        }
    };
    let mut group = "all";
    for column in ["address", "scale_from"] {
        let Some(cell) = row.cell(column) else {
            continue;
        };
        let value = if numbering == Some(Numbering::Modicon) {
            let (function, address) = by_modicon(row, column, cell, &head)?;
            head.insert("function".into(), Value::from(i64::from(function)));
            group = of_function(function);
            Value::from(i64::from(address))
        } else {
            understood::<FieldSection>("address = 0", row, column, cell)?
        };
        field.insert(column.into(), value);
    }
    let group = row.cell("group").unwrap_or(group);
    head.insert("name".into(), Value::from(group));
    Ok((head, field))
}

/// Function and address on the wire; both agree with what is said of the group.
fn by_modicon(row: &Row, column: &str, cell: &str, head: &Table) -> Result<(u8, u16), ImportError> {
    let Some((function, address)) = modicon::place(cell) else {
        let message = format!(
            "`{cell}` is no number of Modicon's; use 40001 to 49999 for holding registers, 30001 for input registers, 10001 for \
             discrete inputs, 00001 for coils, or six digits, as in 400001"
        );
        return Err(row.wrong(column, message));
    };
    match head.get("function") {
        Some(said) if *said != Value::from(i64::from(function)) => {
            let message = format!(
                "`{cell}` is read with function {function}, and the row is of function {said}"
            );
            Err(row.wrong(column, message))
        }
        Some(_) | None => Ok((function, address)),
    }
}

/// What a group of a table in Modicon's numbering is called, as one group has one function.
fn of_function(function: u8) -> &'static str {
    match function {
        1 => "coils",
        2 => "discrete_inputs",
        4 => "input_registers",
        _ => "holding_registers",
    }
}

/// The value in a cell, if a section of `least` and that is understood.
fn understood<T: DeserializeOwned>(
    least: &str,
    row: &Row,
    column: &str,
    cell: &str,
) -> Result<Value, ImportError> {
    let value = if TEXTS.contains(&column) {
        Value::from(cell)
    } else {
        value(cell)
    };
    let mut section: Table = toml::from_str(least).unwrap_or_default();
    section.insert("name".into(), Value::from("x"));
    section.insert(column.into(), value.clone());
    match section.try_into::<T>() {
        Ok(_) => Ok(value),
        Err(error) => {
            let needed = needed(column).unwrap_or(error.message());
            Err(row.wrong(column, format!("`{cell}`: {needed}")))
        }
    }
}

/// What stands in a column, where that is better said than by types.
fn needed(column: &str) -> Option<&'static str> {
    Some(match column {
        "address" | "scale_from" => "use a whole number from 0 to 65535, in decimal or as 0x1F",
        "function" => "use 1, 2, 3 or 4",
        "length" | "bit" | "bits" | "count" => "use a whole number",
        "scale" | "offset" | "deadband" | "deadband_percent" => {
            "use a number with a point, as in 0.1"
        }
        "names" | "flags" => "use pairs in braces, as in { 0 = \"off\", 1 = \"on\" }",
        "missing" => "use numbers in brackets, as in [0x8000]",
        "blocks" => "use [[first, registers], ...]",
        _ => return None,
    })
}

/// Adds a row to its group, if it agrees with what was said before and is right.
fn add(groups: &mut Vec<Group>, row: &Row, head: Table, field: Table) -> Result<(), ImportError> {
    let is_same = |group: &&mut Group| group.written.head.get("name") == head.get("name");
    if let Some(group) = groups.iter_mut().find(is_same) {
        group.agrees(row, &head)?;
        return group.take(row, field);
    }
    let mut group = Group {
        first: row.number,
        written: WrittenGroup {
            head,
            fields: Vec::new(),
        },
        names: BTreeMap::new(),
    };
    group.take(row, field)?;
    groups.push(group);
    Ok(())
}

impl Group {
    fn agrees(&self, row: &Row, head: &Table) -> Result<(), ImportError> {
        let said = &self.written.head;
        let differs = |(key, value): &(&String, &Value)| said.get(*key) != Some(*value);
        let Some((key, value)) = head.iter().find(differs) else {
            return Ok(());
        };
        let before = said
            .get(key)
            .map_or("nothing".into(), |value| format!("`{}`", bare(value)));
        let message = format!(
            "`{}`, but row {}, the first of the group `{}`, says {before}; say it once for a group, in its first row, or name \
             another group",
            bare(value),
            self.first,
            said.get("name").map(bare).unwrap_or_default(),
        );
        Err(row.wrong(key, message))
    }

    fn take(&mut self, row: &Row, field: Table) -> Result<(), ImportError> {
        let name = row.cell("name").unwrap_or_default();
        if let Some(before) = self.names.insert(name.to_owned(), row.number) {
            let message = format!(
                "`{name}` is the field of row {before} already; use another name, or another group"
            );
            return Err(row.wrong("name", message));
        }
        check(&self.written.head, &field, row)?;
        self.written.fields.push(field);
        Ok(())
    }
}

/// As it stands in a cell.
fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a field is right in its group.
fn check(head: &Table, field: &Table, row: &Row) -> Result<(), ImportError> {
    let mut group = head.clone();
    group.insert("field".into(), Value::from(vec![field.clone()]));
    let map = Table::from_iter([("group".to_owned(), Value::from(vec![group]))]);
    let map: MapSection = map.try_into().map_err(|error| ImportError::Row {
        row: row.number,
        message: error.message().to_owned(),
    })?;
    let Some((key, message)) = map.problems().into_iter().next() else {
        return Ok(());
    };
    let column = key.rsplit('.').next().unwrap_or_default();
    let message = match row.cell(column) {
        Some(cell) if !message.starts_with('`') => format!("`{cell}`: {message}"),
        Some(_) | None => message,
    };
    Err(row.wrong(column, message))
}

/// A number in decimal or as `0x...`, or a text; an inline TOML value where it is in brackets or braces.
fn value(cell: &str) -> Value {
    let hex = cell.strip_prefix("0x").or_else(|| cell.strip_prefix("0X"));
    let hex = hex.and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let is_inline = cell.starts_with(['[', '{']);
    let inline = || {
        toml::from_str::<Table>(&format!("v = {cell}"))
            .ok()?
            .remove("v")
    };
    hex.or_else(|| cell.parse().ok())
        .map(Value::Integer)
        .or_else(|| cell.parse().ok().map(Value::Float))
        .or_else(|| cell.parse().ok().map(Value::Boolean))
        .or_else(|| is_inline.then(inline).flatten())
        .unwrap_or_else(|| Value::from(cell))
}

#[cfg(test)]
mod tests;
