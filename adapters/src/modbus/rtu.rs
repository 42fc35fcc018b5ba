//! An RTU master on any stream of bytes: a serial line, or RTU over TCP.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::frame::{ExchangeError, RTU_FRAME_MAX, Request};
use super::late::Late;
use super::line::gone;
use super::section::{LineSection, Parity};

/// Above 19200 baud the specification fixes t3.5 (Modbus over serial line V1.02 section 2.5.1.1).
const SILENCE_FIXED: Duration = Duration::from_micros(1_750);
/// After an answer that did not come, or that nobody asked for, the line has to be silent for so long: what is late is
/// thrown away.
const SETTLED: Duration = Duration::from_millis(50);
/// A line that does not fall silent is asked all the same after this.
const SETTLED_MOST: Duration = Duration::from_secs(1);
/// No slave answers later than that.
const LATEST: Duration = Duration::from_secs(10);
/// A slave whose answers were followed by something is given that silence after each of them for so long. What comes
/// later than t3.5, the first time, is not told from an answer to the next request if that has the same length.
const TALKATIVE: Duration = Duration::from_mins(10);

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
}

impl Timing {
    /// A character is a start bit, eight of data, one of parity if there is one, and its stop bits.
    pub(super) fn of(line: &LineSection) -> Timing {
        let parity = u32::from(line.parity != Parity::None);
        let bits = 9 + parity + u32::from(line.stop_bits());
        let character = Duration::from_secs(1) * bits / line.baud.max(1);
        let silence = if line.baud > 19_200 {
            SILENCE_FIXED
        } else {
            character * 7 / 2
        };
        Timing { character, silence }
    }

    /// What a request and a good answer take, character by character.
    pub(super) fn on_wire(self, request: Request) -> Duration {
        self.character * u32::try_from(request.rtu_characters()).unwrap_or(u32::MAX)
    }
}

pub(super) struct Rtu<W> {
    wire: W,
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
}

impl<W: AsyncRead + AsyncWrite + Unpin> Rtu<W> {
    pub(super) fn new(wire: W, timing: Timing, echo: bool) -> Rtu<W> {
        Rtu {
            wire,
            timing,
            echo,
            heard: Instant::now(),
            silence: SETTLED,
            late: Late::default(),
            answered: None,
            talkative: HashMap::new(),
        }
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
            let distinct =
                distinct.ok_or(ExchangeError::Broken("it may be one that comes late"))?;
            self.once(slave, distinct, manners).await?;
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
        match &outcome {
            Ok(_) => self.late.answered(slave),
            Err(ExchangeError::Silent | ExchangeError::Broken(_)) => {
                self.silence = self.silence.max(SETTLED);
                self.late.unanswered(slave, request, self.heard + LATEST);
            }
            Err(ExchangeError::Exception(_) | ExchangeError::Line(_)) => {}
        }
        outcome
    }

    /// Waits for the silence that is due before a request. What is heard meanwhile answers nothing, and is thrown away.
    async fn settle(&mut self) -> Result<(), ExchangeError> {
        let mut sink = [0; RTU_FRAME_MAX];
        let give_up = Instant::now() + SETTLED_MOST;
        while Instant::now() < give_up {
            match timeout_at(self.heard + self.silence, self.wire.read(&mut sink)).await {
                Err(_) => break,
                Ok(Ok(0)) => return Err(gone(std::io::ErrorKind::UnexpectedEof.into())),
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
        let frame = request.rtu(slave);
        self.wire.write_all(&frame).await.map_err(gone)?;
        let skipped = if self.echo { frame.len() } else { 0 };
        let until = Instant::now() + self.timing.on_wire(request) + timeout;
        let mut heard = Vec::with_capacity(RTU_FRAME_MAX);
        loop {
            if let Some((echo, answer)) = heard.split_at_checked(skipped)
                && request
                    .rtu_length(answer)
                    .is_some_and(|whole| answer.len() >= whole)
            {
                if !frame.starts_with(echo) {
                    return Err(ExchangeError::Broken("the echo is not what was sent"));
                }
                return request.rtu_data(slave, answer);
            }
            let mut part = [0; RTU_FRAME_MAX];
            match timeout_at(until, self.wire.read(&mut part)).await {
                Err(_) if heard.len() <= skipped => return Err(ExchangeError::Silent),
                Err(_) => return Err(ExchangeError::Broken("cut short")),
                Ok(Ok(0)) => return Err(gone(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(count)) => heard.extend(part.iter().take(count)),
                Ok(Err(error)) => return Err(gone(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
