//! The socket to a broker, and packets on it, of either version.
//!
//! rumqttc codes the packets. Its own loops take each acknowledgement through a channel and flush it alone, which costs four
//! times the CPU, and read ten packets for each that they write, so that a broker which sends more than it may fills our
//! memory. So reading and writing are ours.

use bytes::{Bytes, BytesMut};
use rumqttc::tokio_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::section::{Settings, Version};
use super::subscriptions::Filter;
use super::{Lost, PATIENCE, v4, v5};

/// Larger packets end the connection with a broker of 3.1.1; one of 5 drops them (MQTT 5 section 3.1.2.11.4). The record limit is
/// far below; a message between the two is acknowledged, dropped and counted.
pub(super) const PACKET_BYTES_MAX: u32 = 4 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

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
}

/// What goes to a broker.
#[derive(Debug)]
pub(super) enum Sent<'a> {
    Connect(&'a Settings),
    Subscribe(u16, &'a [Filter]),
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    PingReq,
    Disconnect,
}

trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

pub(super) struct Wire {
    version: Version,
    socket: Box<dyn Socket>,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    pub(super) async fn open(settings: &Settings) -> Result<Wire, Lost> {
        let address = (settings.host.as_str(), settings.port);
        let tcp = TcpStream::connect(address).await.map_err(Lost::broken)?;
        // Acknowledgements are gathered here, not in the kernel.
        tcp.set_nodelay(true).map_err(Lost::broken)?;
        let socket: Box<dyn Socket> = match &settings.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(settings.host.clone()).map_err(Lost::broken)?;
                let connector = TlsConnector::from(tls.clone());
                Box::new(connector.connect(name, tcp).await.map_err(Lost::broken)?)
            }
        };
        Ok(Wire {
            version: settings.version,
            socket,
            input: BytesMut::new(),
            output: BytesMut::new(),
        })
    }

    /// The next packet. Nothing is lost where this is cancelled.
    pub(super) async fn read(&mut self) -> Result<Received, Lost> {
        loop {
            if let Some(packet) = self.framed()? {
                return Ok(packet);
            }
            self.input.reserve(READ_BYTES);
            let read = self.socket.read_buf(&mut self.input).await;
            if read.map_err(Lost::broken)? == 0 {
                return Err(Lost::Broken("the broker closed the connection".into()));
            }
        }
    }

    fn framed(&mut self) -> Result<Option<Received>, Lost> {
        match self.version {
            Version::V311 => v4::read(&mut self.input),
            Version::V5 => v5::read(&mut self.input),
        }
    }

    /// To be sent with the next flush.
    pub(super) fn write(&mut self, packet: &Sent<'_>) -> Result<(), Lost> {
        match self.version {
            Version::V311 => v4::write(packet, &mut self.output),
            Version::V5 => v5::write(packet, &mut self.output),
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Lost> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(PATIENCE, async {
            self.socket.write_all_buf(&mut self.output).await?;
            self.socket.flush().await
        });
        written
            .await
            .map_err(|_| Lost::Silent)?
            .map_err(Lost::broken)
    }
}
