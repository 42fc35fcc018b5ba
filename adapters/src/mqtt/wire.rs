//! The socket to a broker, and packets on it, of either version.
//!
//! rumqttc codes the packets. Its own loops take each acknowledgement through a channel and flush it alone, which costs four
//! times the CPU, and read ten packets for each that they write, so that a broker which sends more than it may fills our
//! memory. So reading and writing are ours.

use bytes::BytesMut;
use rumqttc::tokio_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{self, Frame};
use super::login::Login;
use super::packet::{Received, Sent};
use super::section::{Settings, Version};
use super::{Lost, PATIENCE, v4, v5};

const READ_BYTES: usize = 16 * 1024;
/// What the input holds on to while it is empty: a large packet does not keep its room.
const INPUT_BYTES: usize = 8 * READ_BYTES;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

pub(super) struct Wire {
    version: Version,
    socket: Box<dyn Socket>,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    pub(super) async fn open(settings: &Settings, login: &Login) -> Result<Wire, Lost> {
        let address = (settings.host.as_str(), settings.port);
        let tcp = TcpStream::connect(address).await.map_err(Lost::broken)?;
        // Acknowledgements are gathered here, not in the kernel.
        tcp.set_nodelay(true).map_err(Lost::broken)?;
        let socket: Box<dyn Socket> = match &login.tls {
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
            if let Some(packet) = next(self.version, &mut self.input)? {
                return Ok(packet);
            }
            if self.input.is_empty() && self.input.capacity() > INPUT_BYTES {
                self.input = BytesMut::new();
            }
            self.input.reserve(READ_BYTES);
            let read = self.socket.read_buf(&mut self.input).await;
            if read.map_err(Lost::broken)? == 0 {
                return Err(Lost::Broken("the broker closed the connection".into()));
            }
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

/// Takes the first packet out of `input`, once all of it is here.
pub(super) fn next(version: Version, input: &mut BytesMut) -> Result<Option<Received>, Lost> {
    let received = match (frame::first(input)?, version) {
        (Frame::Part(more), _) => {
            input.reserve(more);
            return Ok(None);
        }
        (Frame::Publish(end), version) => {
            let packet = input.split_to(end).freeze();
            Received::Publish(frame::publish(packet, version == Version::V5)?)
        }
        (Frame::Other(_), Version::V311) => v4::read(input)?,
        (Frame::Other(_), Version::V5) => v5::read(input)?,
    };
    Ok(Some(received))
}
