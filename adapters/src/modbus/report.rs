//! The event of one read of a group.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::frame::ExchangeError;
use super::map;
use super::plan::Group;
use crate::{Event, Stamp};

pub(super) fn event(
    group: &mut Group,
    source: &str,
    outcome: Result<Vec<Vec<u8>>, ExchangeError>,
    stamp: Stamp,
) -> Event {
    group.count += 1;
    let (origin, report) = match outcome {
        Ok(answers) => (&group.good, good(group, &answers)),
        Err(error) => {
            let code = match error {
                ExchangeError::Exception(code) => json!(code),
                ExchangeError::Silent | ExchangeError::Broken(_) | ExchangeError::Line(_) => {
                    Value::Null
                }
            };
            let report = json!({ "quality": "bad", "reason": error.reason(), "exception": code, "detail": error.to_string(),
                "source": source, "slave": group.slave });
            (&group.bad, report)
        }
    };
    Event {
        origin: Arc::clone(origin),
        stamp,
        // Two reads of one group never fall on the same microsecond.
        mark: stamp.unix_us.unsigned_abs().wrapping_add(group.count << 52),
        payload: Bytes::from(report.to_string()),
    }
}

fn good(group: &Group, answers: &[Vec<u8>]) -> Value {
    let mut values = Map::new();
    for field in &group.fields {
        let value = group
            .requests
            .iter()
            .zip(answers)
            .find_map(|(request, data)| {
                let covers = field.address >= request.address
                    && field.address - request.address < request.count;
                covers
                    .then(|| map::value(field, group.function, request.address, data))
                    .flatten()
            });
        let quality = if value.is_some() { "good" } else { "bad" };
        let mut entry = json!({ "value": value, "quality": quality });
        if let (Some(unit), Some(entry)) = (&field.unit, entry.as_object_mut()) {
            entry.insert("unit".into(), json!(unit));
        }
        values.insert(field.name.clone(), entry);
    }
    json!({ "quality": "good", "values": values })
}
