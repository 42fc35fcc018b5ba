//! A line that is open, and kept open: a TCP connection is made again at once where its other end hung up between two
//! requests, or where nobody answers any more on one that was answered on.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{ExchangeError, LineError};
use super::frame::Request;
use super::line::Line;
use super::master::Manners;
use super::port::PortName;
use super::section::LineSection;

/// Timeouts in a row after which a connection is deaf, if they are of all slaves.
const DEAF: u32 = 3;
/// One on which nobody answered is given up for deaf after so long only: it may be the slaves that are dead.
const UNANSWERED: Duration = Duration::from_secs(10);

pub(super) struct Talk<'a> {
    line: Line,
    section: &'a LineSection,
    opened: Instant,
    /// Somebody has answered since then.
    answered: bool,
    timeouts: u32,
    /// Of each slave that was asked, whether it answered the last time.
    slaves: HashMap<u8, bool>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(line: Line, section: &'a LineSection) -> Talk<'a> {
        Talk {
            line,
            section,
            opened: Instant::now(),
            answered: false,
            timeouts: 0,
            slaves: HashMap::new(),
        }
    }

    /// Somebody has answered since the line was opened.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    pub(super) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// One request and its answer. A gateway that closes connections which are idle is asked again on another, at once.
    pub(super) async fn exchange(
        &mut self,
        slave: u8,
        request: Request,
        manners: Manners,
    ) -> Result<Vec<u8>, ExchangeError> {
        let mut outcome = self.line.exchange(slave, request, manners).await;
        let hung_up = matches!(outcome, Err(ExchangeError::Line(LineError::HungUp(_))));
        if hung_up && self.answered && self.is_tcp() {
            self.open_again().await?;
            outcome = self.line.exchange(slave, request, manners).await;
        }
        self.note(slave, &outcome);
        outcome
    }

    fn is_tcp(&self) -> bool {
        self.section.port.is_none()
    }

    fn note(&mut self, slave: u8, outcome: &Result<Vec<u8>, ExchangeError>) {
        match outcome {
            Err(ExchangeError::Silent) => {
                self.timeouts = self.timeouts.saturating_add(1);
                self.slaves.insert(slave, false);
            }
            Ok(_) | Err(ExchangeError::Broken(_) | ExchangeError::Exception(_)) => {
                self.timeouts = 0;
                self.answered = true;
                self.slaves.insert(slave, true);
            }
            Err(ExchangeError::Line(_)) => {}
        }
    }

    /// A TCP session answers nothing any more: its peer may have restarted without a word.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        let may_be = self.answered || now >= self.opened + UNANSWERED;
        let nobody = self.slaves.values().all(|answered| !answered);
        self.is_tcp() && self.timeouts >= DEAF && nobody && may_be
    }

    pub(super) async fn open_again(&mut self) -> Result<(), LineError> {
        let line = Line::open(self.section, &mut PortName::default()).await?;
        let slaves = std::mem::take(&mut self.slaves);
        *self = Talk {
            slaves,
            ..Talk::new(line, self.section)
        };
        Ok(())
    }
}
