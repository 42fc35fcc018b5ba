//! A node of Sparkplug B with a device: birth, data, death, as protobuf (`sparkplug_b.proto` of Eclipse Tahu).

use super::device::Device;
use super::{Sent, Site};
use crate::needs_kafka;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn integer(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let length = varint(value.len() as u64);
    [varint(field << 3 | 2), length, value.to_vec()].concat()
}

/// `DataType` of the specification.
const DOUBLE: u64 = 10;
const INT64: u64 = 4;

/// With its name only in a BIRTH.
fn metric(name: Option<&str>, alias: u64, value: f64) -> Vec<u8> {
    let double = [varint(13 << 3 | 1), value.to_le_bytes().to_vec()].concat();
    let name = name.map_or_else(Vec::new, |name| bytes(1, name.as_bytes()));
    let rest = [integer(2, alias), integer(4, DOUBLE), double].concat();
    bytes(2, &[name, rest].concat())
}

fn session() -> Vec<u8> {
    let metric = [bytes(1, b"bdSeq"), integer(4, INT64), integer(11, 7)].concat();
    bytes(2, &metric)
}

fn payload(metrics: &[u8], seq: Option<u64>) -> Vec<u8> {
    let seq = seq.map_or_else(Vec::new, |seq| integer(3, seq));
    [integer(1, 1_796_083_200_000), metrics.to_vec(), seq].concat()
}

fn of_node(node: &'static str, kind: &'static str, intent: &'static str, what: Vec<u8>) -> Sent {
    let topic = format!("spBv1.0/Plant7/{kind}/{node}");
    Sent::new(&topic, what, intent, node, kind)
}

fn of_device(kind: &'static str, intent: &'static str, what: Vec<u8>) -> Sent {
    let topic = format!("spBv1.0/Plant7/{kind}/edge-1/press-3");
    Sent::new(&topic, what, intent, "edge-1", kind)
}

/// The life of a node, in the order of its `seq`.
fn life() -> Vec<Sent> {
    let (node, press) = (metric(Some("cpu"), 1, 0.5), metric(Some("temp"), 2, 21.5));
    let born = payload(&[session(), node].concat(), Some(0));
    let mut life = vec![
        of_node("edge-1", "NBIRTH", "state", born),
        of_device("DBIRTH", "state", payload(&press, Some(1))),
    ];
    for number in 2..602_u32 {
        let value = payload(
            &metric(None, 1, number.into()),
            Some(u64::from(number) % 256),
        );
        life.push(if number % 3 == 0 {
            of_node("edge-1", "NDATA", "sparkplug", value)
        } else {
            of_device("DDATA", "sparkplug", value)
        });
    }
    life.push(of_device(
        "DDEATH",
        "critical",
        payload(&[], Some(602 % 256)),
    ));
    life
}

#[test]
fn messages_of_sparkplug_b_arrive_as_the_recipe_says_with_data_in_order() {
    needs_kafka!();
    let host = "spBv1.0/STATE/scada-1";
    let online = br#"{"online":true,"timestamp":1796083200000}"#;
    let host = Sent::new(host, online, "state", "scada-1", "STATE").retained();
    let site = Site::open("Sparkplug B", std::slice::from_ref(&host));
    let death = of_node("edge-1", "NDEATH", "critical", payload(&session(), None));
    let will = (&*death.topic, &*death.payload, false);
    let mut edge = Device::connect(site.mqtt.port, "edge-1", Some(will));
    let mut other = site.device("edge-2");
    let mut all = vec![host];
    for (number, sent) in life().into_iter().enumerate() {
        // Only the will has QoS 1 (Sparkplug 3.0 section 6.4); every 50th tells here that the broker keeps up.
        let qos = u8::from(number % 50 == 0);
        edge.publish(&sent.topic, &sent.payload, qos, false);
        all.push(sent);
        if number % 10 == 0 {
            let value = payload(&metric(None, 1, 0.25), Some(number as u64 / 10));
            let sent = of_node("edge-2", "NDATA", "sparkplug", value);
            other.publish(&sent.topic, &sent.payload, 0, false);
            all.push(sent);
        }
    }
    edge.lose();
    all.push(death);
    site.assert_arrived(&all);
}
