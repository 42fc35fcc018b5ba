//! What goes to a broker and comes from it, whatever the version of MQTT.

use bytes::Bytes;

use super::login::Login;
use super::section::Settings;
use super::subscriptions::Filter;

/// Larger packets end the connection with a broker of 3.1.1; one of 5 drops them (MQTT 5 section 3.1.2.11.4). The record limit is
/// far below; a message between the two is acknowledged, dropped and counted.
pub(super) const PACKET_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What comes from a broker.
#[derive(Debug)]
pub(super) enum Received {
    /// `keep_alive` is in seconds, where the broker wants another than ours (MQTT 5 section 3.2.2.3.14).
    ConnAck {
        session_present: bool,
        keep_alive: Option<u16>,
    },
    Publish(Message),
    /// Of the QoS 2 message with this packet identifier.
    PubRel(u16),
    /// Whether each filter of the last SUBSCRIBE was granted.
    SubAck(Vec<bool>),
    PingResp,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// 0 with QoS 0.
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    /// The broker has sent it before.
    pub(super) dup: bool,
}

/// What goes to a broker.
#[derive(Debug)]
pub(super) enum Sent<'a> {
    Connect(&'a Settings, &'a Login),
    Subscribe(u16, &'a [Filter]),
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    PingReq,
    Disconnect,
}
