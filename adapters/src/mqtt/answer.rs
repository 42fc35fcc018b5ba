//! What a broker says that is no message: CONNACK, SUBACK, UNSUBACK, PUBREL, PINGRESP and DISCONNECT, of both versions. Pure.
//!
//! A code or a property that no version of the standard names does no harm: what the broker says is passed on in words.

use bytes::{Buf, Bytes};

use super::Lost;
use super::frame::{self, malformed, number};
use super::packet::Received;
use super::properties::{self, Value};
use super::reason::{self, Said};
use super::section::Version;

/// Types of packets, in the upper half of the first byte (MQTT 5 section 2.1.2).
const CONNACK: u8 = 2;
const PUBREL: u8 = 6;
const SUBACK: u8 = 9;
const UNSUBACK: u8 = 11;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;

/// The whole `packet`, which is no PUBLISH.
pub(super) fn read(packet: Bytes, version: Version) -> Result<Received, Lost> {
    let mut rest = packet;
    let kind = rest.try_get_u8().map_err(|_| malformed("its head"))? >> 4;
    let (_, digits) = number(&rest)?.ok_or_else(|| malformed("its length"))?;
    rest.advance(digits);
    match kind {
        CONNACK => connected(rest, version),
        PUBREL => Ok(Received::PubRel(packet_id(&mut rest)?)),
        SUBACK => codes(rest, version).map(|(id, codes)| Received::SubAck(id, codes)),
        UNSUBACK => codes(rest, version).map(|(id, codes)| Received::UnsubAck(id, codes)),
        PINGRESP => Ok(Received::PingResp),
        DISCONNECT if version == Version::V5 => {
            // Without a code it is 0, without properties there are none (MQTT 5 section 3.14.2.1).
            let code = rest.try_get_u8().unwrap_or_default();
            let said = properties(&mut rest)?;
            Err(Lost::Broken(reason::disconnected(code, &said)))
        }
        _ => Err(Lost::unexpected()),
    }
}

fn connected(mut rest: Bytes, version: Version) -> Result<Received, Lost> {
    let [flags, code] = [0; 2].map(|_: u8| rest.try_get_u8());
    let flags = flags.map_err(|_| malformed("a CONNACK"))?;
    let code = code.map_err(|_| malformed("a CONNACK"))?;
    // A broker that does not know MQTT 5 answers as one of 3.1.1, without properties.
    let said = match version {
        Version::V311 => Said::default(),
        Version::V5 => properties(&mut rest)?,
    };
    if code != 0 {
        return Err(Lost::Broken(reason::refused(version, code, &said)));
    }
    Ok(Received::ConnAck {
        session_present: flags & 1 != 0,
        // 0 asks for no pings; ours do no harm, and tell us of a dead connection.
        keep_alive: said.keep_alive.filter(|seconds| *seconds > 0),
    })
}

fn packet_id(rest: &mut Bytes) -> Result<u16, Lost> {
    rest.try_get_u16().map_err(|_| malformed("its identifier"))
}

/// What a SUBACK or an UNSUBACK answers, and its codes, one for each filter; an UNSUBACK of 3.1.1 has none.
fn codes(mut rest: Bytes, version: Version) -> Result<(u16, Vec<u8>), Lost> {
    let id = packet_id(&mut rest)?;
    if version == Version::V5 {
        properties(&mut rest)?;
    }
    Ok((id, rest.to_vec()))
}

/// Reads the properties (MQTT 5 section 2.2.2) and keeps those that are of use.
fn properties(rest: &mut Bytes) -> Result<Said, Lost> {
    let mut said = Said::default();
    if rest.is_empty() {
        return Ok(said);
    }
    let words = |text: &Bytes| String::from_utf8_lossy(text).into_owned();
    let mut all = frame::properties(rest)?;
    while let Some((identifier, value)) = properties::next(&mut all)? {
        match (identifier, &value) {
            (0x13, Value::Number(seconds)) => said.keep_alive = u16::try_from(*seconds).ok(),
            (0x1c, Value::Text(server)) => said.server = Some(words(server)),
            (0x1f, Value::Text(text)) => said.words = Some(words(text)),
            _ => {}
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: Version, packet: &[u8]) -> String {
        match read(Bytes::copy_from_slice(packet), version) {
            Ok(received) => format!("{received:?}"),
            Err(lost) => lost.to_string(),
        }
    }

    #[test]
    fn what_a_broker_answers_is_read_and_a_refusal_is_said_in_words() {
        use Version::{V5, V311};
        for (version, packet, expected) in [
            (
                V311,
                &[0x20, 2, 1, 0][..],
                "session_present: true, keep_alive: None",
            ),
            (V311, &[0x20, 2, 0, 5], "Not authorized (5)"),
            (V311, &[0x20, 2, 0, 9], "code 9"),
            (V311, &[0x20, 1, 0], "malformed"),
            // Server Keep Alive (MQTT 5 section 3.2.2.3.14).
            (
                V5,
                &[0x20, 6, 0, 0, 3, 0x13, 0, 5],
                "session_present: false, keep_alive: Some(5)",
            ),
            (V5, &[0x20, 6, 0, 0, 3, 0x13, 0, 0], "keep_alive: None"),
            // A property that is not known, before it one of each kind of length.
            (
                V5,
                &[
                    0x20, 20, 0, 0, 17, 0x24, 1, 0x21, 0, 9, 0x27, 0, 0, 0, 9, 0x26, 0, 0, 0, 0,
                    0x77, 0,
                ],
                "keep_alive: None",
            ),
            (
                V5,
                &[0x20, 9, 0, 0x87, 6, 0x1f, 0, 3, b'w', b'h', b'y'],
                "Not authorized (0x87), and says `why`",
            ),
            (
                V5,
                &[0x20, 2, 0, 1],
                "speaks no MQTT 5; set `version = \"3.1.1\"`",
            ),
            (V5, &[0x20, 5, 0, 0x87, 9, 0x1f, 0], "malformed"),
            (
                V5,
                &[0xe0, 0],
                "the broker ended the connection (Normal disconnection, 0x00)",
            ),
            (V5, &[0xe0, 1, 0x8e], "Session taken over, 0x8E"),
            (V5, &[0xe0, 7, 0x9c, 5, 0x1c, 0, 2, b'b', b'2'], "`b2`"),
            (V5, &[0xe0, 1, 0x77], "code 0x77"),
            (V311, &[0xe0, 0], "no client gets"),
            (V311, &[0x90, 4, 0, 1, 0, 0x80], "SubAck(1, [0, 128])"),
            (V5, &[0x90, 5, 0, 1, 0, 1, 0x87], "SubAck(1, [1, 135])"),
            (V311, &[0xb0, 2, 0, 1], "UnsubAck(1, [])"),
            (V5, &[0xb0, 4, 0, 1, 0, 0x11], "UnsubAck(1, [17])"),
            (V5, &[0x62, 2, 1, 2], "PubRel(258)"),
            (V5, &[0xd0, 0], "PingResp"),
            (V5, &[0xf0, 0], "no client gets"),
        ] {
            let answer = answer(version, packet);
            assert!(answer.contains(expected), "{packet:x?}: {answer}");
        }
    }
}
