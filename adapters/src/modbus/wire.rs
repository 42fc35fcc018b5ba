//! What a master talks on.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A stream of bytes on which only one can talk at a time.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Begins or ends to talk, where the other end does not see that by itself.
    fn talk(&mut self, _: bool) -> std::io::Result<()> {
        Ok(())
    }

    /// Whether it has to be told.
    fn is_told(&self) -> bool {
        false
    }
}

impl Wire for TcpStream {}
