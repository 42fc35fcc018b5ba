//! Values of many reads in one event.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::modbus::section::FieldSection;
use crate::modbus::value::Reading;

#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    ends: Instant,
    /// By field.
    sums: Vec<Sum>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    least: f64,
    largest: f64,
    total: f64,
    count: u32,
}

impl Sum {
    fn take(&mut self, number: f64) {
        (self.least, self.largest) = if self.count == 0 {
            (number, number)
        } else {
            (self.least.min(number), self.largest.max(number))
        };
        self.total += number;
        self.count += 1;
    }
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Window {
        Window {
            length,
            ends: now + length,
            sums: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, readings: &[Reading]) {
        self.sums.resize(readings.len(), Sum::default());
        for (sum, reading) in self.sums.iter_mut().zip(readings) {
            if let Some(number) = reading.number {
                sum.take(number);
            }
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    /// A read in vain. Returns whether the window is over and had nothing else.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let is_empty = self.is_over(now) && self.sums.is_empty();
        if is_empty {
            self.begin(now);
        }
        is_empty
    }

    /// Adds what the window had to the last values, and begins the next one.
    pub(super) fn end(
        &mut self,
        fields: &[FieldSection],
        values: &mut Map<String, Value>,
        now: Instant,
    ) {
        for (field, sum) in fields.iter().zip(&self.sums) {
            let entry = values.get_mut(&field.name).and_then(Value::as_object_mut);
            let Some(entry) = entry.filter(|_| sum.count > 0) else {
                continue;
            };
            entry.insert("min".into(), json!(sum.least));
            entry.insert("max".into(), json!(sum.largest));
            entry.insert("mean".into(), json!(sum.total / f64::from(sum.count)));
            entry.insert("count".into(), json!(sum.count));
        }
        self.begin(now);
    }

    /// Windows keep their phase, also where a read came late.
    fn begin(&mut self, now: Instant) {
        self.sums.clear();
        while self.ends <= now {
            self.ends += self.length;
        }
    }
}
