//! The socket to a broker, and packets on it, of either version.
//!
//! rumqttc writes the packets. Its own loops take each acknowledgement through a channel and flush it alone, which costs four
//! times the CPU, and read ten packets for each that they write, so that a broker which sends more than it may fills our
//! memory. So reading and writing are ours.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::client::TlsStream;
use rustix::net::sockopt::set_tcp_quickack;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::certificate::words;
use super::input::Input;
use super::login::Login;
use super::packet::{Received, Sent};
use super::section::{Settings, Version};
use super::{Lost, PATIENCE, v4, v5};

/// Packets before a DISCONNECT that are passed over when nothing can be written any more: the broker offers messages again.
const LAST_PACKETS: usize = 1000;
/// How long a broker has to close the connection after a DISCONNECT.
const CLOSES: Duration = Duration::from_millis(500);

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

pub(super) struct Wire {
    version: Version,
    socket: Box<dyn Socket>,
    input: Input,
    /// Bytes that came, since the connection began.
    heard: u64,
    output: BytesMut,
    /// An alarm may come.
    may_be_urgent: bool,
    /// Something came that may have an alarm behind it, and the kernel has not been asked to confirm it.
    unconfirmed: bool,
}

impl Wire {
    pub(super) async fn open(settings: &Settings, login: &Login) -> Result<Wire, Lost> {
        let tcp = connect(&settings.host, settings.port).await?;
        // Acknowledgements are gathered here, not in the kernel.
        tcp.set_nodelay(true).map_err(Lost::broken)?;
        let socket: Box<dyn Socket> = match &login.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(settings.server_name.clone());
                let name = name.map_err(Lost::broken)?;
                let opened = TlsConnector::from(tls.clone()).connect(name, tcp).await;
                Box::new(opened.map_err(|error| Lost::Broken(words(&error)))?)
            }
        };
        Ok(Wire {
            version: settings.version,
            socket,
            input: Input::new(settings.version),
            heard: 0,
            output: BytesMut::new(),
            may_be_urgent: settings.may_be_urgent,
            unconfirmed: false,
        })
    }

    /// The next packet. Nothing is lost where this is cancelled.
    pub(super) async fn read(&mut self) -> Result<Received, Lost> {
        loop {
            if let Some(packet) = self.input.next()? {
                return Ok(packet);
            }
            if !self.input.bytes.is_empty() {
                // The rest of this packet may wait for that.
                self.confirm();
            }
            self.input.make_room();
            let read = self.socket.read_buf(&mut self.input.bytes).await;
            let read = read.map_err(Lost::broken)?;
            if read == 0 {
                return Err(Lost::Broken("the broker closed the connection".into()));
            }
            self.heard += read as u64;
            self.unconfirmed = self.may_be_urgent;
        }
    }

    /// Has the kernel confirm at once what came. Most brokers leave Nagle's algorithm on (RFC 896; mosquitto's `set_tcp_nodelay` is
    /// off): until that, the next message waits in the broker's kernel. Of itself ours confirms what nobody answers after 40 ms
    /// (RFC 1122 section 4.2.3.2), and a message is answered once it has its receipt: an alarm would wait so long behind any other.
    pub(super) fn confirm(&mut self) {
        if !std::mem::take(&mut self.unconfirmed) {
            return;
        }
        if let Err(error) = set_tcp_quickack(self.socket.tcp(), true) {
            tracing::debug!(%error, "what came is confirmed later");
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
        match written.await {
            Err(_) => Err(Lost::Silent),
            Ok(Err(error)) => Err(self.last_words(&error)),
            Ok(Ok(())) => {
                // What is sent confirms what came as well.
                self.unconfirmed = false;
                Ok(())
            }
        }
    }

    /// Ends the connection so that the broker reads all that was sent. A socket that is closed with something unread in it resets the
    /// connection (RFC 2525 section 2.17): the broker may then never see the last acknowledgements, and sends those messages again. So what
    /// comes meanwhile is read, and passed over, until the broker closes, as it must (MQTT 3.1.1 section 3.14.4).
    pub(super) async fn end(&mut self) -> Result<(), Lost> {
        self.write(&Sent::Disconnect)?;
        self.flush().await?;
        let socket = &mut self.socket;
        let closed = timeout(CLOSES, tokio::io::copy(socket, &mut tokio::io::sink())).await;
        if !matches!(closed, Ok(Ok(_))) {
            tracing::debug!(?closed, "the broker did not close the connection");
        }
        Ok(())
    }

    /// Why nothing can be written any more: what the broker said before it hung up is better than that it did.
    fn last_words(&mut self, error: &io::Error) -> Lost {
        for _ in 0..LAST_PACKETS {
            match self.read().now_or_never() {
                Some(Ok(_)) => {}
                Some(Err(said)) => return said,
                None => break,
            }
        }
        Lost::broken(error)
    }
}

/// Connects to one of the addresses that the name has, one after the other: one that does not answer leaves time for the next.
async fn connect(host: &str, port: u16) -> Result<TcpStream, Lost> {
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|error| Lost::Broken(format!("cannot find {host}: {error}")))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let share = u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = Lost::Broken(format!("{host} has no address"));
    for address in addresses {
        last = match timeout(PATIENCE / share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => Lost::Broken(format!("{address}: {error}")),
            Err(_) => Lost::Broken(format!(
                "no answer from {address} within {:?}",
                PATIENCE / share
            )),
        };
    }
    Err(last)
}
