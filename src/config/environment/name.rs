//! The place that the name of a variable stands for: `MQTT__PLANT__PORT` is `port` of the `[[mqtt]]` whose name is `plant`.

use serde_json::Value;

use super::super::expected::{Expected, Schema};
use super::super::place::{self, Step};
use super::super::words::hint;

const SEPARATOR: &str = "__";

/// The place that a name stands for.
pub(super) fn resolve<'a>(
    merged: &Value,
    schema: &'a Schema,
    name: &str,
) -> Result<(Vec<Step>, Expected<'a>), String> {
    let parts: Vec<&str> = name.split(SEPARATOR).collect();
    let (mut rest, mut steps) = (parts.as_slice(), Vec::new());
    let (mut here, mut expected) = (Some(merged), schema.root());
    while let Some((part, more)) = rest.split_first() {
        let (step, below, left) = if let Some((key, below)) = expected.key(part) {
            (Step::Key(key.to_owned()), below, more)
        } else if let Some(below) = expected.element() {
            let list = here
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            let (index, taken) =
                element(list, rest).ok_or_else(|| no_element(&place::path(&steps), list, part))?;
            let left = rest.get(taken..).unwrap_or_default();
            (Step::Index(index), below, left)
        } else if let Some(below) = expected.free() {
            let key = free_key(&place::path(&steps), here, &rest.join(SEPARATOR));
            (Step::Key(key), below, &[][..])
        } else {
            return Err(unknown(
                &place::path(&steps),
                &part.to_ascii_lowercase(),
                &expected,
            ));
        };
        here = here.and_then(|here| match &step {
            Step::Key(key) => here.get(key),
            Step::Index(index) => here.get(index),
        });
        steps.push(step);
        (expected, rest) = (below, left);
    }
    Ok((steps, expected))
}

fn unknown(table: &str, name: &str, expected: &Expected<'_>) -> String {
    let path = if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    };
    let keys = expected.keys();
    if keys.is_empty() && !table.is_empty() {
        return format!("unknown key `{path}`; `{table}` has no keys below it");
    }
    format!("unknown key `{path}`; {}", hint(name, &keys))
}

/// Which element of `list` the first of `parts` names, by its number or by its `name`, and over how many of them the name goes.
fn element(list: &[Value], parts: &[&str]) -> Option<(usize, usize)> {
    let first = parts.first()?;
    let number = first.parse().ok().filter(|index| *index < list.len());
    if let Some(index) = number {
        return Some((index, 1));
    }
    (1..=parts.len()).find_map(|taken| {
        let name = folded(&parts.get(..taken)?.join(SEPARATOR));
        let is_it = |one: &Value| {
            one.get("name").and_then(Value::as_str).map(folded).as_ref() == Some(&name)
        };
        let mut found = list.iter().enumerate().filter(|(_, one)| is_it(one));
        let (index, _) = found.next()?;
        found.next().is_none().then_some((index, taken))
    })
}

fn no_element(list: &str, elements: &[Value], part: &str) -> String {
    let part = part.to_ascii_lowercase();
    let names = elements.iter().filter_map(|one| one.get("name")?.as_str());
    let names: Vec<&str> = names.collect();
    let numbers = match elements.len() {
        0 => return format!("`{list}` has no element `{part}`; the file has none of it"),
        1 => "0".to_owned(),
        count => format!("0 to {}", count - 1),
    };
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(", or the name of one: {}", names.join(", "))
    };
    format!("`{list}` has no element `{part}`, or several; use {numbers}{names}")
}

/// A key that whoever writes the file chooses: as it is there, as librdkafka has it, or else in small letters.
fn free_key(table: &str, here: Option<&Value>, name: &str) -> String {
    let name = folded(name);
    let there = here.and_then(Value::as_object).into_iter().flatten();
    let mut there = there.map(|(key, _)| key.as_str());
    if let Some(key) = there.find(|key| folded(key) == name) {
        return key.to_owned();
    }
    if table == "uplink.kafka" {
        let mut known = crate::uplink::setting_names();
        if let Some(key) = known.find(|key| folded(key) == name) {
            return key.to_owned();
        }
    }
    name
}

/// As the name of a variable can say it: without capitals, dots and hyphens.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['.', '-'], "_")
}
