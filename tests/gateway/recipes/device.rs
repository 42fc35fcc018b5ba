//! A client of MQTT 3.1.1 that publishes, and may be lost.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::hostile::packet;
use crate::rig::PATIENCE;

pub(super) struct Device {
    stream: TcpStream,
    id: u16,
}

impl Device {
    /// `will` is a topic, a payload, and whether the broker is to keep it.
    pub(super) fn connect(port: u16, client: &str, will: Option<(&str, &[u8], bool)>) -> Device {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Clean session, and a will of QoS 1.
        let flags = match will {
            Some((.., retained)) => 0x02 | 0x04 | 0x08 | u8::from(retained) << 5,
            None => 0x02,
        };
        let mut body = [
            &text(b"MQTT")[..],
            &[4, flags, 0, 60],
            &text(client.as_bytes()),
        ]
        .concat();
        if let Some((topic, payload, _)) = will {
            body.extend(text(topic.as_bytes()));
            body.extend(text(payload));
        }
        stream.write_all(&packet(0x10, &body)).unwrap();
        let mut device = Device { stream, id: 0 };
        assert_eq!(device.answer(), [0x20, 2, 0, 0]);
        device
    }

    /// With QoS 1 it returns when the broker has it.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retained: bool) {
        let mut body = text(topic.as_bytes());
        if qos > 0 {
            self.id += 1;
            body.extend(self.id.to_be_bytes());
        }
        body.extend(payload);
        let kind = 0x30 | qos << 1 | u8::from(retained);
        self.stream.write_all(&packet(kind, &body)).unwrap();
        if qos > 0 {
            let [high, low] = self.id.to_be_bytes();
            assert_eq!(self.answer(), [0x40, 2, high, low]);
        }
    }

    /// The connection breaks without a DISCONNECT: the broker sends the will.
    pub(super) fn lose(self) {
        drop(self);
    }

    fn answer(&mut self) -> [u8; 4] {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).unwrap();
        answer
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}
