//! A serial port: found, locked, set up, and found again. The one file that names tokio-serial.
//!
//! tokio-serial takes the port for itself (`TIOCEXCL` and `flock`), so that no two programs talk on one bus.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{OFlags, fcntl_setfl};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio_serial::{ClearBuffer, DataBits, SerialPort, StopBits};

use super::section::{Level, LineSection, Parity, Rs485By, Rs485Section};
use super::wire::Wire;

const IN_USE: &str = "; another program has it open: a bus has one master";
const BY_ID: &str = "/dev/serial/by-id";

#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error("cannot open serial port {} at {baud} baud: {source}{hint}", path.display())]
    Open {
        path: PathBuf,
        baud: u32,
        source: tokio_serial::Error,
        hint: String,
    },
    #[error("serial port {} is another device now, {}; the bus is on {}: plug that in, or name the other one in `line.port`", path.display(), found.display(), known.display())]
    Another {
        path: PathBuf,
        found: PathBuf,
        known: PathBuf,
    },
    #[error("cannot set serial port {} to RS-485: {source}; where its driver cannot, set rs485.by = \"rts\", or leave `rs485` out for an adapter that sees itself when to talk", path.display())]
    Rs485 {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The device behind a port's name, which may come back under another one.
#[derive(Debug, Default)]
pub(super) struct PortName {
    /// Its link under `/dev/serial/by-id`, once it was opened, if it has one.
    id: Option<PathBuf>,
}

impl PortName {
    pub(super) fn open(&mut self, path: &Path, line: &LineSection) -> Result<Port, PortError> {
        let place = self.place(path, Path::new(BY_ID))?;
        if let Some(rs485) = line.rs485.filter(|rs485| rs485.by == Rs485By::Kernel) {
            set_rs485(&place, rs485).map_err(|source| PortError::Rs485 {
                path: place.clone(),
                source,
            })?;
        }
        let native = open(&place, line).map_err(|source| PortError::Open {
            hint: hint(&source, &place),
            path: place.clone(),
            baud: line.baud,
            source,
        })?;
        self.id = id_of(&place, Path::new(BY_ID));
        let by_rts = |rs485: &Rs485Section| rs485.by == Rs485By::Rts;
        let rts = line.rs485.filter(by_rts).map(|rs485| rs485.rts_on_send);
        let mut port = Port { native, rts };
        port.talk(false).map_err(|source| PortError::Rs485 {
            path: place,
            source,
        })?;
        Ok(port)
    }

    /// Where the device is now. A name that another device has got is not opened: its registers would pass for ours.
    fn place(&self, path: &Path, by_id: &Path) -> Result<PathBuf, PortError> {
        let Some(known) = &self.id else {
            return Ok(path.to_owned());
        };
        if known.exists() {
            return Ok(known.clone());
        }
        match id_of(path, by_id) {
            Some(found) => Err(PortError::Another {
                path: path.to_owned(),
                found,
                known: known.clone(),
            }),
            None => Ok(path.to_owned()),
        }
    }
}

/// The link in `by_id` to the device that `path` is.
fn id_of(path: &Path, by_id: &Path) -> Option<PathBuf> {
    let device = path.canonicalize().ok()?;
    let links = std::fs::read_dir(by_id).ok()?;
    let mut links: Vec<PathBuf> = links
        .filter_map(|link| Some(link.ok()?.path()))
        .filter(|link| link.canonicalize().is_ok_and(|to| to == device))
        .collect();
    links.sort();
    links.into_iter().next()
}

fn open(path: &Path, line: &LineSection) -> Result<AsyncFd<Native>, tokio_serial::Error> {
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let (data_bits, stop_bits) = (line.data_bits() == 7, line.stop_bits() == 2);
    let port = tokio_serial::new(path.to_string_lossy(), line.baud)
        .data_bits(if data_bits {
            DataBits::Seven
        } else {
            DataBits::Eight
        })
        .parity(parity)
        .stop_bits(if stop_bits {
            StopBits::Two
        } else {
            StopBits::One
        })
        .open_native()?;
    port.clear(ClearBuffer::All)?;
    #[expect(
        deprecated,
        reason = "the port owns its descriptor, which is all that the unsafe one that replaces it asks for"
    )]
    let native = AsyncFd::with_interest(Native(Box::new(port)), Interest::READABLE)?;
    fcntl_setfl(&native, OFlags::NONBLOCK).map_err(std::io::Error::from)?;
    Ok(native)
}

fn hint(error: &tokio_serial::Error, path: &Path) -> String {
    match error.kind() {
        tokio_serial::ErrorKind::Io(ErrorKind::PermissionDenied) => {
            let group = group_of(path).unwrap_or_else(|| "dialout".into());
            format!(
                "; add the agent's user to the group of the port, `{group}`: usermod -aG {group} USER"
            )
        }
        tokio_serial::ErrorKind::NoDevice if error.description.contains("lock") => IN_USE.into(),
        tokio_serial::ErrorKind::Io(ErrorKind::ResourceBusy) => IN_USE.into(),
        _ if error.description.contains("busy") => IN_USE.into(),
        tokio_serial::ErrorKind::NoDevice
        | tokio_serial::ErrorKind::InvalidInput
        | tokio_serial::ErrorKind::Unknown
        | tokio_serial::ErrorKind::Io(_) => String::new(),
    }
}

fn group_of(path: &Path) -> Option<String> {
    let number = std::fs::metadata(path).ok()?.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == number).then(|| name.to_owned())
    })
}

fn set_rs485(path: &Path, rs485: Rs485Section) -> std::io::Result<()> {
    let mut mode = serial2::rs4xx::Rs485Config::new();
    mode.set_invert_rts(rs485.rts_on_send == Level::Low);
    mode.set_delay_before_send(rs485.delay_before.0);
    mode.set_delay_after_send(rs485.delay_after.0);
    serial2::SerialPort::open(path, serial2::KeepSettings)?.set_rs4xx_mode(mode)
}

/// tokio-serial's own stream is also woken whenever a request has been sent, for nothing: a third of what a request
/// costs. So its port is waited for here, and for reading alone.
pub(super) struct Port {
    native: AsyncFd<Native>,
    /// The level of RTS while something is sent, where that is ours to set.
    rts: Option<Level>,
}

struct Native(Box<dyn Tty>);

/// The type of the port is tokio-serial's, and has no name here.
trait Tty: SerialPort + AsRawFd {}

impl<T: SerialPort + AsRawFd> Tty for T {}

impl AsRawFd for Native {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Wire for Port {
    fn talk(&mut self, on: bool) -> std::io::Result<()> {
        let Some(level) = self.rts else {
            return Ok(());
        };
        let high = (level == Level::High) == on;
        Ok(self.native.get_mut().0.write_request_to_send(high)?)
    }

    fn is_told(&self) -> bool {
        self.rts.is_some()
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            let mut ready = ready!(self.native.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let (most, read) = (
                room.len(),
                ready.try_io(|port| Ok(rustix::io::read(port, room)?)),
            );
            let Ok(read) = read else {
                continue;
            };
            // What comes after that is told anew.
            if read.as_ref().is_ok_and(|count| *count < most) {
                ready.clear_ready();
            }
            return Poll::Ready(read.map(|count| buffer.advance(count)));
        }
    }
}

impl AsyncWrite for Port {
    /// A port takes a request at once, or something is wrong with it.
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(rustix::io::write(&self.native, bytes)?))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.native.get_mut().0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_port_is_found_under_its_new_name_and_another_device_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let by_id = at("by-id");
        std::fs::create_dir(&by_id).unwrap();
        for name in ["ttyUSB0", "ttyUSB1"] {
            std::fs::write(at(name), "").unwrap();
        }
        let (ours, other) = (by_id.join("ours"), by_id.join("other"));
        symlink(at("ttyUSB0"), &ours).unwrap();
        let name = PortName {
            id: id_of(&at("ttyUSB0"), &by_id),
        };
        assert_eq!(name.id.as_ref(), Some(&ours));
        std::fs::remove_file(&ours).unwrap();
        assert_eq!(name.place(&at("ttyUSB0"), &by_id).unwrap(), at("ttyUSB0"));
        symlink(at("ttyUSB0"), &other).unwrap();
        let error = name.place(&at("ttyUSB0"), &by_id).unwrap_err();
        assert!(
            error.to_string().contains("is another device now"),
            "{error}"
        );
        symlink(at("ttyUSB1"), &ours).unwrap();
        let place = name.place(&at("ttyUSB0"), &by_id).unwrap();
        assert_eq!(
            place.canonicalize().unwrap(),
            at("ttyUSB1").canonicalize().unwrap()
        );
        assert_eq!(
            PortName::default().place(&at("x"), &by_id).unwrap(),
            at("x")
        );
    }
}
