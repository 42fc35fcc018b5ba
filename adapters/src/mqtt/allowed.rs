//! What of the properties of a message (MQTT 5 section 3.3.2.3) goes with its event: user properties and the content type that the
//! configuration names become headers of the record, and how long the message is of use is kept beside it.
//!
//! Whoever publishes chooses how many there are and how long. So they are looked at where they are, what is not named costs no
//! memory, and a text that is too long is left out, counted and logged. What cannot be read takes no message with it: the broker
//! would offer it again for ever.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::Lost;
use super::few::Few;
use super::headers::CONTENT_TYPE;
use super::packet::Message;
use super::properties::{self, Value};
use crate::{Properties, SourceStats};

/// Bytes of a text: with as many as there may be, the headers are no larger than a small payload. What is longer belongs there.
const TEXT_BYTES_MAX: usize = 1024;
/// Identifiers of properties (MQTT 5 section 2.2.2.2).
const EXPIRY_INTERVAL: u8 = 0x02;
const CONTENT_TYPE_OF: u8 = 0x03;
const USER_PROPERTY: u8 = 0x26;

/// The properties that are taken.
#[derive(Debug)]
pub(super) struct Allowed {
    /// Of user properties.
    names: Vec<String>,
    content_type: bool,
    told: Told,
}

/// Properties that were left out, as far as the log names them.
#[derive(Debug)]
struct Told {
    source: String,
    /// Names whose text was too long.
    too_long: Few,
    /// Topics whose properties could not be read.
    malformed: Few,
}

/// What a message has of what is taken, as it came.
#[derive(Debug, Default)]
struct Found {
    /// By the place of their name.
    texts: Vec<Option<Bytes>>,
    content_type: Option<Bytes>,
    expiry_s: Option<u32>,
}

impl Allowed {
    /// `names` were checked.
    pub(super) fn new(source: &str, names: &[String]) -> Allowed {
        let is_user = |name: &&String| *name != CONTENT_TYPE;
        Allowed {
            names: names.iter().filter(is_user).cloned().collect(),
            content_type: names.iter().any(|name| name == CONTENT_TYPE),
            told: Told {
                source: source.to_owned(),
                too_long: Few::default(),
                malformed: Few::default(),
            },
        }
    }

    /// What goes with the event of `message`.
    pub(super) fn of(&mut self, message: &Message, stats: &SourceStats) -> Option<Arc<Properties>> {
        if message.properties.is_empty() {
            return None;
        }
        let mut found = Found {
            texts: vec![None; self.names.len()],
            ..Found::default()
        };
        if self.find(&message.properties, &mut found).is_err() {
            self.told.malformed(message, stats);
        }
        let (told, names) = (&mut self.told, &self.names);
        let mut fitting = |name: &str, text: Bytes| {
            let fits = text.len() <= TEXT_BYTES_MAX;
            if !fits {
                told.too_long(name, text.len(), message, stats);
            }
            fits.then(|| String::from_utf8_lossy(&text).into_owned())
        };
        let content_type = found
            .content_type
            .and_then(|text| fitting(CONTENT_TYPE, text));
        let headers = names.iter().zip(found.texts);
        let headers =
            headers.filter_map(|(name, text)| Some((name.clone(), fitting(name, text?)?)));
        let properties = Properties {
            headers: headers.collect(),
            content_type,
            expiry_s: found.expiry_s,
        };
        (properties != Properties::default()).then(|| Arc::new(properties))
    }

    /// Looks for what is taken. Of several user properties with one name the last counts.
    fn find(&self, properties: &Bytes, found: &mut Found) -> Result<(), Lost> {
        let mut rest = properties.clone();
        while let Some((identifier, value)) = properties::next(&mut rest)? {
            match (identifier, value) {
                (EXPIRY_INTERVAL, Value::Number(seconds)) => found.expiry_s = Some(seconds),
                (CONTENT_TYPE_OF, Value::Text(text)) if self.content_type => {
                    found.content_type = Some(text);
                }
                (USER_PROPERTY, Value::Pair(name, text)) => {
                    let place = self.names.iter().position(|known| known.as_bytes() == name);
                    if let Some(place) = place.and_then(|place| found.texts.get_mut(place)) {
                        *place = Some(text);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Told {
    fn too_long(&mut self, name: &str, bytes: usize, message: &Message, stats: &SourceStats) {
        stats.error(&"a property of a message is too long to be a header");
        if self.too_long.is_news(name.as_bytes()) {
            let topic = String::from_utf8_lossy(&message.topic);
            warn!(source = %self.source, topic = %topic, property = name, bytes, most = TEXT_BYTES_MAX, "a property of a message is too long to be a header; the event is kept without it, as are others whose property of this name is too long, and each counts as an error of the source; have the publisher send it in the payload");
        }
    }

    fn malformed(&mut self, message: &Message, stats: &SourceStats) {
        stats.error(&"the properties of a message are malformed");
        if self.malformed.is_news(&message.topic) {
            let topic = String::from_utf8_lossy(&message.topic);
            warn!(source = %self.source, topic = %topic, "the properties of a message are malformed; its event is kept without those behind the fault, and counts as an error of the source; find out why the broker sends them so");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn user(name: &str, text: &str) -> Vec<u8> {
        let part = |text: &str| {
            let length = u16::try_from(text.len()).unwrap();
            [&length.to_be_bytes(), text.as_bytes()].concat()
        };
        [vec![USER_PROPERTY], part(name), part(text)].concat()
    }

    fn message(properties: Vec<u8>) -> Message {
        Message {
            topic: "a".into(),
            properties: properties.into(),
            payload: Bytes::new(),
            left_out: 0,
            packet_id: 1,
            qos: 1,
            dup: false,
            retain: false,
        }
    }

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_named_goes_with_the_event_and_nothing_else_does() {
        let all = [
            vec![0x01, 1],
            b"\x03\0\x04text".to_vec(),
            user("trace-id", "1"),
            vec![EXPIRY_INTERVAL, 0, 0, 1, 2],
            user("other", "x"),
            user("trace-id", "2"),
        ];
        let too_long = "x".repeat(TEXT_BYTES_MAX + 1);
        let headers = |text: &str| vec![("trace-id".to_owned(), text.to_owned())];
        let one = Some((headers("1"), None, None));
        let unknown = [user("trace-id", "1"), vec![0x77, 0], user("trace-id", "2")].concat();
        let malformed = [user("trace-id", "1"), vec![USER_PROPERTY, 9, 9]].concat();
        // Names, properties; headers, content type, expiry; errors.
        for (names, properties, expected, errors) in [
            (&["trace-id"][..], vec![], None, 0),
            (&[], user("trace-id", "1"), None, 0),
            (&["Trace-Id"], user("trace-id", "1"), None, 0),
            (&[], all.concat(), Some((vec![], None, Some(258))), 0),
            (
                &["none", "content-type", "trace-id"],
                all.concat(),
                Some((headers("2"), Some("text"), Some(258))),
                0,
            ),
            (&["trace-id"], user("trace-id", &too_long), None, 1),
            // A user property of that name is not the content type.
            (&["content-type"], user("content-type", "text"), None, 0),
            (&["trace-id"], unknown, one.clone(), 0),
            (&["trace-id"], malformed, one, 1),
        ] {
            let stats = SourceStats::default();
            let mut allowed = Allowed::new("plant", &named(names));
            let found = allowed.of(&message(properties), &stats);
            let found = found.as_deref().cloned();
            let expected = expected.map(|(headers, content_type, expiry_s)| Properties {
                headers,
                content_type: content_type.map(str::to_owned),
                expiry_s,
            });
            assert_eq!(found, expected, "{names:?}");
            assert_eq!(stats.errors.load(Ordering::Relaxed), errors, "{names:?}");
        }
    }
}
