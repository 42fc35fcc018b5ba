//! The line: a serial port or a TCP connection, and one exchange on it.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::coding::RTU_FRAME_MAX;
use super::exchange::{ExchangeError, LineError, gone, hung_up};
use super::frame::Request;
use super::master::{Manners, Master, Timing};
use super::port::{Port, PortName};
use super::section::{Framing, LineSection};

const CONNECT: Duration = Duration::from_secs(5);
/// A peer that has gone without a word is noticed after this at most, also between two reads that are far apart: a question of the
/// kernel's after the first, then every second one, three times; what was sent and not confirmed counts as well.
const ALIVE_AFTER: Duration = Duration::from_secs(5);
const ALIVE_EVERY: Duration = Duration::from_secs(1);
const ALIVE_TRIES: u32 = 3;
const UNCONFIRMED_MS: u32 = 8_000;

pub(super) enum Line {
    Serial(Master<Port>),
    OverTcp(Master<TcpStream>),
    Tcp(Tcp),
}

/// A connection with Modbus TCP (MODBUS Messaging on TCP/IP Implementation Guide V1.0b).
pub(super) struct Tcp {
    stream: TcpStream,
    transaction: u16,
    /// The unit that answered in the place of the one that was asked.
    stranger: Option<u8>,
}

impl Line {
    pub(super) async fn open(line: &LineSection, name: &mut PortName) -> Result<Line, LineError> {
        match (&line.port, &line.tcp) {
            (Some(path), _) => {
                let port = name.open(path, line)?;
                let timing = Timing::of(line);
                Ok(Line::Serial(Master::new(
                    port,
                    line.coding(),
                    timing,
                    line.echo,
                )))
            }
            (None, Some(address)) => {
                let stream = connect(address).await?;
                Ok(match line.framing {
                    Some(Framing::Rtu | Framing::Ascii) => {
                        let timing = Timing {
                            gap: line.gap.map(|gap| gap.0),
                            ..Timing::default()
                        };
                        Line::OverTcp(Master::new(stream, line.coding(), timing, line.echo))
                    }
                    None | Some(Framing::Tcp) => Line::Tcp(Tcp {
                        stream,
                        transaction: 0,
                        stranger: None,
                    }),
                })
            }
            (None, None) => Err(LineError::NothingToRead),
        }
    }

    /// Waits for the silence that is due before a request.
    pub(super) async fn settle(&mut self) -> Result<(), LineError> {
        let settled = match self {
            Line::Serial(master) => master.settle().await,
            Line::OverTcp(master) => master.settle().await,
            Line::Tcp(_) => Ok(()),
        };
        match settled {
            Err(ExchangeError::Line(error)) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// One request and its answer.
    pub(super) async fn exchange(
        &mut self,
        slave: u8,
        request: Request,
        manners: Manners,
    ) -> Result<Vec<u8>, ExchangeError> {
        match self {
            Line::Serial(master) => master.exchange(slave, request, manners).await,
            Line::OverTcp(master) => master.exchange(slave, request, manners).await,
            Line::Tcp(tcp) => tcp.exchange(slave, request, manners.timeout).await,
        }
    }

    /// Bytes before answers that belonged to none, since this was last asked.
    pub(super) fn take_skipped(&mut self) -> u64 {
        match self {
            Line::Serial(master) => master.take_skipped(),
            Line::OverTcp(master) => master.take_skipped(),
            Line::Tcp(_) => 0,
        }
    }

    /// The unit that answered in the place of the one that was asked, since this was last asked.
    pub(super) fn take_stranger(&mut self) -> Option<u8> {
        match self {
            Line::Serial(_) | Line::OverTcp(_) => None,
            Line::Tcp(tcp) => tcp.stranger.take(),
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, LineError> {
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let failed = |source| LineError::Connect {
        address: address.to_owned(),
        source,
    };
    let stream = stream.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    watch(&stream).map_err(|error| failed(error.into()))?;
    Ok(stream)
}

/// Has the kernel look after a peer that says nothing (`tcp(7)`: keepalive, and `TCP_USER_TIMEOUT`).
fn watch(stream: &TcpStream) -> Result<(), rustix::io::Errno> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ALIVE_TRIES)?;
    sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MS)
}

impl Tcp {
    async fn exchange(
        &mut self,
        slave: u8,
        request: Request,
        patience: Duration,
    ) -> Result<Vec<u8>, ExchangeError> {
        self.transaction = self.transaction.wrapping_add(1);
        let until = Instant::now() + patience;
        // A connection with half a frame on it cannot be used again.
        let late = |_| gone(std::io::ErrorKind::TimedOut.into());
        let frame = request.tcp(self.transaction, slave);
        let written = timeout_at(until, self.stream.write_all(&frame)).await;
        written.map_err(late)?.map_err(hung_up)?;
        loop {
            let begun = timeout_at(until, self.stream.peek(&mut [0])).await;
            let begun = begun.map_err(|_| ExchangeError::Silent)?;
            if begun.map_err(hung_up)? == 0 {
                return Err(hung_up(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let (transaction, unit, pdu) =
                timeout_at(until, self.frame()).await.map_err(late)??;
            // The answer to an earlier request, which was given up on, has its own number.
            if transaction == self.transaction {
                // Some gateways and devices have one unit of their own for whatever is asked; the number says whose answer it is.
                self.stranger = self.stranger.or((unit != slave).then_some(unit));
                return Ok(request.pdu_data(&pdu)?);
            }
        }
    }

    /// Transaction, unit and the rest of the next frame.
    async fn frame(&mut self) -> Result<(u16, u8, Vec<u8>), ExchangeError> {
        let mut header = [0; 7];
        self.stream.read_exact(&mut header).await.map_err(gone)?;
        let [high, low, protocol_high, protocol_low, long, length, unit] = header;
        if (protocol_high, protocol_low) != (0, 0) {
            return Err(gone(std::io::Error::other(
                "what arrives is not Modbus TCP",
            )));
        }
        let length = usize::from(u16::from_be_bytes([long, length])).saturating_sub(1);
        let mut pdu = vec![0; length.min(RTU_FRAME_MAX)];
        self.stream.read_exact(&mut pdu).await.map_err(gone)?;
        Ok((u16::from_be_bytes([high, low]), unit, pdu))
    }
}
