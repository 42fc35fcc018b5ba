//! The packets of MQTT 5. The broker learns our window (`receive_maximum`) from us.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode,
    Filter, Login, Packet, PingReq, PubAck, PubComp, PubRec, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{QoS, qos};

use super::Lost;
use super::packet::{PACKET_BYTES_MAX, Received, Sent};
use super::section::Settings;

/// The next packet, which is all here and is no PUBLISH.
pub(super) fn read(input: &mut BytesMut) -> Result<Received, Lost> {
    let packet = Packet::read(input, Some(PACKET_BYTES_MAX)).map_err(Lost::broken)?;
    Ok(match packet {
        Packet::ConnAck(answer) => connected(&answer)?,
        Packet::PubRel(release) => Received::PubRel(release.pkid),
        Packet::SubAck(answer) => {
            let codes = answer.return_codes.iter();
            let granted = codes.map(|code| matches!(code, SubscribeReasonCode::Success(_)));
            Received::SubAck(granted.collect())
        }
        Packet::PingResp(_) => Received::PingResp,
        Packet::Disconnect(bye) => {
            let reason = bye.reason_code;
            return Err(Lost::Broken(format!(
                "the broker said DISCONNECT: {reason:?}"
            )));
        }
        Packet::Publish(_)
        | Packet::Auth(_)
        | Packet::Connect(..)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq(_) => {
            return Err(Lost::unexpected());
        }
    })
}

fn connected(answer: &ConnAck) -> Result<Received, Lost> {
    if answer.code != ConnectReturnCode::Success {
        return Err(Lost::refused(answer.code));
    }
    let properties = answer.properties.as_ref();
    let keep_alive = properties.and_then(|properties| properties.server_keep_alive);
    Ok(Received::ConnAck {
        session_present: answer.session_present,
        // 0 asks for no pings; ours do no harm, and tell us of a dead connection.
        keep_alive: keep_alive.filter(|seconds| *seconds > 0),
    })
}

pub(super) fn write(packet: &Sent<'_>, output: &mut BytesMut) -> Result<(), Lost> {
    let packet = match packet {
        Sent::Connect(settings, shown) => connect(settings, shown.user.as_ref()),
        Sent::Subscribe(packet_id, filters) => {
            let filters = filters.iter().map(|(filter, level)| {
                Filter::new(filter, qos(*level).unwrap_or(QoS::AtLeastOnce))
            });
            let mut subscribe = Subscribe::new_many(filters, None);
            subscribe.pkid = *packet_id;
            Packet::Subscribe(subscribe)
        }
        Sent::PubAck(packet_id) => Packet::PubAck(PubAck::new(*packet_id, None)),
        Sent::PubRec(packet_id) => Packet::PubRec(PubRec::new(*packet_id, None)),
        Sent::PubComp(packet_id) => Packet::PubComp(PubComp::new(*packet_id, None)),
        Sent::PingReq => Packet::PingReq(PingReq),
        Sent::Disconnect => {
            Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))
        }
    };
    let written = packet.write(output, None);
    written.map(|_| ()).map_err(Lost::broken)
}

fn connect(settings: &Settings, user: Option<&(String, String)>) -> Packet {
    let connect = Connect {
        keep_alive: settings.keep_alive_s(),
        client_id: settings.client_id.clone(),
        clean_start: false,
        properties: Some(ConnectProperties {
            session_expiry_interval: Some(settings.session_expiry),
            receive_maximum: Some(settings.window),
            max_packet_size: Some(PACKET_BYTES_MAX),
            ..ConnectProperties::new()
        }),
    };
    let login = user.map(|(user, password)| Login::new(user, password));
    Packet::Connect(connect, None, login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_may_want_another_keep_alive_and_none_leaves_ours() {
        // CONNACK with the property Server Keep Alive (MQTT 5 section 3.2.2.3.14).
        for (seconds, expected) in [([0, 5], Some(5)), ([0, 0], None)] {
            let [high, low] = seconds;
            let mut input = BytesMut::from(&[0x20, 6, 0, 0, 3, 0x13, high, low][..]);
            let Ok(Received::ConnAck { keep_alive, .. }) = read(&mut input) else {
                panic!("it is a CONNACK");
            };
            assert_eq!(keep_alive, expected);
        }
    }
}
