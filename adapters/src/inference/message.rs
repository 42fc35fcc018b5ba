//! What a client may say.
//!
//! A line of JSON, or a map of CBOR behind its length (four bytes, big endian). Fields, all optional:
//! `intent`, `device`, `kind`, `tags` (texts), `time` (RFC 3339, or seconds since 1970), `id` (the same
//! when the client offers the event again), `ack` (any value, sent back with the receipt), `payload`.
//! Without `payload` the whole message, as it came, is the payload.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An event as a client gave it.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    pub(super) intent: Option<String>,
    pub(super) device: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) unix_us: Option<i64>,
    pub(super) id: Option<String>,
    /// To be sent back with the receipt: a JSON text, which takes no more memory than it is long.
    pub(super) ack: Option<String>,
    pub(super) payload: Bytes,
    pub(super) content_type: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not CBOR: {0}")]
    Cbor(String),
    #[error("`time` is neither RFC 3339 nor seconds since 1970")]
    Time,
    #[error("longer than {0} bytes")]
    TooLong(usize),
}

/// Tags of an event; beyond it the event is refused. Each takes memory and a name that the cluster's consumers must know.
const TAGS_MAX: usize = 256;
/// Bytes of a `time`.
const TIME_BYTES_MAX: usize = 128;

/// `V` is any value, where `P` is the payload.
#[derive(Deserialize)]
struct Envelope<P, V> {
    intent: Option<String>,
    device: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    tags: Tags,
    time: Option<V>,
    id: Option<V>,
    ack: Option<V>,
    payload: Option<P>,
}

impl Message {
    pub(super) fn from_json(line: &[u8]) -> Result<Message, MessageError> {
        let mut envelope: Envelope<Box<RawValue>, Box<RawValue>> = serde_json::from_slice(line)?;
        let payload = envelope.payload.take();
        let payload = payload.map_or_else(
            || Bytes::copy_from_slice(line),
            |raw| Bytes::from(String::from(Box::<str>::from(raw))),
        );
        let text = |value: Box<RawValue>| String::from(Box::<str>::from(value));
        envelope.message(payload, "application/json", text)
    }

    pub(super) fn from_cbor(frame: &[u8]) -> Result<Message, MessageError> {
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
        envelope.message(payload, content_type, |value| value.to_string())
    }
}

impl<P, V> Envelope<P, V> {
    /// `json` gives the JSON text of a value.
    fn message(
        self,
        payload: Bytes,
        content_type: &'static str,
        json: impl Fn(V) -> String,
    ) -> Result<Message, MessageError> {
        let text = |value: V| {
            let json = json(value);
            serde_json::from_str::<String>(&json).unwrap_or(json)
        };
        let time = self.time.map(&json);
        Ok(Message {
            unix_us: time.as_deref().map(unix_us).transpose()?,
            intent: self.intent,
            device: self.device,
            kind: self.kind,
            tags: self.tags.0,
            id: self.id.map(text),
            ack: self.ack.map(json),
            payload,
            content_type,
        })
    }
}

/// The texts of an event. Those over [`TAGS_MAX`] are not even read: many short ones take far more memory than a message is long.
#[derive(Debug, Default)]
struct Tags(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tags, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Tags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a map of at most {TAGS_MAX} tags, which are texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags = BTreeMap::new();
                while let Some((name, text)) = map.next_entry()? {
                    if tags.len() >= TAGS_MAX {
                        return Err(de::Error::custom(format_args!(
                            "more than {TAGS_MAX} `tags`; put them into the payload"
                        )));
                    }
                    tags.insert(name, text);
                }
                Ok(Tags(tags))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

fn unix_us(json: &str) -> Result<i64, MessageError> {
    if json.len() > TIME_BYTES_MAX {
        return Err(MessageError::Time);
    }
    let time: serde_json::Value = serde_json::from_str(json)?;
    if let Some(text) = time.as_str() {
        return text
            .parse::<jiff::Timestamp>()
            .map(jiff::Timestamp::as_microsecond)
            .map_err(|_| MessageError::Time);
    }
    let seconds = time
        .as_f64()
        .filter(|seconds| seconds.abs() < 1e11)
        .ok_or(MessageError::Time)?;
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    Ok((seconds * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_it_wants_and_keeps_the_rest_as_it_came() {
        let line = br#"{"intent":"critical","device":"cam-1","time":1.5,"id":7,"ack":"x","payload":{"score": 0.10}}"#;
        let message = Message::from_json(line).unwrap();
        assert_eq!(
            message.payload, r#"{"score": 0.10}"#,
            "spacing and digits are the client's"
        );
        assert_eq!(
            (message.unix_us, message.id.as_deref()),
            (Some(1_500_000), Some("7"))
        );
        assert_eq!(
            (message.intent.as_deref(), message.ack),
            (Some("critical"), Some("\"x\"".to_owned()))
        );
        let bare = br#"{"score":0.9}"#;
        assert_eq!(Message::from_json(bare).unwrap().payload, bare.as_slice());
        let at = Message::from_json(br#"{"time":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(at.unix_us, Some(1_767_225_600_000_000));
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
    fn what_is_malformed_is_refused_with_its_reason() {
        for (line, reason) in [
            ("{", "not JSON"),
            ("[1]", "not JSON"),
            (r#"{"device":5}"#, "not JSON"),
            (r#"{"time":"yesterday"}"#, "`time` is neither"),
            (r#"{"tags":{"a":1}}"#, "not JSON"),
            (
                tags(TAGS_MAX + 1).as_str(),
                "not JSON: more than 256 `tags`",
            ),
        ] {
            let error = Message::from_json(line.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{line}: {error}");
        }
    }
}
