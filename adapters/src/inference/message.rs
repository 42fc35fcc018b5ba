//! What a client may say.
//!
//! A line of JSON, or a map of CBOR behind its length (four bytes, big endian). Fields, all optional:
//! `intent`, `device`, `kind`, `tags` (texts), `time` (RFC 3339, or seconds since 1970), `id` (the same
//! when the client offers the event again), `ack` (any value, sent back with the receipt), `payload`.
//! Without `payload` the whole message, as it came, is the payload.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

/// An event as a client gave it.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    pub(super) intent: Option<String>,
    pub(super) device: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) unix_us: Option<i64>,
    pub(super) id: Option<String>,
    /// To be sent back with the receipt.
    pub(super) ack: Option<serde_json::Value>,
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

#[derive(Deserialize)]
struct Envelope<P> {
    intent: Option<String>,
    device: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    time: Option<serde_json::Value>,
    id: Option<serde_json::Value>,
    ack: Option<serde_json::Value>,
    payload: Option<P>,
}

impl Message {
    pub(super) fn from_json(line: &[u8]) -> Result<Message, MessageError> {
        let mut envelope: Envelope<Box<serde_json::value::RawValue>> =
            serde_json::from_slice(line)?;
        let payload = envelope.payload.take();
        let payload = payload.map_or_else(
            || Bytes::copy_from_slice(line),
            |raw| Bytes::from(String::from(Box::<str>::from(raw))),
        );
        envelope.message(payload, "application/json")
    }

    pub(super) fn from_cbor(frame: &[u8]) -> Result<Message, MessageError> {
        let mut envelope: Envelope<ciborium::Value> =
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
        envelope.message(payload, content_type)
    }
}

impl<P> Envelope<P> {
    fn message(self, payload: Bytes, content_type: &'static str) -> Result<Message, MessageError> {
        let text = |value: serde_json::Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned)
        };
        Ok(Message {
            unix_us: self.time.as_ref().map(unix_us).transpose()?,
            intent: self.intent,
            device: self.device,
            kind: self.kind,
            tags: self.tags,
            id: self.id.map(text),
            ack: self.ack,
            payload,
            content_type,
        })
    }
}

fn unix_us(time: &serde_json::Value) -> Result<i64, MessageError> {
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
            (Some("critical"), Some(json!("x")))
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
            (Some("cam-1"), Some(json!(3)))
        );
        assert_eq!(message.payload, [0x82, 1, 2].as_slice());
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason() {
        for (line, reason) in [
            ("{", "not JSON"),
            ("[1]", "not JSON"),
            (r#"{"device":5}"#, "not JSON"),
            (r#"{"time":"yesterday"}"#, "`time` is neither"),
            (r#"{"tags":{"a":1}}"#, "not JSON"),
        ] {
            let error = Message::from_json(line.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{line}: {error}");
        }
    }
}
