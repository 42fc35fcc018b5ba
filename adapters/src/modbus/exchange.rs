//! Why a line, or an exchange on it, fails.

use super::frame::FrameError;
use super::port::PortError;

#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        source: std::io::Error,
    },
    #[error("the line is gone: {0}")]
    Gone(std::io::Error),
    /// Before a byte of the answer: a gateway may do so with a connection that was idle.
    #[error("the other end closed the connection before it answered: {0}")]
    HungUp(std::io::Error),
    /// For this reason, and not opened again yet.
    #[error("{0}")]
    Lost(String),
    #[error("no group is to be read")]
    NothingToRead,
}

/// Why a request has no values.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("no answer in time")]
    Silent,
    #[error("broken answer: {0}")]
    Broken(&'static str),
    #[error("exception {0} ({name})", name = exception_name(*.0))]
    Exception(u8),
    #[error(transparent)]
    Line(#[from] LineError),
}

impl ExchangeError {
    /// Exceptions 5 and 6: the slave says to ask again.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, ExchangeError::Exception(5 | 6))
    }

    /// The slave itself said so, and is well. Exceptions 10 and 11 come from a gateway before it.
    pub(super) fn is_from_slave(&self) -> bool {
        matches!(self, ExchangeError::Exception(code) if !(10..=11).contains(code))
    }

    /// A word for it in events.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            ExchangeError::Silent => "timeout",
            ExchangeError::Broken(_) => "broken_answer",
            ExchangeError::Exception(_) => "exception",
            ExchangeError::Line(_) => "line",
        }
    }
}

impl From<FrameError> for ExchangeError {
    fn from(error: FrameError) -> ExchangeError {
        match error {
            FrameError::Broken(why) => ExchangeError::Broken(why),
            FrameError::Exception(code) => ExchangeError::Exception(code),
        }
    }
}

/// Application Protocol section 7.
fn exception_name(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "server device failure",
        5 => "acknowledge",
        6 => "server device busy",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target did not respond",
        _ => "unknown",
    }
}

pub(super) fn hung_up(error: std::io::Error) -> ExchangeError {
    ExchangeError::Line(LineError::HungUp(error))
}

pub(super) fn gone(error: std::io::Error) -> ExchangeError {
    ExchangeError::Line(LineError::Gone(error))
}
