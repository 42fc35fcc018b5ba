//! Where a packet ends, and what a PUBLISH says.
//!
//! rumqttc codes the other packets. A PUBLISH is read here: whoever publishes chooses its properties, of which none is needed, and
//! a packet of four mebibytes of them would take forty in memory. Pure, and the same for both versions but for the properties.

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
    let most = if is_publish {
        PACKET_BYTES_MAX as usize
    } else {
        CONTROL_BYTES_MAX
    };
    if length > most {
        return Err(Lost::Broken(format!(
            "the broker sent a packet of {length} bytes; at most {most} are read"
        )));
    }
    let end = 1 + digits + length;
    Ok(match end.checked_sub(input.len()) {
        Some(more) if more > 0 => Frame::Part(more),
        Some(_) | None if is_publish => Frame::Publish(end),
        Some(_) | None => Frame::Other(end),
    })
}

/// A variable byte integer at the beginning of `input`, and how many bytes it has; none while its end is not here.
fn number(input: &[u8]) -> Result<Option<(usize, usize)>, Lost> {
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
    let first = rest.try_get_u8().map_err(|_| malformed("its head"))?;
    let (_, digits) = number(&rest)?.ok_or_else(|| malformed("its length"))?;
    rest.advance(digits);
    let (qos, dup) = (first >> 1 & 3, first & 8 != 0);
    let length = rest.try_get_u16().map_err(|_| malformed("its topic"))?;
    let topic = take(&mut rest, length.into(), "its topic")?;
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
    if has_properties {
        let (length, digits) = number(&rest)?.ok_or_else(|| malformed("its properties"))?;
        rest.advance(digits);
        take(&mut rest, length, "its properties")?;
    }
    Ok(Message {
        topic,
        payload: rest,
        packet_id,
        qos,
        dup,
    })
}

fn take(rest: &mut Bytes, length: usize, what: &str) -> Result<Bytes, Lost> {
    if length > rest.len() {
        return Err(malformed(what));
    }
    Ok(rest.split_to(length))
}

fn malformed(what: &str) -> Lost {
    Lost::Broken(format!("the broker sent a malformed packet: {what}"))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};

    use super::*;

    #[test]
    fn it_is_known_where_a_packet_ends_and_one_that_is_too_long_is_refused_at_its_head() {
        for (input, expected) in [
            (&[][..], Some(Frame::Part(2))),
            (&[0x30], Some(Frame::Part(1))),
            (&[0x30, 3, 0, 1], Some(Frame::Part(1))),
            (&[0x30, 3, 0, 1, b'a', 9, 9], Some(Frame::Publish(5))),
            (&[0xd0, 0], Some(Frame::Other(2))),
            (&[0x30, 0x80, 0x80, 0x80, 2], Some(Frame::Part(4 << 20))),
            (&[0x30, 0x81, 0x80, 0x80, 2], None),
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
            properties in prop::collection::vec((".{0,9}", ".{0,9}"), 0..4),
        ) {
            let level = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
            let more = PublishProperties { user_properties: properties, ..PublishProperties::default() };
            let mut publish = Publish::new(topic.clone(), level, payload.clone(), Some(more));
            (publish.pkid, publish.dup) = (if qos == 0 { 0 } else { packet_id }, dup);
            let (id, mut written) = (publish.pkid, BytesMut::new());
            Packet::Publish(publish).write(&mut written, None).unwrap();
            prop_assert_eq!(first(&written).ok(), Some(Frame::Publish(written.len())));
            let read = super::publish(written.freeze(), true).unwrap();
            prop_assert_eq!((read.topic, read.payload), (topic.into(), payload.into()));
            prop_assert_eq!((read.packet_id, read.qos, read.dup), (id, qos, dup));
        }
    }
}
