//! What has arrived from a broker and is not taken yet: bytes, of which packets are made. Pure.

use bytes::{Buf, BytesMut};

use super::frame::{self, Frame};
use super::packet::{Message, Received};
use super::section::Version;
use super::{Lost, answer};

/// Bytes for which room is made before a read.
const READ_BYTES: usize = 16 * 1024;
/// What the input holds on to while it is empty: a large packet does not keep its room.
const INPUT_BYTES: usize = 8 * READ_BYTES;

#[derive(Debug)]
pub(super) struct Input {
    version: Version,
    pub(super) bytes: BytesMut,
    passing: Option<Passing>,
}

/// A message that is too large to be read: its bytes are passed over as they come.
#[derive(Debug)]
struct Passing {
    message: Message,
    left: usize,
}

impl Input {
    pub(super) fn new(version: Version) -> Input {
        Input {
            version,
            bytes: BytesMut::new(),
            passing: None,
        }
    }

    /// Makes room for a read.
    pub(super) fn make_room(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > INPUT_BYTES {
            self.bytes = BytesMut::new();
        }
        self.bytes.reserve(READ_BYTES);
    }

    /// Takes the first packet, once all of it is here; of a message that is too large what its head says, once all of it has
    /// passed.
    pub(super) fn next(&mut self) -> Result<Option<Received>, Lost> {
        if self.passing.is_some() {
            return Ok(self.pass());
        }
        match frame::first(&self.bytes)? {
            Frame::Part(more) => {
                self.bytes.reserve(more);
                Ok(None)
            }
            Frame::TooLarge(end) => {
                let message = frame::too_large(&self.bytes, end)?;
                self.passing = Some(Passing { message, left: end });
                Ok(self.pass())
            }
            Frame::Publish(end) => {
                let packet = self.bytes.split_to(end).freeze();
                let message = frame::publish(packet, self.version == Version::V5)?;
                Ok(Some(Received::Publish(message)))
            }
            Frame::Other(end) => {
                let packet = self.bytes.split_to(end).freeze();
                answer::read(packet, self.version).map(Some)
            }
        }
    }

    fn pass(&mut self) -> Option<Received> {
        let mut passing = self.passing.take()?;
        let here = passing.left.min(self.bytes.len());
        self.bytes.advance(here);
        passing.left -= here;
        if passing.left > 0 {
            self.passing = Some(passing);
            return None;
        }
        Some(Received::Publish(passing.message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::PACKET_BYTES_MAX;
    use super::*;

    /// A PUBLISH of QoS 1 with a payload of so many bytes.
    fn publish(payload: usize) -> Vec<u8> {
        let length = 2 + 3 + 2 + payload;
        let mut packet = vec![0x32];
        let digit = |place: usize| u8::try_from(length >> (7 * place) & 0x7f).unwrap();
        packet.extend([digit(0) | 0x80, digit(1) | 0x80, digit(2) | 0x80, digit(3)]);
        packet.extend([0, 3, b'a', b'/', b'b', 0, 7]);
        packet.resize(packet.len() + payload, 0);
        packet
    }

    #[test]
    fn a_message_that_is_too_large_is_passed_over_in_pieces_and_what_is_behind_it_is_read() {
        let most = PACKET_BYTES_MAX as usize - 7;
        for (payload, left_out) in [(most, 0), (most + 1, most + 1), (5_000_000, 5_000_000)] {
            let mut input = Input::new(Version::V311);
            let sent = [publish(payload), vec![0xd0, 0]].concat();
            let (mut received, mut largest) = (Vec::new(), 0);
            for piece in sent.chunks(10_000) {
                input.make_room();
                input.bytes.extend_from_slice(piece);
                received.extend(std::iter::from_fn(|| input.next().unwrap()));
                largest = largest.max(input.bytes.capacity());
            }
            let [Received::Publish(message), Received::PingResp] = &received[..] else {
                panic!("{received:?}");
            };
            assert_eq!((&message.topic[..], message.packet_id), (&b"a/b"[..], 7));
            assert_eq!(message.left_out, left_out);
            assert_eq!(message.payload.len() + message.left_out, payload);
            assert!(left_out == 0 || largest < 2 * INPUT_BYTES, "{largest} held");
        }
    }
}
