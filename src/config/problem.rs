//! What is wrong in a configuration.

use std::fmt::{self, Write};

use adapters::Escaped;

/// Characters of a problem that are shown; the longest of ours have half of that.
const PRINTED_MAX: usize = 2000;

/// Something that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Path of the key: `intent[0].budget`.
    pub key: String,
    /// The layer that it is in, where it is not in the file itself.
    pub layer: Option<String>,
    /// Line in that, where the key stands in it.
    pub line: Option<usize>,
    /// What is there and what would be right.
    pub message: String,
    pub weight: Weight,
}

/// What follows from a problem, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Nothing can run with it.
    Error,
    /// `check` refuses it; an agent runs without this setting, so that no upgrade keeps a gateway from starting.
    LeftOut,
    /// `check` refuses it; an agent runs with it, as versions before did: what never works then is in the message.
    Tolerated,
    /// It can run, and somebody should know.
    Warning,
}

impl Problem {
    /// An error, of all of it where `key` is empty.
    pub(super) fn whole(key: &str, message: String) -> Problem {
        Problem {
            key: key.into(),
            layer: None,
            line: None,
            message,
            weight: Weight::Error,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(layer) = &self.layer {
            write!(Escaped::new(f, PRINTED_MAX), "{layer}: ")?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        // Values of the file are in both.
        let weight = match self.weight {
            Weight::Warning => "warning: ",
            Weight::Error | Weight::LeftOut | Weight::Tolerated => "",
        };
        // None where it is the file as a whole.
        let colon = if self.key.is_empty() { "" } else { ": " };
        write!(
            Escaped::new(f, PRINTED_MAX),
            "{weight}{}{colon}{}",
            self.key,
            self.message
        )
    }
}
