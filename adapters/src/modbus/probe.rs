//! A look at a bus by hand: single reads, with what they took. It writes nothing, as the master does not.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::exchange::LineError;
use super::frame::{BITS_MAX, REGISTERS_MAX, Request};
use super::line::Line;
use super::master::{Manners, Timing};
use super::port::PortName;
use super::section::{FieldSection, LineSection};
use super::value;

/// An open line.
pub struct Probe {
    line: Line,
    timing: Option<Timing>,
    section: LineSection,
}

/// Registers or bits of a slave.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub slave: u8,
    pub function: u8,
    pub address: u16,
    pub count: u16,
}

/// What a slave answered, and when.
#[derive(Debug)]
pub struct Answer {
    /// Registers, high byte first, or bits, the first one lowest.
    pub data: Vec<u8>,
    pub took: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("{0}")]
    Line(String),
    #[error(
        "{what} cannot be read at once; function 1 and 2 read 1 to {BITS_MAX} bits, 3 and 4 read 1 to {REGISTERS_MAX} registers, and addresses end at 65535 (0xFFFF)"
    )]
    Place { what: String },
    #[error("slave {slave}: {error} after {}", ms(*took))]
    Answer {
        slave: u8,
        error: String,
        took: Duration,
        /// It is there, and says that it cannot.
        is_exception: bool,
    },
}

impl From<LineError> for ProbeError {
    fn from(error: LineError) -> ProbeError {
        ProbeError::Line(error.to_string())
    }
}

impl Place {
    fn request(self) -> Result<Request, ProbeError> {
        let most = match self.function {
            1 | 2 => BITS_MAX,
            3 | 4 => REGISTERS_MAX,
            _ => 0,
        };
        let end = u32::from(self.address) + u32::from(self.count);
        if !(1..=most).contains(&self.count) || end > 65_536 {
            let Place {
                function,
                address,
                count,
                ..
            } = self;
            let what = if function <= 2 { "bits" } else { "registers" };
            let what = format!(
                "function {function}, {count} {what} from address {address} (0x{address:04X})"
            );
            return Err(ProbeError::Place { what });
        }
        Ok(Request {
            function: self.function,
            address: self.address,
            count: self.count,
        })
    }
}

impl Probe {
    /// Takes the line for itself, or says who has it.
    pub async fn open(section: &LineSection) -> Result<Probe, ProbeError> {
        let mut problems = Vec::new();
        section.problems(&mut problems);
        if let Some((key, message)) = problems.into_iter().next() {
            return Err(ProbeError::Line(format!("{key}: {message}")));
        }
        let line = Line::open(section, &mut PortName::default()).await?;
        Ok(Probe {
            line,
            timing: section.port.as_ref().map(|_| Timing::of(section)),
            section: section.clone(),
        })
    }

    /// One request and its answer.
    pub async fn read(&mut self, place: Place, timeout: Duration) -> Result<Answer, ProbeError> {
        let request = place.request()?;
        let manners = Manners {
            timeout,
            turnaround: Duration::ZERO,
        };
        self.line.settle().await?;
        let begun = Instant::now();
        let outcome = self.line.exchange(place.slave, request, manners).await;
        let took = begun.elapsed();
        match outcome {
            Ok(data) => Ok(Answer { data, took }),
            Err(super::exchange::ExchangeError::Line(error)) => Err(error.into()),
            Err(error) => Err(ProbeError::Answer {
                slave: place.slave,
                is_exception: error.is_from_slave(),
                error: error.to_string(),
                took,
            }),
        }
    }

    /// What a read and its answer take on a serial line by arithmetic; `None` of TCP.
    pub fn on_wire(&self, place: Place) -> Option<Duration> {
        let request = place.request().ok()?;
        let timing = self.timing?;
        Some(timing.on_wire(self.section.coding(), request))
    }

    /// How many registers can be read along in the time of one more request, if a slave takes so long to begin.
    pub fn max_gap(&self, begins_after: Duration) -> Option<u16> {
        let timing = self.timing?;
        let read = |count| {
            let request = Request {
                function: 3,
                address: 0,
                count,
            };
            timing.on_wire(self.section.coding(), request)
        };
        let register = read(2).saturating_sub(read(1)).as_secs_f64();
        let another =
            read(1).saturating_sub(read(2).saturating_sub(read(1))) + timing.silence + begins_after;
        let count = (another.as_secs_f64() / register).floor().min(125.0);
        (0..=REGISTERS_MAX)
            .rev()
            .find(|most| f64::from(*most) <= count)
    }
}

/// A time as a person reads it: whole milliseconds, tenths below ten.
#[must_use]
pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    // What would be rounded to ten is ten.
    let digits = usize::from(ms < 9.95);
    format!("{ms:.digits$} ms")
}

/// The value of a field in what was read from `place`, and its quality.
#[must_use]
pub fn value_of(field: &FieldSection, place: Place, data: &[u8]) -> (Value, &'static str) {
    let reading = value::reading(field, place.function, place.address, data);
    (reading.value, reading.quality.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_as_a_person_reads_it() {
        for (us, said) in [
            (0, "0.0 ms"),
            (851, "0.9 ms"),
            (9_940, "9.9 ms"),
            (9_960, "10 ms"),
            (301_460, "301 ms"),
            (2_000_000, "2000 ms"),
        ] {
            assert_eq!(ms(Duration::from_micros(us)), said);
        }
    }

    #[test]
    fn what_cannot_be_read_at_once_is_said_with_its_unit_and_place() {
        for (function, address, count, said) in [
            (
                3,
                31,
                126,
                "function 3, 126 registers from address 31 (0x001F)",
            ),
            (1, 0, 2001, "function 1, 2001 bits from address 0 (0x0000)"),
            (4, 65_535, 2, "addresses end at 65535"),
            (3, 0, 0, "function 3, 0 registers"),
        ] {
            let place = Place {
                slave: 1,
                function,
                address,
                count,
            };
            let error = place.request().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
