//! The line: a serial port or a TCP connection, and one exchange on it. The one file that names
//! tokio-serial.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_serial::{
    ClearBuffer, DataBits, SerialPort, SerialPortBuilderExt, SerialStream, StopBits,
};

use super::frame::{ExchangeError, RTU_FRAME_MAX, Request};
use super::rtu::{Manners, Rtu, Timing};
use super::section::{Framing, ModbusSection, Parity};

const CONNECT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("cannot open serial port {path} at {baud} baud: {source}{hint}")]
    Port {
        path: PathBuf,
        baud: u32,
        source: tokio_serial::Error,
        hint: &'static str,
    },
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        source: std::io::Error,
    },
    #[error("the line is gone: {0}")]
    Gone(std::io::Error),
    #[error("no group is to be read")]
    NothingToRead,
}

pub(super) enum Line {
    Serial(Rtu<SerialStream>),
    RtuOverTcp(Rtu<TcpStream>),
    Tcp { stream: TcpStream, transaction: u16 },
}

impl Line {
    pub(super) async fn open(section: &ModbusSection) -> Result<Line, LineError> {
        let line = &section.line;
        match (&line.port, &line.tcp) {
            (Some(path), _) => {
                let port = open_port(path, section)?;
                let rtu = Rtu::new(port, Timing::of(line), line.echo);
                Ok(Line::Serial(rtu))
            }
            (None, Some(address)) => {
                let stream = connect(address).await?;
                Ok(match line.framing {
                    Some(Framing::Rtu) => {
                        Line::RtuOverTcp(Rtu::new(stream, Timing::default(), line.echo))
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

    /// One request and its answer.
    pub(super) async fn exchange(
        &mut self,
        slave: u8,
        request: Request,
        manners: Manners,
    ) -> Result<Vec<u8>, ExchangeError> {
        match self {
            Line::Serial(rtu) => rtu.exchange(slave, request, manners).await,
            Line::RtuOverTcp(rtu) => rtu.exchange(slave, request, manners).await,
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

pub(super) fn gone(error: std::io::Error) -> ExchangeError {
    ExchangeError::Line(LineError::Gone(error))
}

fn open_port(path: &std::path::Path, section: &ModbusSection) -> Result<SerialStream, LineError> {
    let line = &section.line;
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits = if line.stop_bits() == 2 {
        StopBits::Two
    } else {
        StopBits::One
    };
    let builder = tokio_serial::new(path.to_string_lossy(), line.baud);
    let builder = builder
        .data_bits(DataBits::Eight)
        .parity(parity)
        .stop_bits(stop_bits);
    let port = builder.open_native_async().map_err(|source| {
        let denied = matches!(
            source.kind(),
            tokio_serial::ErrorKind::Io(std::io::ErrorKind::PermissionDenied)
        );
        let hint = if denied {
            "; add the user to the group of the port, usually `dialout`"
        } else {
            ""
        };
        LineError::Port {
            path: path.to_owned(),
            baud: line.baud,
            source,
            hint,
        }
    })?;
    port.clear(ClearBuffer::All)
        .map_err(|source| LineError::Port {
            path: path.to_owned(),
            baud: line.baud,
            source,
            hint: "",
        })?;
    Ok(port)
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
    stream
        .write_all(&request.tcp(transaction, slave))
        .await
        .map_err(gone)?;
    let until = Instant::now() + patience;
    loop {
        let mut header = [0; 7];
        let read = timeout_at(until, stream.read_exact(&mut header)).await;
        // A connection with half a frame on it cannot be used again.
        read.map_err(|_| ExchangeError::Silent)?.map_err(gone)?;
        let [high, low, protocol_high, protocol_low, long, length, from] = header;
        if (protocol_high, protocol_low) != (0, 0) {
            return Err(gone(std::io::Error::other(
                "what arrives is not Modbus TCP",
            )));
        }
        let length = usize::from(u16::from_be_bytes([long, length])).saturating_sub(1);
        let mut pdu = vec![0; length.min(RTU_FRAME_MAX)];
        let read = timeout_at(until, stream.read_exact(&mut pdu)).await;
        read.map_err(|_| gone(std::io::ErrorKind::TimedOut.into()))?
            .map_err(gone)?;
        // The answer to an earlier request, which was given up on, has its own number.
        if u16::from_be_bytes([high, low]) == transaction {
            if from != slave {
                return Err(ExchangeError::Broken("it is from another slave"));
            }
            return request.pdu_data(&pdu);
        }
    }
}
