//! What the sources give: said on the command line, measured by the running agent, or expected by the configuration.

use std::str::FromStr;
use std::time::Duration;

use adapters::Size;

use crate::config::{HEALTH, Intent, Intents, RECORD, Rate, RateSource as Source, expected_rate};
use crate::pace::number::float;
use crate::status::Snapshot;

/// Bytes of a heartbeat, roughly.
const HEARTBEAT: f64 = 2_000.0;

/// `state=10x200`: events a second, and bytes of a payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub intent: String,
    events_per_s: f64,
    bytes: f64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RateError {
    #[error(
        "`{0}` is no rate; write an intent, events a second and bytes of one, like state=10x200"
    )]
    Form(String),
    #[error("no intent is named `{name}`; there are {known}")]
    Intent { name: String, known: String },
}

impl FromStr for Given {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Given, RateError> {
        let wrong = || RateError::Form(text.into());
        let (intent, rate) = text.split_once('=').ok_or_else(wrong)?;
        let (events, bytes) = rate.split_once('x').ok_or_else(wrong)?;
        let events: f64 = events.parse().map_err(|_| wrong())?;
        let bytes: Size = bytes.parse().map_err(|_| wrong())?;
        if !events.is_finite() || events < 0.0 {
            return Err(wrong());
        }
        Ok(Given {
            intent: intent.into(),
            events_per_s: events,
            bytes: float(bytes.0),
        })
    }
}

/// In this order: what is given, what is measured, what is expected.
pub(crate) struct Rates<'a> {
    pub given: &'a [Given],
    pub measured: Option<&'a Snapshot>,
}

impl Rates<'_> {
    /// One for each intent, in order.
    pub(crate) fn of(
        &self,
        heartbeat: Duration,
        intents: &Intents,
    ) -> Result<Vec<Rate>, RateError> {
        for given in self.given {
            if intents.id(&given.intent).is_none() {
                return Err(RateError::Intent {
                    name: given.intent.clone(),
                    known: intents.names(),
                });
            }
        }
        let rates = intents
            .iter()
            .map(|(_, intent)| self.rate(heartbeat, intent));
        Ok(rates.collect())
    }

    fn rate(&self, heartbeat: Duration, intent: &Intent) -> Rate {
        let given = self.given.iter().find(|given| given.intent == intent.name);
        if let Some(given) = given {
            return Rate {
                events_per_s: given.events_per_s,
                bytes: given.bytes,
                stored: None,
                source: Source::Given,
            };
        }
        self.measured(&intent.name)
            .or_else(|| intent.expected.map(|expected| expected_rate(&expected)))
            .unwrap_or_else(|| unknown(heartbeat, &intent.name))
    }

    fn measured(&self, name: &str) -> Option<Rate> {
        let lanes = &self.measured?.lanes;
        let lane = lanes.iter().find(|lane| lane.name == name)?;
        let bytes = float(lane.event_bytes) - RECORD;
        Some(Rate {
            events_per_s: lane.usual_per_s,
            bytes: bytes.max(0.0),
            stored: lane.event_stored_bytes.map(float),
            source: Source::Measured,
        })
    }
}

/// Of the gateway's own reports the interval is known; of others nothing is.
fn unknown(heartbeat: Duration, name: &str) -> Rate {
    let interval = heartbeat.as_secs_f64().max(1.0);
    let is_health = name == HEALTH;
    Rate {
        events_per_s: if is_health { 1.0 / interval } else { 0.0 },
        bytes: if is_health { HEARTBEAT } else { 0.0 },
        stored: None,
        source: if is_health {
            Source::Expected
        } else {
            Source::Unknown
        },
    }
}
