//! What goes to a broker and comes from it, whatever the version of MQTT.

use bytes::Bytes;

use super::login::Login;
use super::section::Settings;
use super::subscriptions::Filter;

/// Larger messages are passed over: acknowledged, dropped by their lane and counted, as are those between the record limit, which
/// is far below, and this. No broker is told of it: one of MQTT 5 would drop them in silence (section 3.1.2.11.4).
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
    /// For each filter of the SUBSCRIBE with this packet identifier the QoS that was granted, or a code from
    /// [`FAILURE`](super::reason::FAILURE) on.
    SubAck(u16, Vec<u8>),
    /// The same for an UNSUBSCRIBE; MQTT 3.1.1 has no codes here.
    UnsubAck(u16, Vec<u8>),
    PingResp,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    /// Those of MQTT 5, as they came.
    pub(super) properties: Bytes,
    pub(super) payload: Bytes,
    /// Bytes that were not read, as there are too many: those of its properties and its payload, which is empty then.
    pub(super) left_out: usize,
    /// 0 with QoS 0.
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    /// The broker has sent it before.
    pub(super) dup: bool,
    /// It is one that the broker keeps, sent because we subscribed (MQTT 3.1.1 section 3.3.1.3).
    pub(super) retain: bool,
}

/// What goes to a broker.
#[derive(Debug)]
pub(super) enum Sent<'a> {
    Connect(&'a Settings, &'a Login),
    Subscribe(u16, &'a [Filter]),
    Unsubscribe(u16, &'a [String]),
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    PingReq,
    Disconnect,
}
