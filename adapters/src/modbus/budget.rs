//! How much of a serial line's time a configuration takes. Pure.
//!
//! A read takes its request and its answer, each character by character, the silence between frames, what the slave
//! needs to begin, and what it needs afterwards (Modbus over serial line V1.02 section 2.5.1).

use std::time::Duration;

use super::master::Timing;
use super::section::{GroupSection, ModbusSection, SlaveSection};
use crate::Span;

/// From here on a line has no time left for slaves that are slow or do not answer.
const FULL: f64 = 0.8;

/// A line that has too much to do.
#[derive(Debug)]
pub struct Overload {
    /// The key below the section that is best changed.
    pub key: String,
    /// Of the line's time; above 1 it cannot be done.
    pub share: f64,
    pub message: String,
}

struct Load<'a> {
    key: String,
    group: &'a GroupSection,
    interval: Span,
    busy: Duration,
    share: f64,
}

impl ModbusSection {
    /// Whether the groups of a serial line take more of its time than it has, or nearly so.
    #[must_use]
    pub fn overload(&self) -> Option<Overload> {
        let port = self.line.port.as_ref()?;
        let loads = self.loads();
        let share: f64 = loads.iter().map(|load| load.share).sum();
        let most = loads.iter().max_by(|a, b| a.share.total_cmp(&b.share))?;
        if share <= FULL {
            return None;
        }
        let left = FULL - (share - most.share);
        let advice = if left > 0.0 {
            let interval = tidy(most.busy.div_f64(left));
            format!("give it \"{interval}\" instead of \"{}\"", most.interval)
        } else {
            format!(
                "make every interval {:.1} times as long",
                tenths(share / FULL)
            )
        };
        Some(Overload {
            key: format!("{}.interval", most.key),
            share,
            message: format!(
                "the groups of `{}` take {:.0} % of the time of {} at {} baud, of which `{}` {:.0} %; {advice}, or raise line.baud (a read takes \
                 {} here; slaves are taken to begin to answer after {}, which `response_time` says)",
                self.name,
                share * 100.0,
                port.display(),
                self.line.baud,
                most.group.name,
                most.share * 100.0,
                tidy(most.busy),
                self.response_time,
            ),
        })
    }

    fn loads(&self) -> Vec<Load<'_>> {
        let timing = Timing::of(&self.line);
        let mut loads = Vec::new();
        for (s, slave) in self.slave.iter().enumerate() {
            for (g, group) in slave.group.iter().enumerate() {
                let busy = self.busy(slave, group, timing);
                let interval = group.interval(slave);
                loads.push(Load {
                    key: slave.place(&format!("slave[{s}]"), g),
                    group,
                    interval,
                    busy,
                    share: busy.as_secs_f64() / interval.0.as_secs_f64().max(1e-3),
                });
            }
        }
        loads
    }

    /// What one read of a group keeps the line.
    fn busy(&self, slave: &SlaveSection, group: &GroupSection, timing: Timing) -> Duration {
        let turnaround = slave.turnaround.unwrap_or(self.turnaround).0;
        let coding = self.line.coding();
        let besides = timing.silence + self.response_time.0 + turnaround;
        self.requests(slave, group)
            .into_iter()
            .map(|request| timing.on_wire(coding, request) + besides)
            .sum()
    }
}

/// Rounded up to what a person would write.
fn tidy(time: Duration) -> Span {
    let step: u128 = match time.as_millis() {
        0..1_000 => 1,
        1_000..10_000 => 100,
        _ => 1_000,
    };
    let ms = time.as_micros().div_ceil(step * 1_000) * step;
    Span(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// Rounded up to tenths.
fn tenths(factor: f64) -> f64 {
    (factor * 10.0).ceil() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus(baud: u32, slaves: u8, interval: &str) -> ModbusSection {
        let slave = |address: u8| {
            format!(
                "[[slave]]\naddress = {address}\ndevice = \"d\"\n[[slave.group]]\nname = \"g{address}\"\ninterval = \"{interval}\"\n\
                 [[slave.group.field]]\nname = \"first\"\naddress = 0\n[[slave.group.field]]\nname = \"last\"\naddress = 9\n"
            )
        };
        let text = format!(
            "name = \"bus\"\nline = {{ port = \"/dev/ttyS1\", baud = {baud} }}\nresponse_time = \"10ms\"\n{}",
            (1..=slaves).map(slave).collect::<String>()
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_read_of_ten_registers_takes_its_characters_and_its_silences() {
        // 33 characters of 11 bits and t3.5 at 9,600 baud: 37.8 ms and 4.0 ms, and 10 ms to begin.
        let section = bus(9_600, 1, "1s");
        let share = section.loads()[0].share;
        assert!((0.0515..0.0520).contains(&share), "{share}");
        assert!(section.overload().is_none());
    }

    #[test]
    fn a_line_that_has_too_much_to_do_is_told_what_to_change() {
        for (slaves, interval, share, advice) in [
            (1, "50ms", 1.04, "give it \"65ms\" instead of \"50ms\""),
            (16, "1s", 0.83, "give it \"2300ms\" instead of \"1s\""),
            (40, "1s", 2.07, "make every interval 2.6 times as long"),
        ] {
            let overload = bus(9_600, slaves, interval).overload().unwrap();
            assert!((overload.share - share).abs() < 0.01, "{}", overload.share);
            assert!(overload.message.contains(advice), "{}", overload.message);
        }
        assert!(bus(9_600, 15, "1s").overload().is_none());
        assert!(bus(115_200, 40, "1s").overload().is_none());
    }

    #[test]
    fn what_is_advised_is_enough() {
        let mut section = bus(9_600, 16, "1s");
        let message = section.overload().unwrap().message;
        let advised = message.split("give it \"").nth(1).unwrap();
        let advised: Span = advised.split('"').next().unwrap().parse().unwrap();
        let last = section.slave.last_mut().unwrap();
        last.group[0].interval = Some(advised);
        assert!(section.overload().is_none(), "{message}");
    }
}
