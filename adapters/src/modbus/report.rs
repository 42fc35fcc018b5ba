//! The events of a bus: what a group read, and how a slave is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::exchange::ExchangeError;
use super::plan::Group;
use super::value::{self, Reading};
use crate::{AdapterKind, Event, Origin, Quality, Stamp};

/// What a block gave: its data, or the code that it was refused with.
pub(super) type Answer = Result<Vec<u8>, u8>;

/// The readings of all fields.
pub(super) fn readings(group: &Group, answers: &[Answer]) -> Vec<Reading> {
    let part = |span| {
        let blocks = (0..).map_while(|index| group.blocks.get(index));
        blocks.zip(answers).find_map(|(block, answer)| {
            let data = answer.as_ref().ok()?.as_slice();
            block.covers(span).then_some((block.request.address, data))
        })
    };
    let read = |field| value::reading_of(field, group.function, part);
    group.fields.iter().map(read).collect()
}

pub(super) fn good(group: &mut Group, values: Map<String, Value>, stamp: Stamp) -> Event {
    let mut report = json!({ "quality": "good" });
    report["values"] = Value::Object(values);
    event(group, Quality::Good, &report, stamp)
}

pub(super) fn bad(group: &mut Group, source: &str, error: &ExchangeError, stamp: Stamp) -> Event {
    let code = match error {
        ExchangeError::Exception(code) => json!(code),
        ExchangeError::Silent | ExchangeError::Broken(_) | ExchangeError::Line(_) => Value::Null,
    };
    // Nothing of the group can be read until that is changed. Of other refusals the health report says more, once.
    let advice = matches!(error, ExchangeError::Exception(1)).then(|| advice(1, group.function));
    let detail = match advice.flatten() {
        Some(advice) => format!("{error}: {advice}"),
        None => error.to_string(),
    };
    let report = json!({ "quality": "bad", "reason": error.reason(), "exception": code, "detail": detail,
        "source": source, "slave": group.slave });
    event(group, Quality::Bad, &report, stamp)
}

/// What to change where a slave refuses a read of `function` with an exception. Many devices know only one of the two
/// functions that read registers, or that read bits.
pub(super) fn advice(code: u8, function: u8) -> Option<String> {
    let (kind, other, other_kind) = match function {
        1 => ("coils", 2, "discrete inputs"),
        2 => ("discrete inputs", 1, "coils"),
        3 => ("holding registers", 4, "input registers"),
        _ => ("input registers", 3, "holding registers"),
    };
    match code {
        1 => Some(format!(
            "the slave does not read {kind} (function {function}); set function = {other} in the group if its manual has {other_kind}"
        )),
        2 | 3 => Some(format!(
            "the slave has no such {kind} (function {function}); look at the addresses, which count from 0, and whether its \
             manual has them as {other_kind} (function = {other})"
        )),
        _ => None,
    }
}

fn event(group: &mut Group, quality: Quality, report: &Value, stamp: Stamp) -> Event {
    group.count += 1;
    let origin = match quality {
        Quality::Good => &group.good,
        Quality::Bad => &group.bad,
    };
    Event {
        origin: Arc::clone(origin),
        stamp,
        mark: mark(stamp, group.count),
        payload: Bytes::from(report.to_string()),
        properties: None,
    }
}

/// Two reads of one group never fall on the same microsecond.
fn mark(stamp: Stamp, count: u64) -> u64 {
    stamp.unix_us.unsigned_abs().wrapping_add(count << 52)
}

/// The middle of an exchange that has just ended: no one knows when within it a slave looked at its registers.
pub(super) fn middle(ended: Stamp, took: Duration) -> Stamp {
    let half = took / 2;
    ended.earlier(u64::try_from(half.as_micros()).unwrap_or(u64::MAX))
}

/// How a slave is, when that changes.
#[derive(Debug, Clone)]
pub(super) enum SlaveChange {
    Silent {
        error: String,
    },
    Answers,
    /// It refuses registers with an exception.
    Refuses {
        first: u16,
        count: u16,
        code: u8,
    },
    /// A counter fell.
    Restarted {
        field: String,
    },
}

/// An event of the intent for health, of the line itself.
pub(super) fn line(
    state: &str,
    why: Option<&str>,
    source: &str,
    intent: &str,
    stamp: Stamp,
    count: u64,
) -> Event {
    let report = json!({ "state": state, "error": why, "source": source });
    let origin = origin(source, "line", "line", intent);
    health_event(origin, &report, stamp, count)
}

/// An event of the intent for health, of a slave.
pub(super) fn health(
    change: &SlaveChange,
    group: &Group,
    source: &str,
    intent: &str,
    stamp: Stamp,
    count: u64,
) -> Event {
    let mut report = match change {
        SlaveChange::Silent { error } => json!({ "state": "silent", "error": error }),
        SlaveChange::Answers => json!({ "state": "answers" }),
        SlaveChange::Refuses { first, count, code } => {
            json!({ "state": "refuses", "function": group.function, "first": first, "registers": count, "exception": code,
                "detail": advice(*code, group.function) })
        }
        SlaveChange::Restarted { field } => json!({ "state": "restarted", "counter": field }),
    };
    if let Some(report) = report.as_object_mut() {
        report.insert("source".into(), json!(source));
        report.insert("slave".into(), json!(group.slave));
    }
    let slave = group.slave.to_string();
    let origin = Origin {
        device: group.good.device.clone(),
        tags: BTreeMap::from([("slave".into(), slave.clone())]),
        ..origin(source, &slave, "slave", intent)
    };
    health_event(origin, &report, stamp, count)
}

/// Of an event on what is called `part` in its subject.
fn origin(source: &str, part: &str, kind: &str, intent: &str) -> Origin {
    Origin {
        adapter: AdapterKind::Modbus,
        source: source.to_owned(),
        subject: format!("{source}/{part}/health"),
        device: String::new(),
        kind: kind.to_owned(),
        tags: BTreeMap::new(),
        intent: Some(intent.to_owned()),
        content_type: Some("application/json".into()),
        quality: Quality::Good,
    }
}

fn health_event(origin: Origin, report: &Value, stamp: Stamp, count: u64) -> Event {
    Event {
        origin: Arc::new(origin),
        stamp,
        mark: mark(stamp, count),
        payload: Bytes::from(report.to_string()),
        properties: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::super::section::ModbusSection;
    use super::*;

    fn group(function: u8) -> Group {
        let section: Result<ModbusSection, _> = toml::from_str(&format!(
            "name = \"bus\"\nline = {{ port = \"/dev/ttyS1\" }}\n[[slave]]\naddress = 1\ndevice = \"d\"\n\
             [[slave.group]]\nname = \"g\"\nfunction = {function}\n[[slave.group.field]]\nname = \"x\"\naddress = 0\n"
        ));
        plan::groups(&section.unwrap(), &|_| false).remove(0)
    }

    fn detail(event: &Event) -> String {
        let report: Value = serde_json::from_slice(&event.payload).unwrap();
        report["detail"].as_str().unwrap_or_default().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_knows_one_function_is_told_of_with_the_other() {
        for (function, code, told, event_says) in [
            (3, 1, "set function = 4 in the group", true),
            (4, 1, "set function = 3 in the group", true),
            (1, 1, "set function = 2 in the group", true),
            (2, 1, "set function = 1 in the group", true),
            (3, 2, "input registers (function = 4)", false),
            (4, 3, "holding registers (function = 3)", false),
        ] {
            let mut group = group(function);
            let refuses = SlaveChange::Refuses {
                first: 0,
                count: 1,
                code,
            };
            let stamp = Stamp::default();
            let said = detail(&health(&refuses, &group, "bus", "health", stamp, 1));
            assert!(said.contains(told), "{said}");
            let error = ExchangeError::Exception(code);
            let said = detail(&bad(&mut group, "bus", &error, stamp));
            assert!(said.starts_with(&error.to_string()), "{said}");
            assert_eq!(said.contains(told), event_says, "{said}");
        }
    }
}
