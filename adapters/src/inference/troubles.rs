//! What is logged of messages that are not as they should be: each kind of trouble once an hour at most, as a program that writes
//! one such line mostly writes many. The status counts them all, with the last reason.

use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Flaw, MessageError};

/// How long after a kind of trouble was logged it is logged again.
const AGAIN: Duration = Duration::from_hours(1);

/// When each kind of trouble of an input was last logged. There are as many as the two enums have variants.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<Vec<(Kind, Instant)>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LeftOut(Discriminant<MessageError>),
    Flawed(Discriminant<Flaw>),
}

impl Troubles {
    pub(super) fn left_out(&self, source: &str, error: &MessageError) {
        if self.is_due(Kind::LeftOut(discriminant(error)), Instant::now()) {
            tracing::warn!(source, %error,
                "what a program sent is no event and was left out; `errors` of the source counts all such messages; mend the program, or raise `max_event` where they are too long");
        }
    }

    pub(super) fn flawed(&self, source: &str, flaw: &Flaw) {
        if self.is_due(Kind::Flawed(discriminant(flaw)), Instant::now()) {
            tracing::warn!(source, error = %flaw,
                "what a program wrote was not understood in full; its event is kept, with `tg-quality: bad`; `errors` of the source counts all such events; mend the program");
        }
    }

    fn is_due(&self, kind: Kind, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, at)| now - *at < AGAIN);
        let is_new = told.iter().all(|(known, _)| *known != kind);
        if is_new {
            told.push((kind, now));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_trouble_is_told_once_an_hour() {
        let (troubles, now) = (Troubles::default(), Instant::now());
        let time = Kind::Flawed(discriminant(&Flaw::Time));
        let long = Kind::LeftOut(discriminant(&MessageError::TooLong(1)));
        assert!(troubles.is_due(time, now) && troubles.is_due(long, now));
        assert!(!troubles.is_due(time, now + AGAIN / 2));
        assert!(troubles.is_due(time, now + AGAIN));
    }
}
