//! A master on any stream of bytes: a serial line, or what one carries over TCP.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::coding::{ASCII_FRAME_MAX, Coding};
use super::exchange::{ExchangeError, gone, hung_up};
use super::frame::{FrameError, Request};
use super::late::Late;
use super::section::LineSection;
use super::wire::Wire;

/// Above 19200 baud the specification fixes t3.5 (Modbus over serial line V1.02 section 2.5.1.1).
const SILENCE_FIXED: Duration = Duration::from_micros(1_750);
/// After an answer that did not come, or that nobody asked for, the line has to be silent for so long: what is late is
/// thrown away.
const SETTLED: Duration = Duration::from_millis(50);
/// A line that does not fall silent is asked all the same after this.
const SETTLED_MOST: Duration = Duration::from_secs(1);
/// An answer that seems broken may have stray bytes before it: what is left of it comes within this, or within so many characters.
const REST: Duration = Duration::from_millis(20);
const REST_CHARACTERS: usize = 4;
/// No slave answers later than that.
const LATEST: Duration = Duration::from_secs(10);
/// A slave whose answers were followed by something is given that silence after each of them for so long. What comes
/// later than t3.5, the first time, is not told from an answer to the next request if that has the same length.
const TALKATIVE: Duration = Duration::from_mins(10);

/// A line that does not take a request within this is lost: the longest one takes 10 s at 300 baud.
const SAID: Duration = Duration::from_secs(30);

/// How a slave is to be treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    /// How long it may take to begin its answer.
    pub(super) timeout: Duration,
    /// Silence that it needs after its answer, besides t3.5.
    pub(super) turnaround: Duration,
}

/// Times of the line (Modbus over serial line V1.02 section 2.5.1.1).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timing {
    /// Of one character.
    pub(super) character: Duration,
    /// t3.5: between frames.
    pub(super) silence: Duration,
    /// The longest within a frame, if that is watched.
    pub(super) gap: Option<Duration>,
}

impl Timing {
    pub(super) fn of(line: &LineSection) -> Timing {
        let character = Duration::from_secs(1) * line.character_bits() / line.baud.max(1);
        let silence = if line.baud > 19_200 {
            SILENCE_FIXED
        } else {
            character * 7 / 2
        };
        Timing {
            character,
            silence,
            gap: line.gap.map(|gap| gap.0),
        }
    }

    /// What a request and a good answer take, character by character.
    pub(super) fn on_wire(self, coding: Coding, request: Request) -> Duration {
        self.characters(coding.characters(request))
    }

    fn characters(self, count: usize) -> Duration {
        self.character * u32::try_from(count).unwrap_or(u32::MAX)
    }
}

pub(super) struct Master<W> {
    wire: W,
    coding: Coding,
    timing: Timing,
    /// The line gives back what is sent, as an adapter for two wires may do.
    echo: bool,
    /// When the line was last heard, and the silence it needs from then on.
    heard: Instant,
    silence: Duration,
    late: Late,
    /// The slave that answered last, if it was the last that was asked.
    answered: Option<u8>,
    /// Those after whose answers something was heard, until when they are not trusted.
    talkative: HashMap<u8, Instant>,
    /// Bytes before answers that belonged to none.
    skipped: u64,
}

impl<W: Wire> Master<W> {
    pub(super) fn new(wire: W, coding: Coding, timing: Timing, echo: bool) -> Master<W> {
        Master {
            wire,
            coding,
            timing,
            echo,
            heard: Instant::now(),
            silence: SETTLED,
            late: Late::default(),
            answered: None,
            talkative: HashMap::new(),
            skipped: 0,
        }
    }

    /// Bytes before answers that belonged to none, since this was last asked.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// One request and its answer. Where a late answer to an earlier one would pass for it, another request goes first
    /// that tells.
    pub(super) async fn exchange(
        &mut self,
        slave: u8,
        request: Request,
        manners: Manners,
    ) -> Result<Vec<u8>, ExchangeError> {
        if self.late.passes(slave, request, Instant::now()) {
            let distinct = self.late.distinct(slave, request);
            let outcome = self.once(slave, distinct, manners).await;
            if let Err(error @ (ExchangeError::Silent | ExchangeError::Line(_))) = outcome {
                return Err(error);
            }
            if self.late.passes(slave, request, Instant::now()) {
                return Err(ExchangeError::Broken("it may be one that comes late"));
            }
        }
        self.once(slave, request, manners).await
    }

    async fn once(
        &mut self,
        slave: u8,
        request: Request,
        manners: Manners,
    ) -> Result<Vec<u8>, ExchangeError> {
        self.settle().await?;
        let outcome = self.ask(slave, request, manners.timeout).await;
        self.heard = Instant::now();
        self.silence = self.timing.silence + manners.turnaround;
        if self
            .talkative
            .get(&slave)
            .is_some_and(|until| *until > self.heard)
        {
            self.silence = self.silence.max(SETTLED);
        }
        self.answered = outcome.is_ok().then_some(slave);
        let latest = self.heard + LATEST;
        match &outcome {
            Ok(_) => self.late.answered(slave, request, latest),
            Err(ExchangeError::Exception(_)) => self.late.refused(slave, request, latest),
            Err(ExchangeError::Silent | ExchangeError::Broken(_)) => {
                self.silence = self.silence.max(SETTLED);
                self.late.unanswered(slave, request, latest);
            }
            Err(ExchangeError::Line(_)) => {}
        }
        outcome
    }

    /// Waits for the silence that is due before a request. What is heard meanwhile answers nothing, and is thrown away.
    pub(super) async fn settle(&mut self) -> Result<(), ExchangeError> {
        let mut sink = [0; ASCII_FRAME_MAX];
        let give_up = Instant::now() + SETTLED_MOST;
        while Instant::now() < give_up {
            match timeout_at(self.heard + self.silence, self.wire.read(&mut sink)).await {
                Err(_) => break,
                Ok(Ok(0)) => return Err(hung_up(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(_)) => {
                    self.heard = Instant::now();
                    self.silence = self.silence.max(SETTLED);
                    if let Some(slave) = self.answered.take() {
                        self.talkative.insert(slave, self.heard + TALKATIVE);
                    }
                }
                Ok(Err(error)) => return Err(gone(error)),
            }
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        slave: u8,
        request: Request,
        timeout: Duration,
    ) -> Result<Vec<u8>, ExchangeError> {
        let frame = self.coding.request(slave, request);
        let said = timeout_at(Instant::now() + SAID, self.say(&frame)).await;
        let said = said.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        said.map_err(hung_up)?;
        let skipped = if self.echo { frame.len() } else { 0 };
        let until = Instant::now() + self.timing.on_wire(self.coding, request) + timeout;
        let mut heard = Vec::with_capacity(ASCII_FRAME_MAX);
        loop {
            let mut broken = None;
            if let Some((echo, answer)) = heard.split_at_checked(skipped)
                && let Some(outcome) = self.coding.answer(slave, request, answer)
            {
                if !frame.starts_with(echo) {
                    return Err(ExchangeError::Broken("the echo is not what was sent"));
                }
                match outcome {
                    Err(FrameError::Broken(why)) => broken = Some(why),
                    Ok(_) | Err(FrameError::Exception(_)) => {
                        self.skipped += self.coding.skipped(slave, request, answer) as u64;
                        return Ok(outcome?);
                    }
                }
            }
            if heard.len() > skipped + ASCII_FRAME_MAX {
                return Err(ExchangeError::Broken("it does not end"));
            }
            let mut part = [0; ASCII_FRAME_MAX];
            let gap = self.timing.gap.filter(|_| heard.len() > skipped);
            let rest = broken.map(|_| REST.max(self.timing.characters(REST_CHARACTERS)));
            let pause = gap.into_iter().chain(rest).min();
            let until = pause.map_or(until, |pause| until.min(Instant::now() + pause));
            match timeout_at(until, self.wire.read(&mut part)).await {
                Err(_) if heard.len() <= skipped => return Err(ExchangeError::Silent),
                Err(_) => return Err(ExchangeError::Broken(broken.unwrap_or("cut short"))),
                Ok(Ok(0)) => return Err(lost(&heard, std::io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(count)) => heard.extend(part.iter().take(count)),
                Ok(Err(error)) => return Err(lost(&heard, error)),
            }
        }
    }

    async fn say(&mut self, frame: &[u8]) -> std::io::Result<()> {
        if !self.wire.is_told() {
            return self.wire.write_all(frame).await;
        }
        self.wire.talk(true)?;
        self.wire.write_all(frame).await?;
        sleep(self.timing.characters(frame.len())).await;
        self.wire.flush().await?;
        self.wire.talk(false)
    }
}

fn lost(heard: &[u8], error: std::io::Error) -> ExchangeError {
    if heard.is_empty() {
        hung_up(error)
    } else {
        gone(error)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod wires;
