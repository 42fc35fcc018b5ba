//! The packets of MQTT 3.1.1.

use bytes::BytesMut;
use rumqttc::mqttbytes::qos;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Login, Packet, PubAck, PubComp, PubRec, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};

use super::Lost;
use super::packet::{PACKET_BYTES_MAX, Received, Sent};

/// The next packet, which is all here and is no PUBLISH.
pub(super) fn read(input: &mut BytesMut) -> Result<Received, Lost> {
    let packet = Packet::read(input, PACKET_BYTES_MAX as usize).map_err(Lost::broken)?;
    Ok(match packet {
        Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Received::ConnAck {
            session_present: answer.session_present,
            keep_alive: None,
        },
        Packet::ConnAck(answer) => return Err(Lost::refused(answer.code)),
        Packet::PubRel(release) => Received::PubRel(release.pkid),
        Packet::SubAck(answer) => {
            let codes = answer.return_codes.iter();
            Received::SubAck(codes.map(|c| *c != SubscribeReasonCode::Failure).collect())
        }
        Packet::PingResp => Received::PingResp,
        Packet::Publish(_)
        | Packet::Connect(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::Disconnect => {
            return Err(Lost::unexpected());
        }
    })
}

pub(super) fn write(packet: &Sent<'_>, output: &mut BytesMut) -> Result<(), Lost> {
    let packet = match packet {
        Sent::Connect(settings, shown) => {
            let mut connect = Connect::new(&settings.client_id);
            connect.clean_session = false;
            connect.keep_alive = settings.keep_alive_s();
            connect.login = shown
                .user
                .as_ref()
                .map(|(user, password)| Login::new(user, password));
            Packet::Connect(connect)
        }
        Sent::Subscribe(packet_id, filters) => {
            let mut subscribe = Subscribe::new_many([]);
            subscribe.pkid = *packet_id;
            for (filter, level) in *filters {
                let qos = qos(*level).map_err(Lost::broken)?;
                let filter = SubscribeFilter::new(filter.clone(), qos);
                subscribe.filters.push(filter);
            }
            Packet::Subscribe(subscribe)
        }
        Sent::PubAck(packet_id) => Packet::PubAck(PubAck::new(*packet_id)),
        Sent::PubRec(packet_id) => Packet::PubRec(PubRec::new(*packet_id)),
        Sent::PubComp(packet_id) => Packet::PubComp(PubComp::new(*packet_id)),
        Sent::PingReq => Packet::PingReq,
        Sent::Disconnect => Packet::Disconnect,
    };
    let written = packet.write(output, PACKET_BYTES_MAX as usize);
    written.map(|_| ()).map_err(Lost::broken)
}
