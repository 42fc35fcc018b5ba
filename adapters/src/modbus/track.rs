//! What the reads of a group make of each other: changes, windows, rates of counters. Pure: time comes in as an argument.

mod window;

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::window::Window;
use super::section::{FieldSection, GroupSection, Report, TypeName};
use super::value::{Count, FieldQuality, Reading};

#[derive(Debug)]
pub(super) struct Track {
    heartbeat: Duration,
    /// None where every read makes an event.
    reported: Option<Reported>,
    window: Option<Window>,
    /// Each field's count and when it was read.
    counts: Vec<Option<(Count, Instant)>>,
}

#[derive(Debug, Default)]
struct Reported {
    at: Option<Instant>,
    /// What was reported last: readings, or the reason why there were none.
    readings: Vec<Reading>,
    reason: Option<&'static str>,
}

/// What became of a good read.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The values of the event, if there is to be one.
    pub(super) values: Option<Map<String, Value>>,
    /// The field whose counter fell without having been near its end: the device began anew.
    pub(super) restarted: Option<String>,
}

impl Track {
    pub(super) fn new(group: &GroupSection, now: Instant) -> Track {
        Track {
            heartbeat: group.heartbeat().0,
            reported: (group.report == Report::Change).then(Reported::default),
            window: group.window.map(|length| Window::new(length.0, now)),
            counts: vec![None; group.field.len()],
        }
    }

    /// A read of all fields, at `now`.
    pub(super) fn take(
        &mut self,
        fields: &[FieldSection],
        function: u8,
        readings: Vec<Reading>,
        now: Instant,
    ) -> Taken {
        let (rates, restarted) = self.rates(fields, function, &readings, now);
        let entries = fields.iter().zip(&readings).zip(&rates);
        if let Some(window) = &mut self.window {
            window.take(&readings);
            if !window.is_over(now) {
                return Taken {
                    values: None,
                    restarted,
                };
            }
        }
        let is_due = match &mut self.reported {
            None => true,
            Some(reported) => reported.is_due(fields, &readings, self.heartbeat, now),
        };
        let mut values: Option<Map<String, Value>> = is_due.then(|| {
            entries
                .map(|((field, reading), rate)| (field.name.clone(), entry(field, reading, *rate)))
                .collect()
        });
        if let (Some(window), Some(values)) = (&mut self.window, &mut values) {
            window.end(fields, values, now);
        }
        if let Some(reported) = self.reported.as_mut().filter(|_| is_due) {
            *reported = Reported {
                at: Some(now),
                readings,
                reason: None,
            };
        }
        Taken { values, restarted }
    }

    /// A read in vain. Returns whether that makes an event.
    pub(super) fn failed(&mut self, reason: &'static str, now: Instant) -> bool {
        if let Some(window) = &mut self.window {
            return window.failed(now);
        }
        let Some(reported) = &mut self.reported else {
            return true;
        };
        if reported.reason == Some(reason) && !reported.is_old(self.heartbeat, now) {
            return false;
        }
        *reported = Reported {
            at: Some(now),
            readings: Vec::new(),
            reason: Some(reason),
        };
        true
    }

    /// Rates of counters, and the field that shows a restart of the device.
    fn rates(
        &mut self,
        fields: &[FieldSection],
        function: u8,
        readings: &[Reading],
        now: Instant,
    ) -> (Vec<Option<f64>>, Option<String>) {
        let mut restarted = None;
        let all = self.counts.iter_mut().zip(fields).zip(readings);
        let rates = all
            .map(|((last, field), reading)| {
                let (per, count) = (field.rate_per?.0, reading.count?);
                let (before, then) = last.replace((count, now))?;
                if before.power != count.power {
                    // Counted in another unit now: it fell or rose without anything having been counted.
                    return None;
                }
                let largest = largest(field, function);
                let Some(rise) = rise(before.number, count.number, largest) else {
                    restarted = Some(field.name.clone());
                    return None;
                };
                let took = now.saturating_duration_since(then).as_secs_f64();
                let rise = count.amount(rise, field);
                (took > 0.0).then(|| rise / took * per.as_secs_f64())
            })
            .collect();
        (rates, restarted)
    }
}

impl Reported {
    fn is_old(&self, heartbeat: Duration, now: Instant) -> bool {
        self.at.is_none_or(|at| now >= at + heartbeat)
    }

    fn is_due(
        &self,
        fields: &[FieldSection],
        readings: &[Reading],
        heartbeat: Duration,
        now: Instant,
    ) -> bool {
        let changed = fields
            .iter()
            .zip(&self.readings)
            .zip(readings)
            .any(|((field, before), reading)| has_changed(field, before, reading));
        changed || self.readings.len() != readings.len() || self.is_old(heartbeat, now)
    }
}

fn has_changed(field: &FieldSection, before: &Reading, reading: &Reading) -> bool {
    if before.quality != reading.quality {
        return true;
    }
    let (Some(was), Some(is)) = (before.number, reading.number) else {
        return before.value != reading.value;
    };
    let percent = field
        .deadband_percent
        .map(|percent| was.abs() * percent / 100.0);
    let band = field.deadband.into_iter().chain(percent).reduce(f64::max);
    band.map_or(before.value != reading.value, |band| {
        (is - was).abs() > band
    })
}

/// The largest count that a field can hold.
fn largest(field: &FieldSection, function: u8) -> u64 {
    let registers = u32::from(field.each(function));
    if field.kind(function) == TypeName::Bcd {
        return 10_u64.pow(registers * 4) - 1;
    }
    u64::MAX >> (64 - (registers * 16).clamp(1, 64))
}

/// By how much a counter rose; from near its end to near its beginning it rolled over. `None` where it fell.
fn rise(before: u64, count: u64, largest: u64) -> Option<u64> {
    let quarter = largest / 4;
    if count >= before {
        Some(count - before)
    } else if before >= largest - quarter && count <= quarter {
        Some(largest - before + count + 1)
    } else {
        None
    }
}

fn entry(field: &FieldSection, reading: &Reading, rate: Option<f64>) -> Value {
    let mut entry = json!({ "value": reading.value, "quality": reading.quality.name() });
    let Some(map) = entry.as_object_mut() else {
        return entry;
    };
    if let Some(unit) = &field.unit {
        map.insert("unit".into(), json!(unit));
    }
    if field.rate_per.is_some() && reading.quality == FieldQuality::Good {
        map.insert("rate".into(), json!(rate));
    }
    entry
}

#[cfg(test)]
mod tests;
