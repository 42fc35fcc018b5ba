//! The line: a serial port or a TCP connection, and one exchange on it. The one file that names
//! tokio-serial.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_serial::{
    ClearBuffer, DataBits, SerialPort, SerialPortBuilderExt, SerialStream, StopBits,
};

use super::frame::{ExchangeError, RTU_FRAME_MAX, Request};
use super::section::{ModbusSection, Parity};

/// Above 19200 baud the specification fixes t3.5 (Modbus over serial line V1.02 section 2.5.1.1).
const SILENCE_FIXED: Duration = Duration::from_micros(1_750);
/// After a time-out the late answer may still come; what arrives in this time is thrown away.
const LATE: Duration = Duration::from_millis(50);
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

pub(super) struct Line {
    wire: Wire,
    timeout: Duration,
    /// Silence before a request: t3.5 and the slave's turnaround.
    silence: Duration,
    /// When the line was last heard.
    quiet_since: Instant,
    transaction: u16,
    /// The last exchange had no answer: a late one may still come.
    doubt: bool,
}

enum Wire {
    Serial(SerialStream),
    Tcp(TcpStream),
}

impl Line {
    pub(super) async fn open(section: &ModbusSection) -> Result<Line, LineError> {
        let (wire, silence) = match (&section.line.port, &section.line.tcp) {
            (Some(path), _) => (Wire::Serial(open_port(path, section)?), silence(section)),
            (None, Some(address)) => (Wire::Tcp(connect(address).await?), Duration::ZERO),
            (None, None) => return Err(LineError::NothingToRead),
        };
        Ok(Line {
            wire,
            timeout: section.timeout.0,
            silence: silence + section.turnaround.0,
            quiet_since: Instant::now(),
            transaction: 0,
            doubt: true,
        })
    }

    /// One request and its answer.
    pub(super) async fn exchange(
        &mut self,
        slave: u8,
        request: Request,
    ) -> Result<Vec<u8>, ExchangeError> {
        if self.doubt {
            self.discard().await?;
        }
        sleep_until(self.quiet_since + self.silence).await;
        let outcome = match &mut self.wire {
            Wire::Serial(port) => serial(port, slave, request, self.timeout).await,
            Wire::Tcp(stream) => {
                self.transaction = self.transaction.wrapping_add(1);
                tcp(stream, self.transaction, slave, request, self.timeout).await
            }
        };
        self.quiet_since = Instant::now();
        self.doubt = matches!(
            outcome,
            Err(ExchangeError::Silent | ExchangeError::Broken(_))
        );
        outcome
    }

    /// Throws away what is on the line until it is silent, so that a late answer is never taken for
    /// the next one.
    async fn discard(&mut self) -> Result<(), ExchangeError> {
        let mut sink = [0; RTU_FRAME_MAX];
        let Wire::Serial(port) = &mut self.wire else {
            return Ok(());
        };
        // A line that never falls silent is given up on after a second.
        let give_up = Instant::now() + Duration::from_secs(1);
        while Instant::now() < give_up {
            match timeout(LATE, port.read(&mut sink)).await {
                Err(_) => break,
                Ok(Ok(0)) => return Err(gone(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(gone(error)),
            }
        }
        self.doubt = false;
        Ok(())
    }
}

fn gone(error: std::io::Error) -> ExchangeError {
    ExchangeError::Line(LineError::Gone(error))
}

fn open_port(path: &std::path::Path, section: &ModbusSection) -> Result<SerialStream, LineError> {
    let line = &section.line;
    let (parity, stop_bits) = match line.parity {
        Parity::None => (tokio_serial::Parity::None, 2),
        Parity::Even => (tokio_serial::Parity::Even, 1),
        Parity::Odd => (tokio_serial::Parity::Odd, 1),
    };
    let stop_bits = if line.stop_bits.unwrap_or(stop_bits) == 2 {
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

/// t3.5: three and a half characters of eleven bits.
fn silence(section: &ModbusSection) -> Duration {
    if section.line.baud > 19_200 {
        return SILENCE_FIXED;
    }
    Duration::from_secs_f64(3.5 * 11.0 / f64::from(section.line.baud))
}

async fn serial(
    port: &mut SerialStream,
    slave: u8,
    request: Request,
    patience: Duration,
) -> Result<Vec<u8>, ExchangeError> {
    port.write_all(&request.rtu(slave)).await.map_err(gone)?;
    let until = Instant::now() + patience;
    let mut frame = Vec::with_capacity(RTU_FRAME_MAX);
    loop {
        if request
            .rtu_length(&frame)
            .is_some_and(|whole| frame.len() >= whole)
        {
            return request.rtu_data(slave, &frame);
        }
        let mut part = [0; RTU_FRAME_MAX];
        match timeout_at(until, port.read(&mut part)).await {
            Err(_) if frame.is_empty() => return Err(ExchangeError::Silent),
            Err(_) => return Err(ExchangeError::Broken("cut short")),
            Ok(Ok(0)) => return Err(gone(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(count)) => frame.extend(part.iter().take(count)),
            Ok(Err(error)) => return Err(gone(error)),
        }
    }
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
