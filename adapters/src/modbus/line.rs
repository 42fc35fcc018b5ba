//! The line: a serial port or a TCP connection, and one exchange on it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::coding::RTU_FRAME_MAX;
use super::exchange::{ExchangeError, LineError, gone};
use super::frame::Request;
use super::master::{Manners, Master, Timing};
use super::port::{Port, PortName};
use super::section::{Framing, LineSection};

const CONNECT: Duration = Duration::from_secs(5);

pub(super) enum Line {
    Serial(Master<Port>),
    OverTcp(Master<TcpStream>),
    Tcp { stream: TcpStream, transaction: u16 },
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
                    None | Some(Framing::Tcp) => Line::Tcp {
                        stream,
                        transaction: 0,
                    },
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
            Line::Tcp { .. } => Ok(()),
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
            Line::Tcp {
                stream,
                transaction,
            } => {
                *transaction = transaction.wrapping_add(1);
                tcp(stream, *transaction, slave, request, manners.timeout).await
            }
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
    Ok(stream)
}

async fn tcp(
    stream: &mut TcpStream,
    transaction: u16,
    slave: u8,
    request: Request,
    patience: Duration,
) -> Result<Vec<u8>, ExchangeError> {
    let until = Instant::now() + patience;
    // A connection with half a frame on it cannot be used again.
    let late = |_| gone(std::io::ErrorKind::TimedOut.into());
    let request_frame = request.tcp(transaction, slave);
    let written = timeout_at(until, stream.write_all(&request_frame)).await;
    written.map_err(late)?.map_err(gone)?;
    loop {
        let begun = timeout_at(until, stream.peek(&mut [0])).await;
        begun.map_err(|_| ExchangeError::Silent)?.map_err(gone)?;
        let mut header = [0; 7];
        let read = timeout_at(until, stream.read_exact(&mut header)).await;
        read.map_err(late)?.map_err(gone)?;
        let [high, low, protocol_high, protocol_low, long, length, from] = header;
        if (protocol_high, protocol_low) != (0, 0) {
            return Err(gone(std::io::Error::other(
                "what arrives is not Modbus TCP",
            )));
        }
        let length = usize::from(u16::from_be_bytes([long, length])).saturating_sub(1);
        let mut pdu = vec![0; length.min(RTU_FRAME_MAX)];
        let read = timeout_at(until, stream.read_exact(&mut pdu)).await;
        read.map_err(late)?.map_err(gone)?;
        // The answer to an earlier request, which was given up on, has its own number.
        if u16::from_be_bytes([high, low]) == transaction {
            if from != slave {
                return Err(ExchangeError::Broken("it is from another slave"));
            }
            return Ok(request.pdu_data(&pdu)?);
        }
    }
}
