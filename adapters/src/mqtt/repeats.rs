//! Which of several equal messages with one packet identifier a message is.
//!
//! A broker may use a packet identifier again as soon as it is acknowledged, and some use the lowest that is free: two equal
//! messages, one after the other, then differ in nothing. They are counted here: a message that comes after the
//! acknowledgement of an equal one, and without the flag DUP, is another one. With the flag it is the same one again.
//!
//! What is counted is in memory only, as a count on disk would cost a write for each message. So the limits are: after a restart
//! of the gateway the count of equal messages begins again, so that a message may get the id of an equal one of before; and of
//! equal messages that come thousands of others apart (65,535 with a broker that counts its identifiers up) the second may get
//! the id of the first.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::packet::Message;

/// Messages that are remembered, in 8 bytes each; a message may take the place of an earlier one.
const REMEMBERED: usize = 8192;

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    content: u32,
    /// Equal messages before it; it counts round.
    earlier: u16,
    acknowledged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Repeats(Vec<Seen>);

impl Repeats {
    /// A hash of the message and its packet identifier.
    pub(super) fn content(message: &Message) -> u32 {
        let topic = xxh3_64_with_seed(&message.topic, message.packet_id.into());
        let [a, b, c, d, ..] = (topic ^ xxh3_64(&message.payload)).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// How many equal messages came before this one, as far as that is remembered.
    pub(super) fn earlier(&mut self, content: u32, dup: bool) -> u16 {
        let seen = self.seen(content);
        if seen.content != content {
            *seen = Seen {
                content,
                ..Seen::default()
            };
        } else if seen.acknowledged && !dup {
            seen.earlier = seen.earlier.wrapping_add(1);
            seen.acknowledged = false;
        }
        seen.earlier
    }

    /// The message with this content was acknowledged: the next one without DUP is another.
    pub(super) fn acknowledged(&mut self, content: u32) {
        let seen = self.seen(content);
        seen.acknowledged |= seen.content == content;
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn seen(&mut self, content: u32) -> &mut Seen {
        self.0.resize(REMEMBERED, Seen::default());
        let place = content as usize % REMEMBERED;
        self.0.get_mut(place).expect("a remainder is in range")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(packet_id: u16, payload: &'static str) -> Message {
        Message {
            topic: "plant/press-3/state".into(),
            properties: bytes::Bytes::new(),
            payload: payload.into(),
            left_out: 0,
            packet_id,
            qos: 1,
            dup: false,
            retain: false,
        }
    }

    #[test]
    fn equal_messages_are_told_apart_by_what_was_acknowledged_between_them() {
        let mut repeats = Repeats::default();
        // Payload, DUP, whether it is acknowledged then; how many came before it.
        for (payload, dup, acknowledged, earlier) in [
            ("on", false, true, 0),
            ("on", false, true, 1),
            ("off", false, true, 0),
            ("on", false, false, 2),
            ("on", true, false, 2),
            ("on", false, true, 2),
            ("on", true, true, 2),
            ("off", false, true, 1),
            ("on", false, true, 3),
        ] {
            let content = Repeats::content(&message(1, payload));
            assert_eq!(repeats.earlier(content, dup), earlier, "{payload} {dup}");
            if acknowledged {
                repeats.acknowledged(content);
            }
        }
        let other = Repeats::content(&message(2, "on"));
        assert_eq!(repeats.earlier(other, false), 0, "with another identifier");
    }
}
