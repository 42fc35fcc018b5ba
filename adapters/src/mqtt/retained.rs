//! Which messages that the broker keeps ("retained") are new to us.
//!
//! A broker sends what it keeps with the flag RETAIN when it is subscribed to, at each connection (with MQTT 5 it need not: Retain
//! Handling; but what was lost with a connection would then never come). Left out are
//!
//! - what is the same as the last message of its topic,
//! - what is the same as the last message of its topic with the flag, where the broker has sent on all others since (the session
//!   went on, and the QoS is not 0),
//! - what is older than a message of its topic without the flag on this connection. In a session that went on, such a message may
//!   have waited at the broker, whose queue may have lost newer ones: there, only what was seen with the flag before is surely older.
//!
//! The flag tells them apart because we do not ask for Retain As Published: with it, a broker sets the flag on new messages too,
//! and which is which could not be told.
//!
//! What was seen is in a table of a fixed size: a topic may take the place of another, which is then new again. It is on disk
//! over a stop (64 KiB at most), so that a reload or a restart repeats none; after a kill they come again, as what was seen since
//! the start is not known then.

use xxhash_rust::xxh3::xxh3_64;

use super::packet::Message;

/// Topics that are remembered, in 16 bytes each.
const TOPICS: usize = 4096;
const ENTRY_BYTES: usize = 16;

/// Hashes that are 0 stand for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    topic: u32,
    /// The payloads of the last message with the flag, and of the last after it without.
    kept: u32,
    live: u32,
    /// The connection on which the last message without the flag came.
    connection: u32,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retained {
    /// It was not kept by the broker, but sent on as it came.
    No,
    /// Its topic has this place in the table.
    New(usize),
    /// It was seen before.
    Repeated,
    /// A newer one of its topic was seen on this connection.
    Old,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: Vec<Seen>,
    connection: u32,
    /// The session with the broker is the one of before.
    goes_on: bool,
    /// There is something to be written.
    changed: bool,
}

impl Memory {
    /// From what was written, which is to be written again at the stop; anything else is nothing.
    pub(super) fn read(bytes: &[u8]) -> Memory {
        let mut memory = Memory {
            changed: !bytes.is_empty(),
            ..Memory::default()
        };
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let words = entry.chunks_exact(4).map(|word| match word {
                [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
                _ => 0,
            });
            let words: Vec<u32> = words.collect();
            let [place, topic, kept, live] = words[..] else {
                continue;
            };
            if let Some(seen) = memory.table().get_mut(place as usize) {
                *seen = Seen {
                    topic,
                    kept,
                    live,
                    connection: 0,
                };
            }
        }
        memory
    }

    /// What is to be remembered over a stop, if that is another than before.
    pub(super) fn write(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let places = (0_u32..).zip(&self.seen);
        let used = places.filter(|(_, seen)| seen.topic != 0);
        let words = used.flat_map(|(place, seen)| [place, seen.topic, seen.kept, seen.live]);
        Some(words.flat_map(u32::to_le_bytes).collect())
    }

    /// A connection begins; the session may be the one of before.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.connection = self.connection.wrapping_add(1).max(1);
        self.goes_on = session_present;
    }

    /// Takes in a message.
    pub(super) fn take(&mut self, message: &Message) -> Retained {
        let (connection, went_on) = (self.connection, self.goes_on);
        let goes_on = went_on && message.qos > 0;
        let topic = xxh3_64(&message.topic);
        let payload = hash(xxh3_64(&message.payload) ^ message.left_out as u64);
        let (place, topic) = (hash(topic) as usize % TOPICS, hash(topic >> 32));
        let Some(seen) = self.table().get_mut(place) else {
            return Retained::New(place);
        };
        if seen.topic != topic {
            *seen = Seen {
                topic,
                ..Seen::default()
            };
        }
        if !message.retain {
            let is_changed = seen.live != payload;
            (seen.live, seen.connection) = (payload, connection);
            self.changed |= is_changed;
            return Retained::No;
        }
        let last = if seen.live == 0 { seen.kept } else { seen.live };
        // One that the broker offers again has its id, and was not acknowledged.
        if !message.dup && (last == payload || (goes_on && seen.kept == payload)) {
            return Retained::Repeated;
        }
        let is_older = !went_on || seen.kept == payload;
        if !message.dup && seen.connection == connection && is_older {
            let is_changed = std::mem::replace(&mut seen.kept, payload) != payload;
            self.changed |= is_changed;
            return Retained::Old;
        }
        (seen.kept, seen.live) = (payload, 0);
        self.changed = true;
        Retained::New(place)
    }

    /// The new message of this place was not kept: it is new again.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some(seen) = self.table().get_mut(place) {
            *seen = Seen::default();
            self.changed = true;
        }
    }

    fn table(&mut self) -> &mut Vec<Seen> {
        self.seen.resize(TOPICS, Seen::default());
        &mut self.seen
    }
}

/// Never 0, which stands for nothing.
fn hash(of: u64) -> u32 {
    let [a, b, c, d, ..] = of.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, payload: &str, retain: bool) -> Message {
        Message {
            topic: topic.to_owned().into(),
            properties: bytes::Bytes::new(),
            payload: payload.to_owned().into(),
            left_out: 0,
            packet_id: 1,
            qos: 1,
            dup: false,
            retain,
        }
    }

    fn is(memory: &mut Memory, message: &Message) -> &'static str {
        match memory.take(message) {
            Retained::No => "live",
            Retained::New(_) => "new",
            Retained::Repeated => "repeated",
            Retained::Old => "old",
        }
    }

    #[test]
    fn a_retained_message_is_taken_once_and_never_after_a_newer_one() {
        let mut memory = Memory::default();
        let mut connection = 0;
        // Connection, topic, payload, RETAIN; what it is. The session ends before the fourth.
        for (on, topic, payload, retain, expected) in [
            (1, "a", "on", true, "new"),
            (1, "a", "on", true, "repeated"),
            (1, "b", "on", true, "new"),
            (1, "c", "live", false, "live"),
            (1, "c", "old", true, "old"),
            (2, "c", "old", true, "repeated"),
            (2, "a", "on", true, "repeated"),
            (2, "a", "off", true, "new"),
            (2, "a", "on", false, "live"),
            (2, "a", "off", true, "repeated"),
            // It may have waited at the broker, and the broker lost what came after it.
            (2, "d", "live", false, "live"),
            (2, "d", "of now", true, "new"),
            (3, "a", "off", true, "repeated"),
            (3, "a", "on", true, "repeated"),
            (3, "c", "live", true, "repeated"),
            (3, "c", "newer", true, "new"),
            (3, "c", "newer", false, "live"),
            (4, "b", "on", true, "repeated"),
            // It may be of now: what came between was lost with the session.
            (4, "a", "off", true, "new"),
        ] {
            while connection < on {
                connection += 1;
                memory.connected(connection != 1 && connection != 4);
            }
            let message = message(topic, payload, retain);
            let context = format!("{on} {topic} {payload} {retain}");
            assert_eq!(is(&mut memory, &message), expected, "{context}");
        }
    }

    #[test]
    fn what_was_not_acknowledged_or_not_kept_is_new_again() {
        let mut memory = Memory::default();
        memory.connected(true);
        let mut message = message("a", "on", true);
        let Retained::New(place) = memory.take(&message) else {
            panic!("it is new");
        };
        memory.forget(place);
        assert_eq!(is(&mut memory, &message), "new");
        message.dup = true;
        assert_eq!(is(&mut memory, &message), "new");
    }

    #[test]
    fn what_was_retained_is_known_after_a_stop_and_what_is_no_such_file_is_nothing() {
        let mut memory = Memory::default();
        memory.connected(false);
        assert_eq!(memory.write(), None);
        for topic in ["a", "b", "c"] {
            memory.take(&message(topic, "on", true));
        }
        memory.take(&message("b", "off", false));
        // The broker may keep it too: that is not said of a message that is sent on.
        memory.take(&message("e", "live", false));
        let written = memory.write().unwrap();
        assert_eq!(memory.write(), None, "nothing is new");
        let mut again = Memory::read(&written);
        again.connected(true);
        for (topic, payload, expected) in [
            ("a", "on", "repeated"),
            ("b", "on", "repeated"),
            ("b", "off", "repeated"),
            ("c", "other", "new"),
            ("e", "live", "repeated"),
            ("d", "on", "new"),
        ] {
            let message = message(topic, payload, true);
            assert_eq!(is(&mut again, &message), expected, "{topic} {payload}");
        }
        for nonsense in [&b""[..], b"12345", &[0xff; 160]] {
            let mut memory = Memory::read(nonsense);
            memory.connected(true);
            assert_eq!(is(&mut memory, &message("a", "on", true)), "new");
        }
    }
}
