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

use super::input::Input;
use super::login::Login;
use super::packet::{Received, Sent};
use super::section::{Settings, Version};
use super::{Lost, PATIENCE, v4, v5};

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

pub(super) struct Wire {
    version: Version,
    socket: Box<dyn Socket>,
    input: Input,
    /// Bytes that came, since the connection began.
    heard: u64,
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
            input: Input::new(settings.version),
            heard: 0,
            output: BytesMut::new(),
        })
    }

    /// The next packet. Nothing is lost where this is cancelled.
    pub(super) async fn read(&mut self) -> Result<Received, Lost> {
        loop {
            if let Some(packet) = self.input.next()? {
                return Ok(packet);
            }
            self.input.make_room();
            let read = self.socket.read_buf(&mut self.input.bytes).await;
            let read = read.map_err(Lost::broken)?;
            if read == 0 {
                return Err(Lost::Broken("the broker closed the connection".into()));
            }
            self.heard += read as u64;
        }
    }

    /// Bytes that came, since the connection began: also those of a packet that is not all here yet.
    pub(super) fn heard(&self) -> u64 {
        self.heard
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
