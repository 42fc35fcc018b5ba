//! What a client may say.
//!
//! A line of JSON, or a map of CBOR behind its length (four bytes, big endian). Fields, all optional:
//! `intent`, `device`, `kind`, `tags` (texts; a number or a boolean is taken as its text), `time` (RFC 3339, or a number since
//! 1970, see [`Time`]), `id` (the same when the client offers the event again), `ack` (any value, sent back with the receipt),
//! `payload`. Other fields are no error. Without `payload` the whole message, as it came, is the payload; with it they are left
//! out, as is all that is not `payload`.
//!
//! What can be understood only in part is an event all the same, with a flaw, which makes its quality bad.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use super::lenient::{DEPTH_MAX, bare, is_too_deep, with_finite_numbers};
use super::tags::Tags;
use super::time::Time;

/// An event as a client gave it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) intent: Option<String>,
    pub(super) device: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) time: Option<Time>,
    pub(super) id: Option<String>,
    /// To be sent back with the receipt: a JSON text, which takes no more memory than it is long.
    pub(super) ack: Option<String>,
    pub(super) payload: Bytes,
    pub(super) content_type: &'static str,
    /// What could not be understood of it; one thing of them, if there are several.
    pub(super) flaw: Option<Flaw>,
}

/// Why a message is no event.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "not JSON that can be read on: values lie in each other deeper than {}",
        DEPTH_MAX
    )]
    TooDeep,
    #[error("not CBOR: {0}")]
    Cbor(String),
    #[error("not CBOR: the connection ended within a message")]
    Cut,
    #[error("longer than {0} bytes")]
    TooLong(usize),
}

/// What of a message was not understood, where it is an event all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum Flaw {
    #[error("a number is NaN or infinite, which JSON does not have; `null` stands for it")]
    NotFinite,
    #[error("not UTF-8; U+FFFD stands for what is not")]
    NotUtf8,
    #[error(
        "`time` is neither RFC 3339 nor a number since 1970; the event has the time of its arrival"
    )]
    Time,
    #[error("`{0}` is neither a text nor a number nor a boolean; it is left out")]
    Field(&'static str),
    #[error("{0}; the line is the payload, as it came")]
    Whole(MessageError),
}

/// `V` is any value, where `P` is the payload.
#[derive(Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de>, V: Deserialize<'de>"))]
struct Envelope<P, V> {
    intent: Option<V>,
    device: Option<V>,
    kind: Option<V>,
    tags: Option<Tags<V>>,
    time: Option<V>,
    id: Option<V>,
    ack: Option<V>,
    payload: Option<P>,
}

type JsonEnvelope = Envelope<Box<RawValue>, Box<RawValue>>;

impl Message {
    pub(super) fn from_json(line: &[u8]) -> Result<Message, MessageError> {
        let line = bare(line);
        if is_too_deep(line) {
            return Err(MessageError::TooDeep);
        }
        let text = String::from_utf8_lossy(line);
        let is_lossy = matches!(text, Cow::Owned(_));
        let flaw = is_lossy.then_some(Flaw::NotUtf8);
        match json_envelope(&text) {
            Ok(envelope) => Ok(Message::of(envelope, &text, flaw)),
            Err(error) => {
                let Some(finite) = with_finite_numbers(&text) else {
                    return Err(error.into());
                };
                let envelope = json_envelope(&finite).map_err(|_| error)?;
                Ok(Message::of(envelope, &finite, Some(Flaw::NotFinite)))
            }
        }
    }

    fn of(mut envelope: JsonEnvelope, line: &str, flaw: Option<Flaw>) -> Message {
        let text = |value: Box<RawValue>| String::from(Box::<str>::from(value));
        let payload = envelope.payload.take();
        let payload = payload.map_or_else(
            || Bytes::copy_from_slice(line.as_bytes()),
            |raw| Bytes::from(text(raw)),
        );
        envelope.message(payload, "application/json", flaw, text)
    }

    pub(super) fn from_cbor(frame: &[u8]) -> Result<Message, MessageError> {
        // What is read as a struct may be an array as well, of its fields.
        if frame.first().is_some_and(|first| first >> 5 == 4) {
            return Err(MessageError::Cbor("an array, where a map would be".into()));
        }
        let mut envelope: Envelope<ciborium::Value, serde_json::Value> =
            ciborium::from_reader(frame).map_err(|error| MessageError::Cbor(error.to_string()))?;
        let (payload, content_type) = match envelope.payload.take() {
            None => (Bytes::copy_from_slice(frame), "application/cbor"),
            Some(ciborium::Value::Bytes(bytes)) => (Bytes::from(bytes), "application/octet-stream"),
            Some(value) => {
                let mut encoded = Vec::new();
                ciborium::into_writer(&value, &mut encoded)
                    .map_err(|error| MessageError::Cbor(error.to_string()))?;
                (Bytes::from(encoded), "application/cbor")
            }
        };
        Ok(envelope.message(payload, content_type, None, |value| value.to_string()))
    }

    /// Of a line that is no message: the line is the payload.
    pub(super) fn whole(line: &[u8], error: MessageError) -> Message {
        let line = bare(line);
        let is_text = std::str::from_utf8(line).is_ok();
        Message {
            intent: None,
            device: None,
            kind: None,
            tags: BTreeMap::new(),
            time: None,
            id: None,
            ack: None,
            payload: Bytes::copy_from_slice(line),
            content_type: if is_text {
                "text/plain"
            } else {
                "application/octet-stream"
            },
            flaw: Some(Flaw::Whole(error)),
        }
    }
}

/// What is read as a struct may be an array as well, of its fields: no client means that.
fn json_envelope(text: &str) -> serde_json::Result<JsonEnvelope> {
    if text.starts_with('[') {
        return Err(serde_json::Error::custom(
            "an array, where an object would be",
        ));
    }
    serde_json::from_str(text)
}

impl<P, V> Envelope<P, V> {
    /// `json` gives the JSON text of a value.
    fn message(
        self,
        payload: Bytes,
        content_type: &'static str,
        mut flaw: Option<Flaw>,
        json: impl Fn(V) -> String,
    ) -> Message {
        let mut of = |name, value: Option<V>| {
            let json = json(value?);
            let text = plain(&json);
            if text.is_none() && json != "null" {
                flaw = Some(Flaw::Field(name));
            }
            text
        };
        let (intent, device) = (of("intent", self.intent), of("device", self.device));
        let kind = of("kind", self.kind);
        let given = self.tags.unwrap_or_default();
        let tags = given.texts.into_iter();
        let tags = tags.filter_map(|(name, value)| Some((name, of("tags", Some(value))?)));
        let tags = tags.collect();
        if given.is_other {
            flaw = Some(Flaw::Field("tags"));
        }
        let time = self.time.map(&json).map(|json| Time::from_json(&json));
        if time == Some(None) {
            flaw = Some(Flaw::Time);
        }
        let id = self.id.map(&json);
        Message {
            intent,
            device,
            kind,
            tags,
            time: time.flatten(),
            id: id.map(|json| serde_json::from_str(&json).unwrap_or(json)),
            ack: self.ack.map(json),
            payload,
            content_type,
            flaw,
        }
    }
}

/// The text that a JSON value stands for, if it is a plain one.
fn plain(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inference::tags::TAGS_MAX;

    #[test]
    fn a_line_says_what_it_wants_and_keeps_the_rest_as_it_came() {
        let line = br#"{"intent":"critical","device":"cam-1","time":1.5,"id":7,"ack":"x","payload":{"score": 0.10}}"#;
        let message = Message::from_json(line).unwrap();
        assert_eq!(
            message.payload, r#"{"score": 0.10}"#,
            "spacing and digits are the client's"
        );
        assert_eq!(
            (message.time.map(|time| time.unix_us), message.id.as_deref()),
            (Some(1_500_000), Some("7"))
        );
        assert_eq!(
            (message.intent.as_deref(), message.ack),
            (Some("critical"), Some("\"x\"".to_owned()))
        );
        let bare = br#"{"score":0.9}"#;
        assert_eq!(Message::from_json(bare).unwrap().payload, bare.as_slice());
        let at = Message::from_json(br#"{"time":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(at.time.unwrap().unix_us, 1_767_225_600_000_000);
    }

    #[test]
    fn cbor_says_the_same() {
        let mut frame = Vec::new();
        let value = json!({ "device": "cam-1", "payload": [1, 2], "ack": 3 });
        ciborium::into_writer(&value, &mut frame).unwrap();
        let message = Message::from_cbor(&frame).unwrap();
        assert_eq!(
            (message.device.as_deref(), message.ack),
            (Some("cam-1"), Some("3".to_owned()))
        );
        assert_eq!(message.payload, [0x82, 1, 2].as_slice());
    }

    fn tags(count: usize) -> String {
        let tags = (0..count).map(|n| (n.to_string(), String::new()));
        json!({ "tags": tags.collect::<BTreeMap<_, _>>() }).to_string()
    }

    #[test]
    fn tags_and_an_ack_take_no_more_memory_than_they_are_long() {
        let message = Message::from_json(tags(TAGS_MAX).as_bytes()).unwrap();
        assert_eq!(message.tags.len(), TAGS_MAX);
        let ack = format!("[{}0]", "0,".repeat(20_000));
        let line = format!("{{\"ack\":{ack}}}");
        let message = Message::from_json(line.as_bytes()).unwrap();
        assert_eq!(message.ack.as_deref(), Some(ack.as_str()));
    }

    #[test]
    fn a_number_or_a_boolean_is_its_text_and_other_fields_are_no_error() {
        let line = br#"{"device":007.50,"kind":true,"intent":null,"tags":{"a":1,"b":null,"c":"x"},"more":[{}],"payload":1}"#;
        assert!(Message::from_json(line).is_err(), "007 is no number");
        let line = String::from_utf8_lossy(line).replace("007", "7");
        let message = Message::from_json(line.as_bytes()).unwrap();
        assert_eq!(
            (message.device.as_deref(), message.kind.as_deref()),
            (Some("7.50"), Some("true"))
        );
        assert_eq!((message.intent, message.payload), (None, "1".into()));
        let tags = [("a", "1"), ("c", "x")].map(|(name, text)| (name.into(), text.into()));
        assert_eq!(message.tags, BTreeMap::from(tags));
        assert!(message.flaw.is_none());
    }

    #[test]
    fn what_is_understood_in_part_is_an_event_with_a_flaw() {
        for (line, payload, flaw) in [
            (
                br#"{"device":"d","score":NaN}"#.as_slice(),
                r#"{"device":"d","score":null}"#,
                "a number is NaN",
            ),
            (
                br#"{"device":"d","payload":[-Infinity]}"#,
                "[null]",
                "a number is NaN",
            ),
            (
                b"{\"device\":\"d\",\"payload\":\"\xff\"}",
                "\"\u{fffd}\"",
                "not UTF-8",
            ),
            (
                br#"{"device":"d","time":"yesterday","payload":1}"#,
                "1",
                "`time` is neither",
            ),
            (
                br#"{"device":"d","kind":[1],"payload":1}"#,
                "1",
                "`kind` is neither",
            ),
            (
                br#"{"device":"d","tags":["a"],"payload":1}"#,
                "1",
                "`tags` is neither",
            ),
            (
                br#"{"device":"d","tags":{"a":{}},"payload":1}"#,
                "1",
                "`tags` is neither",
            ),
        ] {
            let message = Message::from_json(line).unwrap();
            let said = message.flaw.unwrap().to_string();
            assert!(said.starts_with(flaw), "{flaw}: {said}");
            assert_eq!(message.payload, payload, "{flaw}");
            assert_eq!(message.device.as_deref(), Some("d"), "{flaw}");
        }
    }

    #[test]
    fn what_is_around_a_line_costs_nothing() {
        for line in ["{\"a\":1}\r\n", "\u{feff}{\"a\":1}", "\0\0{\"a\":1}\n"] {
            let message = Message::from_json(line.as_bytes()).unwrap();
            assert_eq!(message.payload, "{\"a\":1}");
            assert!(message.flaw.is_none());
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason_or_is_a_payload_as_it_came() {
        let deep = format!("{{\"payload\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        for (line, reason) in [
            ("{", "not JSON"),
            ("[1]", "not JSON"),
            (
                "[null,null,null,null,null,null,null,1]",
                "not JSON: an array",
            ),
            ("5", "not JSON"),
            (deep.as_str(), "not JSON that can be read on"),
            (
                tags(TAGS_MAX + 1).as_str(),
                "not JSON: more than 256 `tags`",
            ),
        ] {
            let error = Message::from_json(line.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(reason), "{line}: {error}");
            let whole = Message::whole(line.as_bytes(), error);
            assert_eq!(
                (whole.payload, whole.content_type),
                (line.to_owned().into(), "text/plain")
            );
        }
        let array = Message::from_cbor(&[0x88; 9]).unwrap_err().to_string();
        assert!(array.starts_with("not CBOR: an array"), "{array}");
    }
}
