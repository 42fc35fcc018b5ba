//! A register map from a table: CSV with a line of names, one field a row.

use toml::{Table, Value};

use super::MapSection;

/// Columns that are of the group.
const OF_GROUP: [&str; 6] = [
    "function",
    "interval",
    "intent",
    "report",
    "heartbeat",
    "window",
];

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read the table: {0}")]
    Table(#[from] csv::Error),
    #[error(
        "the table has no column `{0}`; it needs `name` and `address`, and may have `group` and any key of a group or a field"
    )]
    Column(&'static str),
    #[error("row {row}: {message}")]
    Row { row: usize, message: String },
}

/// The map of a table as TOML. Rows of one `group` make one; the first of them says what the group has.
pub fn import(table: &str) -> Result<String, ImportError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(table.as_bytes());
    let names = reader.headers()?.clone();
    for needed in ["name", "address"] {
        if !names.iter().any(|name| name == needed) {
            return Err(ImportError::Column(needed));
        }
    }
    let mut groups: Vec<Table> = Vec::new();
    for (row, record) in (2..).zip(reader.records()) {
        let record = record?;
        let mut field = Table::new();
        let mut group = Table::from_iter([("name".to_owned(), Value::from("all"))]);
        for (name, cell) in names
            .iter()
            .zip(&record)
            .filter(|(_, cell)| !cell.is_empty())
        {
            if name == "group" {
                group.insert("name".into(), Value::from(cell));
            } else if OF_GROUP.contains(&name) {
                group.insert(name.into(), value(cell));
            } else if ["name", "unit", "type", "order", "format"].contains(&name) {
                field.insert(name.into(), Value::from(cell));
            } else {
                field.insert(name.into(), value(cell));
            }
        }
        add(&mut groups, group, field);
        check(&groups, row)?;
    }
    Ok(written(&groups))
}

fn add(groups: &mut Vec<Table>, mut group: Table, field: Table) {
    let is_same = |one: &&mut Table| one.get("name") == group.get("name");
    if let Some(Value::Array(fields)) = groups
        .iter_mut()
        .find(is_same)
        .and_then(|one| one.get_mut("field"))
    {
        fields.push(Value::Table(field));
    } else {
        group.insert("field".into(), Value::Array(vec![Value::Table(field)]));
        groups.push(group);
    }
}

/// Whatever the row added is understood.
fn check(groups: &[Table], row: usize) -> Result<(), ImportError> {
    let map = written(groups);
    let wrong = |message: String| ImportError::Row { row, message };
    let map: MapSection =
        toml::from_str(&map).map_err(|error| wrong(error.message().to_owned()))?;
    match map.problems().into_iter().next() {
        Some((key, message)) => Err(wrong(format!("{key}: {message}"))),
        None => Ok(()),
    }
}

fn written(groups: &[Table]) -> String {
    let groups = groups.iter().cloned().map(Value::Table).collect();
    Table::from_iter([("group".to_owned(), Value::Array(groups))]).to_string()
}

/// A number in decimal or as `0x...`, or a text; an inline TOML value where it is in brackets or braces.
fn value(cell: &str) -> Value {
    let hex = cell
        .strip_prefix("0x")
        .and_then(|digits| i64::from_str_radix(digits, 16).ok());
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
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_a_map() {
        let map = import(
            "group,interval,function,name,address,type,scale,unit,missing,names\n\
             measured,1s,4,voltage,0x10,u16,0.1,V,\"[0x8000]\",\n\
             measured,,,state,18,,,,,\"{ 0 = \"\"off\"\", 1 = \"\"on\"\" }\"\n\
             # a remark\n\
             energy,1m,,import,100,u32,,kWh,,\n",
        );
        let map: MapSection = toml::from_str(&map.unwrap()).unwrap();
        let [measured, energy] = map.group.as_slice() else {
            panic!("two groups: {map:?}");
        };
        assert_eq!((measured.function, measured.field.len()), (4, 2));
        assert_eq!(
            (measured.field[0].address, measured.field[0].scale),
            (16, Some(0.1))
        );
        assert_eq!(measured.field[0].missing.len(), 1);
        assert_eq!(measured.field[1].names["1"], "on");
        assert_eq!(
            (energy.function, energy.field[0].unit.as_deref()),
            (3, Some("kWh"))
        );
    }

    #[test]
    fn what_is_wrong_in_a_table_is_said_with_its_row() {
        for (table, message) in [
            ("name,type\nx,u16\n", "no column `address`"),
            ("name,address\nx,0\ny,99999\n", "row 3: "),
            (
                "name,address,type\nx,0,u17\n",
                "row 2: unknown variant `u17`",
            ),
            (
                "name,address,colour\nx,0,red\n",
                "row 2: unknown field `colour`",
            ),
            (
                "name,address,type,length\nx,0,string,\n",
                "row 2: group[0].field[0].length: missing",
            ),
            ("name,address\nx,0,1\n", "cannot read the table"),
        ] {
            let error = import(table).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
