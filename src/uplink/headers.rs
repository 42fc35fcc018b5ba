//! The headers of a record, as librdkafka takes them.

use rdkafka::message::{Header, OwnedHeaders};

use super::Message;

/// Bytes of a header in a request besides its texts, at most (Kafka's record format 2).
const HEADER_BYTES: usize = 4;

pub(super) struct Headers {
    pub(super) owned: OwnedHeaders,
    /// Bytes of the values, and of all else that they take in a request.
    pub(super) texts: usize,
    pub(super) names: usize,
}

impl Headers {
    pub(super) fn of(message: &Message<'_>) -> Headers {
        let fixed = message.headers.iter();
        let fixed = fixed.filter_map(|(name, value)| Some((*name, (*value)?)));
        let more = message.more.iter();
        let more = more.map(|(name, text)| (name.as_str(), text.as_bytes()));
        let count = message.headers.len() + message.more.len();
        let mut owned = OwnedHeaders::new_with_capacity(count);
        let (mut texts, mut names) = (0, 0);
        for (key, value) in fixed.chain(more) {
            texts += value.len();
            names += key.len() + HEADER_BYTES;
            let value = Some(value);
            owned = owned.insert(Header { key, value });
        }
        Headers {
            owned,
            texts,
            names,
        }
    }
}
