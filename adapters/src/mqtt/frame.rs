//! Where a packet ends, and what a PUBLISH says.
//!
//! The other packets are read by `answer`. A PUBLISH is read here: whoever publishes chooses its properties, and a packet of four
//! mebibytes of them would take forty in memory; `allowed` looks at them where they are. Pure, and the same for both versions but for the properties.

use bytes::{Buf, Bytes};

use super::Lost;
use super::packet::{Message, PACKET_BYTES_MAX};

/// Bytes of a packet that is no PUBLISH: acknowledgements, with properties that no broker makes long.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// The type of a PUBLISH, in the upper half of the first byte (MQTT 5 section 2.1.2).
const PUBLISH: u8 = 3;
/// A variable byte integer has no more bytes (MQTT 5 section 1.5.5).
const NUMBER_BYTES_MAX: usize = 4;

/// The first packet of what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// All of it is here, and ends after so many bytes.
    Publish(usize),
    Other(usize),
    /// A PUBLISH that is longer than is read. All of its head is here, and it ends after so many bytes.
    TooLarge(usize),
    /// It ends after so many bytes more, at least.
    Part(usize),
}

/// What the input begins with.
pub(super) fn first(input: &[u8]) -> Result<Frame, Lost> {
    let Some((kind, rest)) = input.split_first() else {
        return Ok(Frame::Part(2));
    };
    let Some((length, digits)) = number(rest)? else {
        return Ok(Frame::Part(1));
    };
    let is_publish = kind >> 4 == PUBLISH;
    let end = 1 + digits + length;
    if is_publish && length > PACKET_BYTES_MAX as usize {
        let more = head_bytes(rest, digits).saturating_sub(rest.len());
        return Ok(if more > 0 {
            Frame::Part(more)
        } else {
            Frame::TooLarge(end)
        });
    }
    if !is_publish && length > CONTROL_BYTES_MAX {
        return Err(Lost::Broken(format!(
            "the broker sent a packet of {length} bytes that is no message; at most {CONTROL_BYTES_MAX} are read"
        )));
    }
    Ok(match end.checked_sub(input.len()) {
        Some(more) if more > 0 => Frame::Part(more),
        Some(_) | None if is_publish => Frame::Publish(end),
        Some(_) | None => Frame::Other(end),
    })
}

/// Bytes of a PUBLISH up to the end of its packet identifier, behind its first one, as far as is known yet.
fn head_bytes(rest: &[u8], digits: usize) -> usize {
    let length = rest.get(digits..digits + 2);
    let number = |sum, byte: &u8| sum << 8 | usize::from(*byte);
    let topic = length.map_or(0, |pair| pair.iter().fold(0, number));
    digits + 2 + topic + 2
}

/// A variable byte integer at the beginning of `input`, and how many bytes it has; none while its end is not here.
pub(super) fn number(input: &[u8]) -> Result<Option<(usize, usize)>, Lost> {
    let mut number = 0;
    for (place, byte) in input.iter().take(NUMBER_BYTES_MAX).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((number, place + 1)));
        }
    }
    if input.len() < NUMBER_BYTES_MAX {
        Ok(None)
    } else {
        Err(malformed("a length"))
    }
}

/// The message in a whole PUBLISH; one of version 5 `has_properties`.
pub(super) fn publish(packet: Bytes, has_properties: bool) -> Result<Message, Lost> {
    let mut rest = packet;
    let mut message = head(&mut rest)?;
    if has_properties {
        message.properties = properties(&mut rest)?;
    }
    message.payload = rest;
    Ok(message)
}

/// Takes the properties that `rest` begins with, behind their length (MQTT 5 section 2.2.2).
pub(super) fn properties(rest: &mut Bytes) -> Result<Bytes, Lost> {
    let (length, digits) = number(rest)?.ok_or_else(|| malformed("its properties"))?;
    rest.advance(digits);
    take(rest, length, "its properties")
}

/// What the head says of a PUBLISH that is too large to be read, and is `end` bytes long.
pub(super) fn too_large(packet: &[u8], end: usize) -> Result<Message, Lost> {
    let behind = packet.get(1..).unwrap_or_default();
    let (_, digits) = number(behind)?.ok_or_else(|| malformed("its length"))?;
    let head_end = 1 + head_bytes(behind, digits);
    let here = packet
        .get(..head_end)
        .ok_or_else(|| malformed("its head"))?;
    let mut rest = Bytes::copy_from_slice(here);
    let message = head(&mut rest)?;
    Ok(Message {
        left_out: end - head_end + rest.len(),
        ..message
    })
}

/// What is before the properties and the payload, which `rest` begins with then.
fn head(rest: &mut Bytes) -> Result<Message, Lost> {
    let first = rest.try_get_u8().map_err(|_| malformed("its head"))?;
    let (_, digits) = number(rest)?.ok_or_else(|| malformed("its length"))?;
    rest.advance(digits);
    let (qos, dup, retain) = (first >> 1 & 3, first & 8 != 0, first & 1 != 0);
    let length = rest.try_get_u16().map_err(|_| malformed("its topic"))?;
    let topic = take(rest, length.into(), "its topic")?;
    if qos > 2 || topic.is_empty() {
        return Err(malformed("its head"));
    }
    let packet_id = if qos == 0 {
        0
    } else {
        let id = rest
            .try_get_u16()
            .map_err(|_| malformed("its identifier"))?;
        if id == 0 {
            return Err(malformed("its identifier"));
        }
        id
    };
    Ok(Message {
        topic,
        properties: Bytes::new(),
        payload: Bytes::new(),
        left_out: 0,
        packet_id,
        qos,
        dup,
        retain,
    })
}

pub(super) fn take(rest: &mut Bytes, length: usize, what: &str) -> Result<Bytes, Lost> {
    if length > rest.len() {
        return Err(malformed(what));
    }
    Ok(rest.split_to(length))
}

pub(super) fn malformed(what: &str) -> Lost {
    Lost::Broken(format!("the broker sent a malformed packet: {what}"))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};

    use super::super::properties::{self, Value};
    use super::*;

    #[test]
    fn it_is_known_where_a_packet_ends_and_at_its_head_that_it_is_too_long() {
        for (input, expected) in [
            (&[][..], Some(Frame::Part(2))),
            (&[0x30], Some(Frame::Part(1))),
            (&[0x30, 3, 0, 1], Some(Frame::Part(1))),
            (&[0x30, 3, 0, 1, b'a', 9, 9], Some(Frame::Publish(5))),
            (&[0xd0, 0], Some(Frame::Other(2))),
            (&[0x30, 0x80, 0x80, 0x80, 2], Some(Frame::Part(4 << 20))),
            (&[0x30, 0x81, 0x80, 0x80, 2], Some(Frame::Part(4))),
            (
                &[0x30, 0x81, 0x80, 0x80, 2, 0, 1, b'a'],
                Some(Frame::Part(2)),
            ),
            (
                &[0x30, 0x81, 0x80, 0x80, 2, 0, 1, b'a', 0, 7],
                Some(Frame::TooLarge(5 + (4 << 20) + 1)),
            ),
            (&[0x90, 0x80, 0x80, 4], Some(Frame::Part(64 * 1024))),
            (&[0x90, 0x81, 0x80, 4], None),
            (&[0x30, 0xff, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(first(input).ok(), expected, "{input:x?}");
        }
    }

    proptest! {
        #[test]
        fn a_publish_is_read_as_rumqttc_writes_it(
            topic in "[a-z/]{1,40}",
            payload in prop::collection::vec(any::<u8>(), 0..300),
            qos in 0_u8..3,
            packet_id in 1_u16..,
            dup: bool,
            retain: bool,
            said in prop::collection::vec((".{0,9}", ".{0,9}"), 0..4),
        ) {
            let level = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
            let more = PublishProperties { user_properties: said.clone(), ..PublishProperties::default() };
            let mut publish = Publish::new(topic.clone(), level, payload.clone(), Some(more));
            (publish.pkid, publish.dup) = (if qos == 0 { 0 } else { packet_id }, dup);
            publish.retain = retain;
            let (id, mut written) = (publish.pkid, BytesMut::new());
            Packet::Publish(publish).write(&mut written, None).unwrap();
            prop_assert_eq!(first(&written).ok(), Some(Frame::Publish(written.len())));
            let read = super::publish(written.freeze(), true).unwrap();
            prop_assert_eq!((read.topic, read.payload), (topic.into(), payload.into()));
            prop_assert_eq!((read.packet_id, read.qos, read.dup), (id, qos, dup));
            prop_assert_eq!((read.retain, read.left_out), (retain, 0));
            let mut rest = read.properties;
            for (name, text) in said {
                let pair = Value::Pair(name.into(), text.into());
                prop_assert_eq!(properties::next(&mut rest).unwrap(), Some((0x26, pair)));
            }
            prop_assert_eq!(properties::next(&mut rest).unwrap(), None);
        }
    }
}
