//! The sockets of a connection: the DSCP mark of its packets, and how long a route may swallow them.
//!
//! librdkafka keeps its sockets to itself, so they are looked up among the process's own descriptors and known by the
//! size of their receive buffer, which is set to one that nobody else asks for. Where the kernel does not let a process
//! duplicate a descriptor of its own (`pidfd_getfd`, since Linux 5.6), packets carry no mark and TCP
//! has its own patience.

use std::os::fd::OwnedFd;

use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Receive buffers: of the first connection, and the next ones each so much more, in bytes. Answers to a producer are
/// small.
const RECEIVE: usize = 61_440;
const STEP: usize = 64;

/// What to ask of librdkafka (`socket.receive.buffer.bytes`) for the sockets of connection `number`.
pub(super) fn receive_buffer(number: usize) -> usize {
    RECEIVE + STEP * number
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) number: usize,
    /// RFC 2474, 0 to 63.
    pub(super) dscp: u8,
}

/// Sets the sockets that there are now; returns how many.
pub(super) fn set(wishes: &[Wish]) -> std::io::Result<usize> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut found = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let target = std::fs::read_link(entry.path());
        let is_socket = target.is_ok_and(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(b"socket:")
        });
        let Some(number) = number.filter(|_| is_socket) else {
            continue;
        };
        // It may have been closed meanwhile.
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let Ok(buffer) = sockopt::socket_recv_buffer_size(&socket) else {
            continue;
        };
        // The kernel doubles what it is asked for (socket(7)).
        if let Some(wish) = wishes
            .iter()
            .find(|wish| receive_buffer(wish.number) * 2 == buffer)
        {
            apply(&socket, wish)?;
            found += 1;
        }
    }
    Ok(found)
}

/// What is sent and not acknowledged for so long ends the connection (RFC 5482): else TCP tries again ever more rarely, and
/// a route that is back is not noticed for a minute.
const SWALLOWED: u32 = 15_000;

fn apply(socket: &OwnedFd, wish: &Wish) -> std::io::Result<()> {
    let field = wish.dscp << 2;
    // One of the two is of the other family.
    if sockopt::set_ipv6_tclass(socket, u32::from(field)).is_err() {
        sockopt::set_ip_tos(socket, field)?;
    }
    sockopt::set_tcp_user_timeout(socket, SWALLOWED)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_of_a_connection_are_set_and_no_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mine, other) = (connect(), connect());
        let number = 77;
        sockopt::set_socket_recv_buffer_size(&mine, receive_buffer(number)).unwrap();
        let wanted = Wish { number, dscp: 8 };
        assert_eq!(set(&[wanted]).unwrap(), 1);
        assert_eq!(sockopt::ip_tos(&mine).unwrap(), 32);
        assert_eq!(sockopt::tcp_user_timeout(&mine).unwrap(), SWALLOWED);
        assert_eq!(sockopt::ip_tos(&other).unwrap(), 0);
    }
}
