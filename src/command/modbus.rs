//! `tidegate modbus`: a look at a bus by hand, for whoever stands in front of the cabinet. Only reads.

mod arguments;

mod sunspec;

use std::io::Write;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use adapters::Span;
use adapters::modbus::{Answer, Place, Probe, ProbeError, import, ms, value_of};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::console::{fail, runtime};
pub(super) use arguments::ModbusArguments;
use arguments::{Bus, Target, Task};

#[derive(Debug, thiserror::Error)]
pub(super) enum DoctorError {
    #[error("{0}")]
    Bus(String),
    #[error(
        "{0}; if it is the agent, `tidegate status` shows how its slaves are: stop the agent for as long as you look"
    )]
    InUse(ProbeError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("cannot read {path} as a text in UTF-8")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    SunSpec(#[from] sunspec::LookError),
    #[error(transparent)]
    Import(#[from] adapters::modbus::ImportError),
    #[error("cannot write")]
    Output(#[from] std::io::Error),
}

pub(super) fn run(arguments: &ModbusArguments) -> ExitCode {
    match perform(arguments, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Runs one of the commands and writes what it finds.
fn perform(arguments: &ModbusArguments, out: &mut dyn Write) -> Result<(), DoctorError> {
    if let Task::Import { table, addresses } = &arguments.task {
        let text = if table.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(table)
        };
        let text = text.map_err(|source| DoctorError::Read {
            path: table.display().to_string(),
            source,
        })?;
        return Ok(write!(out, "{}", import(&text, *addresses)?)?);
    }
    runtime()?.block_on(async {
        match &arguments.task {
            Task::Scan {
                bus,
                timeout,
                slave: Some(slave),
                map,
                ..
            } => {
                let timeout = timeout.map_or(Duration::from_secs(1), |timeout| timeout.0);
                let mut probe = open(bus).await?;
                sunspec::look(&mut probe, *slave, timeout, map.as_deref(), out).await?;
                Ok(())
            }
            Task::Scan {
                bus,
                from,
                to,
                timeout,
                ..
            } => {
                let timeout = timeout.map_or(Duration::from_millis(100), |timeout| timeout.0);
                scan(&mut open(bus).await?, *from..=*to, timeout, out).await
            }
            Task::Read { bus, target } => read(&mut open(bus).await?, target, out).await,
            Task::Watch {
                bus,
                target,
                interval,
                times,
            } => watch(&mut open(bus).await?, target, interval.0, *times, out).await,
            Task::Bench { bus, target, times } => {
                bench(&mut open(bus).await?, target, *times, out).await
            }
            Task::Import { .. } => Ok(()),
        }
    })
}

async fn open(bus: &Bus) -> Result<Probe, DoctorError> {
    let line = bus.line().map_err(DoctorError::Bus)?;
    Probe::open(&line).await.map_err(|source| {
        if source.to_string().contains("another program has it open") {
            DoctorError::InUse(source)
        } else {
            source.into()
        }
    })
}

/// Asks every address for its first holding register; whatever comes back, somebody is there.
async fn scan(
    probe: &mut Probe,
    slaves: RangeInclusive<u8>,
    timeout: Duration,
    out: &mut dyn Write,
) -> Result<(), DoctorError> {
    let mut found = 0;
    let asked = slaves.len();
    if asked == 0 {
        return Err(DoctorError::Bus(format!(
            "--from {} is after --to {}; turn them round",
            slaves.start(),
            slaves.end()
        )));
    }
    for slave in slaves {
        let place = Place {
            slave,
            function: 3,
            address: 0,
            count: 1,
        };
        let said = match probe.read(place, timeout).await {
            Ok(answer) => format!("answers after {}", ms(answer.took)),
            Err(ProbeError::Answer {
                error,
                took,
                is_exception: true,
                ..
            }) => format!("is there, and says after {}: {error}", ms(took)),
            Err(ProbeError::Answer { error, .. }) if error.starts_with("broken") => {
                format!(
                    "says something else: {error}; look at baud, parity and wiring, and for a second slave with this address"
                )
            }
            Err(ProbeError::Answer { .. }) => continue,
            Err(error @ (ProbeError::Line(_) | ProbeError::Place { .. })) => {
                return Err(error.into());
            }
        };
        found += 1;
        writeln!(out, "slave {slave} {said}")?;
    }
    writeln!(out, "{found} of {asked} addresses answered")?;
    Ok(())
}

async fn read(probe: &mut Probe, target: &Target, out: &mut dyn Write) -> Result<(), DoctorError> {
    let place = place(target)?;
    let answer = probe.read(place, target.timeout.0).await?;
    if is_raw(target) {
        writeln!(
            out,
            "{:>14}  {:<6} {:>6} {:>7}",
            "address", "hex", "u16", "i16"
        )?;
    }
    for (name, value) in values(target, place, &answer) {
        writeln!(out, "{name:>14}  {value}")?;
    }
    writeln!(out, "answered after {}", ms(answer.took))?;
    Ok(())
}

fn place(target: &Target) -> Result<Place, DoctorError> {
    target.place().map_err(DoctorError::Bus)
}

/// Writes what changes.
async fn watch(
    probe: &mut Probe,
    target: &Target,
    every: Duration,
    times: Option<u32>,
    out: &mut dyn Write,
) -> Result<(), DoctorError> {
    let place = place(target)?;
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (begun, mut before) = (Instant::now(), Vec::new());
    let mut left = times;
    while left != Some(0) {
        ticks.tick().await;
        left = left.map(|left| left - 1);
        let now = match probe.read(place, target.timeout.0).await {
            Ok(answer) => values(target, place, &answer),
            Err(error @ ProbeError::Answer { .. }) => vec![(String::new(), error.to_string())],
            Err(error @ (ProbeError::Line(_) | ProbeError::Place { .. })) => {
                return Err(error.into());
            }
        };
        for (name, value) in now.iter().filter(|entry| !before.contains(*entry)) {
            writeln!(
                out,
                "{:>9.3} s {name:>14}  {value}",
                begun.elapsed().as_secs_f64()
            )?;
        }
        out.flush()?;
        before = now;
    }
    Ok(())
}

/// Measures round trips, and says what follows for the configuration.
async fn bench(
    probe: &mut Probe,
    target: &Target,
    times: u32,
    out: &mut dyn Write,
) -> Result<(), DoctorError> {
    let place = place(target)?;
    let (mut took, mut failed, begun) = (Vec::new(), 0_u32, Instant::now());
    for _ in 0..times {
        match probe.read(place, target.timeout.0).await {
            Ok(answer) => took.push(answer.took),
            Err(ProbeError::Answer { error, .. }) => {
                failed += 1;
                writeln!(out, "{error}")?;
            }
            Err(error @ (ProbeError::Line(_) | ProbeError::Place { .. })) => {
                return Err(error.into());
            }
        }
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    let Some((middle, longest)) = took.get(took.len() / 2).zip(took.last()) else {
        return Err(DoctorError::Bus(format!(
            "none of {times} reads was answered; `tidegate modbus scan` looks who is there"
        )));
    };
    writeln!(
        out,
        "{} of {times} reads answered, {failed} not; {:.1} a second",
        took.len(),
        f64::from(times) / elapsed.as_secs_f64()
    )?;
    // Nothing is faster than its own characters: a port that is has no line.
    let by_baud = probe.on_wire(place);
    let wire = by_baud.filter(|wire| wire <= middle);
    let of_wire = match (wire, by_baud) {
        (Some(wire), _) => format!(", of which {} go over the wire", ms(wire)),
        (None, Some(by_baud)) => format!(
            "; the port seems to have no real line, as a pseudo-terminal has none: at its baud rate the wire alone takes {}",
            ms(by_baud)
        ),
        (None, None) => String::new(),
    };
    let (most, usual) = (ms(*longest), ms(*middle));
    writeln!(
        out,
        "round trip {usual} in the middle, {most} at most{of_wire}"
    )?;
    let begins = |took: Duration| took.saturating_sub(wire.unwrap_or_default());
    let max_gap = wire.and_then(|_| probe.max_gap(begins(*middle)));
    suggest(
        begins(*longest),
        begins(*middle),
        max_gap,
        elapsed / times.max(1),
        out,
    )
}

/// `longest` and `usual`: until an answer begins; `each`: from one read to the next.
fn suggest(
    longest: Duration,
    usual: Duration,
    max_gap: Option<u16>,
    each: Duration,
    out: &mut dyn Write,
) -> Result<(), DoctorError> {
    let (timeout, response) = (rounded(longest * 3, 50), rounded(usual, 1));
    writeln!(out, "suggested:")?;
    writeln!(out, "  timeout = \"{timeout}\"  # three times the slowest")?;
    writeln!(
        out,
        "  response_time = \"{response}\"  # for what `check` sums up"
    )?;
    if let Some(gap) = max_gap {
        writeln!(
            out,
            "  max_gap = {gap}  # so many registers cost less than another request"
        )?;
    }
    let least = rounded(each * 5 / 4, 10);
    writeln!(
        out,
        "  interval = \"{least}\"  # at least, for this read alone on the line"
    )?;
    Ok(())
}

fn rounded(time: Duration, step: u64) -> Span {
    let steps = time.as_micros().div_ceil(u128::from(step) * 1000).max(1);
    let ms = u64::try_from(steps)
        .unwrap_or(u64::MAX)
        .saturating_mul(step);
    Span(Duration::from_millis(ms))
}

/// Whether each register is shown by itself.
fn is_raw(target: &Target) -> bool {
    target.kind.is_none() && target.function > 2
}

/// Each register or bit by its address; or the values of a type.
fn values(target: &Target, place: Place, answer: &Answer) -> Vec<(String, String)> {
    if is_raw(target) {
        let registers = answer.data.as_chunks::<2>().0.iter();
        return registers
            .zip(place.address..)
            .map(|(bytes, address)| {
                let word = u16::from_be_bytes(*bytes);
                let signed = i16::from_be_bytes(*bytes);
                (
                    shown(address),
                    format!("0x{word:04X} {word:>6} {signed:>7}"),
                )
            })
            .collect();
    }
    (0..place.count)
        .step_by(usize::from(target.each().max(1)))
        .map(|start| {
            let address = place.address + start;
            let (value, quality) = value_of(&target.field(address), place, &answer.data);
            let value = if quality == "good" {
                value.to_string()
            } else {
                quality.to_owned()
            };
            (shown(address), value)
        })
        .collect()
}

fn shown(address: u16) -> String {
    format!("{address} (0x{address:04X})")
}
