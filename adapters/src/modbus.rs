//! Modbus master: RTU on a serial line or over TCP, and Modbus TCP.
//!
//! One bus is one line and one master. Groups of registers are read at their own interval, neighbours
//! in one request; each read of a group makes one event of JSON. A slave that does not answer makes
//! an event of quality `bad` that says why, and costs the others its time-out, no more: after some
//! failures it is asked seldom until it answers again. Tidegate never writes to a slave.

mod section;

mod budget;

mod frame;

mod map;

mod plan;

mod late;

mod line;

mod rtu;

mod standing;

mod report;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

pub use budget::Overload;
pub use section::{
    FieldSection, Framing, GroupSection, LineSection, ModbusSection, Parity, SlaveSection,
    TypeName, WordOrder,
};

use crate::{Backoff, Intake, Outcome, Receipts, Stop, stopped};
use frame::ExchangeError;
use line::{Line, LineError};
use plan::Group;
use standing::Standing;

/// A port that is gone gives an error at once and for ever.
const REOPEN_FIRST: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(10);

/// One `[[modbus]]` bus.
#[derive(Debug)]
pub struct Modbus {
    section: ModbusSection,
    groups: Vec<Group>,
}

impl Modbus {
    /// The section was checked.
    #[must_use]
    pub fn new(section: &ModbusSection) -> Modbus {
        Modbus {
            groups: plan::groups(section),
            section: section.clone(),
        }
    }

    /// Runs until stopped; the port is opened again for ever.
    pub async fn run(mut self, intake: Intake, mut receipts: Receipts, mut stop: Stop) {
        let mut backoff = Backoff::new(REOPEN_FIRST, REOPEN_MOST);
        let mut told = false;
        loop {
            let ended = tokio::select! {
                ended = self.bus(&intake, &mut receipts, &mut backoff, &mut told) => ended,
                () = stopped(&mut stop) => break,
            };
            intake.stats.down(&ended);
            if !told {
                warn!(source = %self.section.name, port = %self.section.line.name(), error = %ended, "modbus line lost; opening it again until it works");
                told = true;
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = stopped(&mut stop) => break,
            }
        }
        while receipts.outstanding() > 0 {
            receipts.next().await;
        }
    }

    /// Polls until the line is lost.
    async fn bus(
        &mut self,
        intake: &Intake,
        receipts: &mut Receipts,
        backoff: &mut Backoff,
        told: &mut bool,
    ) -> LineError {
        let mut line = match Line::open(&self.section).await {
            Ok(line) => line,
            Err(error) => return error,
        };
        let begun = Instant::now();
        let mut standings: HashMap<u8, Standing> = HashMap::new();
        for (index, group) in self.groups.iter_mut().enumerate() {
            // Spread over the interval, so that groups of one interval do not pile up.
            let share = u32::try_from(index).unwrap_or(0) * group.interval / 16;
            group.due = begun + share.min(group.interval);
        }
        info!(source = %self.section.name, port = %self.section.line.name(), "modbus line open");
        intake.stats.up();
        backoff.reset();
        *told = false;
        loop {
            let due = self.groups.iter_mut().min_by_key(|group| group.due);
            let Some(group) = due else {
                return LineError::NothingToRead;
            };
            sleep_until(group.due).await;
            let now = Instant::now();
            group.due = next_due(group.due, group.interval, now);
            let standing = standings.entry(group.slave);
            let standing = standing.or_insert_with(|| Standing::new(now));
            if standing.may_be_asked(now) {
                let retries = if standing.is_silent() {
                    0
                } else {
                    self.section.retries
                };
                let outcome = read(&mut line, group, retries).await;
                if let Err(ExchangeError::Line(error)) = outcome {
                    return error;
                }
                judge(
                    standing,
                    group,
                    &outcome,
                    now.elapsed(),
                    &self.section.name,
                    intake,
                );
                intake
                    .submit(report::event(
                        group,
                        &self.section.name,
                        outcome,
                        intake.now(),
                    ))
                    .await;
            }
            count_refused(receipts, intake);
        }
    }
}

fn count_refused(receipts: &mut Receipts, intake: &Intake) {
    while let Some(outcome) = receipts.ready() {
        if let Outcome::Refused(_) = outcome {
            intake
                .stats
                .refused
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Keeps the phase: after a stall the missed polls are left out, not made up for.
fn next_due(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now {
        return next;
    }
    let missed = now.saturating_duration_since(due).as_nanos() / interval.as_nanos().max(1);
    due + interval * u32::try_from(missed + 1).unwrap_or(1)
}

/// Reads all blocks of a group, each with so many further attempts.
async fn read(line: &mut Line, group: &Group, retries: u8) -> Result<Vec<Vec<u8>>, ExchangeError> {
    let mut answers = Vec::with_capacity(group.requests.len());
    for request in &group.requests {
        let mut tries = 0;
        answers.push(loop {
            match line.exchange(group.slave, *request, group.manners).await {
                Ok(data) => break data,
                Err(ExchangeError::Line(error)) => return Err(ExchangeError::Line(error)),
                // An exception is an answer: asking again gives the same, unless the slave is busy.
                Err(error @ ExchangeError::Exception(_)) if !error.is_busy() => return Err(error),
                Err(error) if tries >= retries => return Err(error),
                Err(_) => tries += 1,
            }
        });
    }
    Ok(answers)
}

/// `cost` is how long the read kept the line.
fn judge(
    standing: &mut Standing,
    group: &Group,
    outcome: &Result<Vec<Vec<u8>>, ExchangeError>,
    cost: Duration,
    source: &str,
    intake: &Intake,
) {
    let (now, slave) = (Instant::now(), group.slave);
    match outcome {
        // An exception comes from a slave that is alive.
        Ok(_) | Err(ExchangeError::Exception(_)) => {
            if standing.answered(now) {
                info!(source, slave, "modbus slave answers again");
            }
        }
        Err(error) => {
            intake.stats.error(&format!("slave {slave}: {error}"));
            if standing.failed(cost, now) {
                warn!(source, slave, %error, "modbus slave does not answer; it is asked seldom until it does; look at its power, wiring and address");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_schedule_keeps_its_phase_after_a_stall() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(next_due(begun, second, begun), begun + second);
        assert_eq!(
            next_due(begun, second, begun + Duration::from_millis(3_400)),
            begun + second * 4
        );
    }
}
