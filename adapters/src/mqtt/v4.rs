//! The packets of MQTT 3.1.1 that go to a broker.

use bytes::BytesMut;
use rumqttc::mqttbytes::qos;
use rumqttc::mqttbytes::v4::{
    Connect, Login, Packet, PubAck, PubComp, PubRec, Subscribe, SubscribeFilter, Unsubscribe,
};

use super::Lost;
use super::packet::{PACKET_BYTES_MAX, Sent};

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
        Sent::Unsubscribe(packet_id, filters) => Packet::Unsubscribe(Unsubscribe {
            pkid: *packet_id,
            topics: filters.to_vec(),
        }),
        Sent::PubAck(packet_id) => Packet::PubAck(PubAck::new(*packet_id)),
        Sent::PubRec(packet_id) => Packet::PubRec(PubRec::new(*packet_id)),
        Sent::PubComp(packet_id) => Packet::PubComp(PubComp::new(*packet_id)),
        Sent::PingReq => Packet::PingReq,
        Sent::Disconnect => Packet::Disconnect,
    };
    let written = packet.write(output, PACKET_BYTES_MAX as usize);
    written.map(|_| ()).map_err(Lost::broken)
}
