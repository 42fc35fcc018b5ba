//! The packets of MQTT 5 that go to a broker. It learns our window (`receive_maximum`) from us, and no limit of a packet's size. Without a
//! Topic Alias Maximum it may use no alias (section 3.1.2.11.5): each message names its topic.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Disconnect, DisconnectReasonCode, Filter, Login, Packet, PingReq,
    PubAck, PubComp, PubRec, Subscribe, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{QoS, qos};

use super::Lost;
use super::packet::Sent;
use super::section::Settings;

pub(super) fn write(packet: &Sent<'_>, output: &mut BytesMut) -> Result<(), Lost> {
    let packet = match packet {
        Sent::Connect(settings, shown) => connect(settings, shown.user.as_ref()),
        Sent::Subscribe(packet_id, filters) => {
            // Retain Handling stays 0: what the broker keeps comes again at each connection (MQTT 5 section 3.8.3.1). With 1, what
            // of it was lost with a connection would never come.
            let filters = filters.iter().map(|(filter, level)| {
                Filter::new(filter, qos(*level).unwrap_or(QoS::AtLeastOnce))
            });
            let mut subscribe = Subscribe::new_many(filters, None);
            subscribe.pkid = *packet_id;
            Packet::Subscribe(subscribe)
        }
        Sent::Unsubscribe(packet_id, filters) => Packet::Unsubscribe(Unsubscribe {
            pkid: *packet_id,
            filters: filters.to_vec(),
            properties: None,
        }),
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
            ..ConnectProperties::new()
        }),
    };
    let login = user.map(|(user, password)| Login::new(user, password));
    Packet::Connect(connect, None, login)
}
