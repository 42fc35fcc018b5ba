//! The words for what a broker refuses and for why it hangs up: the standard's names, what the broker adds, and what to do.

use std::fmt::Write;

use super::section::Version;

/// What a broker adds to its answer (MQTT 5 section 2.2.2.2), as far as it is of use.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Seconds: Server Keep Alive.
    pub(super) keep_alive: Option<u16>,
    /// Reason String.
    pub(super) words: Option<String>,
    /// Server Reference.
    pub(super) server: Option<String>,
}

/// From here on a code is a failure (MQTT 5 section 2.4; 3.1.1 section 3.9.3).
pub(super) const FAILURE: u8 = 0x80;

/// Why a CONNACK let us not in.
pub(super) fn refused(version: Version, code: u8, said: &Said) -> String {
    let is_of_311 = version == Version::V311 || code < FAILURE;
    let name = if is_of_311 {
        name_311(code).map(|name| format!("{name} ({code})"))
    } else {
        name(code).map(|name| format!("{name} (0x{code:02X})"))
    };
    let name = name.unwrap_or_else(|| format!("code {code}"));
    let mut text = format!("the broker refused the connection: {name}");
    add(&mut text, said);
    let advice = match (is_of_311, code) {
        (true, 1) if version == Version::V5 => "; it speaks no MQTT 5; set `version = \"3.1.1\"`",
        (true, 1) => "; try `version = \"5\"`",
        (true, 2) => advice(0x85),
        (true, 3) => advice(0x88),
        (true, 4) => advice(0x86),
        (true, 5) => advice(0x87),
        (true, _) => "",
        (false, code) => advice(code),
    };
    text + advice
}

/// Why a broker of MQTT 5 ended the connection.
pub(super) fn disconnected(code: u8, said: &Said) -> String {
    let name = match (code, name(code)) {
        (0, _) => "Normal disconnection, 0x00".into(),
        (_, Some(name)) => format!("{name}, 0x{code:02X}"),
        (_, None) => format!("code 0x{code:02X}"),
    };
    let mut text = format!("the broker ended the connection ({name})");
    add(&mut text, said);
    text + advice(code)
}

/// Why a subscription was not granted.
pub(super) fn not_granted(code: u8) -> String {
    match name(code) {
        Some(name) => format!("{name} (0x{code:02X})"),
        None => format!("code 0x{code:02X}"),
    }
}

fn add(text: &mut String, said: &Said) {
    // Writing to a String cannot fail.
    if let Some(words) = &said.words {
        write!(text, ", and says `{words}`").ok();
    }
    if let Some(server) = &said.server {
        write!(text, ", and names the server `{server}`").ok();
    }
}

/// Return codes of a CONNACK of MQTT 3.1.1 (section 3.2.2.3).
fn name_311(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "Unacceptable protocol version",
        2 => "Identifier rejected",
        3 => "Server unavailable",
        4 => "Bad user name or password",
        5 => "Not authorized",
        _ => return None,
    })
}

/// Reason codes of failure of MQTT 5 (section 2.4).
fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x80 => "Unspecified error",
        0x81 => "Malformed Packet",
        0x82 => "Protocol Error",
        0x83 => "Implementation specific error",
        0x84 => "Unsupported Protocol Version",
        0x85 => "Client Identifier not valid",
        0x86 => "Bad User Name or Password",
        0x87 => "Not authorized",
        0x88 => "Server unavailable",
        0x89 => "Server busy",
        0x8a => "Banned",
        0x8b => "Server shutting down",
        0x8c => "Bad authentication method",
        0x8d => "Keep Alive timeout",
        0x8e => "Session taken over",
        0x8f => "Topic Filter invalid",
        0x90 => "Topic Name invalid",
        0x91 => "Packet Identifier in use",
        0x92 => "Packet Identifier not found",
        0x93 => "Receive Maximum exceeded",
        0x94 => "Topic Alias invalid",
        0x95 => "Packet too large",
        0x96 => "Message rate too high",
        0x97 => "Quota exceeded",
        0x98 => "Administrative action",
        0x99 => "Payload format invalid",
        0x9a => "Retain not supported",
        0x9b => "QoS not supported",
        0x9c => "Use another server",
        0x9d => "Server moved",
        0x9e => "Shared Subscriptions not supported",
        0x9f => "Connection rate exceeded",
        0xa0 => "Maximum connect time",
        0xa1 => "Subscription Identifiers not supported",
        0xa2 => "Wildcard Subscriptions not supported",
        _ => return None,
    })
}

/// What an operator is to do about it.
fn advice(code: u8) -> &'static str {
    match code {
        0x84 => "; set `version = \"3.1.1\"`",
        0x85 => "; choose another `client_id`, or have the broker allow this one",
        0x86 => "; right `username` and `password`, here or in the broker",
        0x87 => "; give this user or client the right to connect, in the broker",
        0x88 | 0x89 | 0x8b => "; nothing is to be done unless it lasts",
        0x8a => "; have the broker's operator lift the ban",
        0x8d => "; the link is slow or broken, or `keep_alive` is too short for it",
        0x8e => "; another client connected with this `client_id`: give each its own",
        0x95 => {
            "; too many or too long filters for this broker: spread them over several [[mqtt]] sources"
        }
        0x96 | 0x97 | 0x9f => "; the broker has a limit for this client: raise it there",
        0x98 => "; ask the broker's operator",
        0x9c | 0x9d => "; it is not followed by itself: set `host` to the server that is meant",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_said_for_what_an_operator_can_mend() {
        let moved = Said {
            words: Some("for good".into()),
            server: Some("b2:1883".into()),
            ..Said::default()
        };
        let none = Said::default();
        for (said, expected) in [
            (
                refused(Version::V5, 0x9d, &moved),
                "the broker refused the connection: Server moved (0x9D), and says `for good`, and names the server `b2:1883`; it is not followed by itself: set `host` to the server that is meant",
            ),
            (
                refused(Version::V311, 4, &none),
                "the broker refused the connection: Bad user name or password (4); right `username` and `password`, here or in the broker",
            ),
            (
                disconnected(0x8e, &none),
                "the broker ended the connection (Session taken over, 0x8E); another client connected with this `client_id`: give each its own",
            ),
            (
                not_granted(0x9e),
                "Shared Subscriptions not supported (0x9E)",
            ),
            (not_granted(0xf0), "code 0xF0"),
        ] {
            assert_eq!(said, expected);
        }
        for code in 1..=5 {
            let said = refused(Version::V311, code, &none);
            assert!(said.contains("; "), "what to do: {said}");
        }
    }
}
