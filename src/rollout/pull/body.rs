//! The file of an answer, all of it or nothing.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::Parts;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::error::PullError;

/// How long a server that was asked to close the connection may take, before it is believed that it has sent all.
const PARTING: Duration = Duration::from_secs(1);

/// Whether what ends here was to end here is known only where the answer says how long it is, or has an end of its own.
pub(super) fn is_bounded(headers: &HeaderMap, body: &Incoming) -> Result<(), PullError> {
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if let Some(encoding) = encoding.filter(|one| !one.eq_ignore_ascii_case(b"identity")) {
        let encoding = String::from_utf8_lossy(encoding);
        return Err(PullError::Encoded(adapters::printable(&encoding)));
    }
    if body.size_hint().exact().is_some() || headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let why = "the answer has neither a `Content-Length` nor is it chunked";
    Err(PullError::Incomplete(why.into()))
}

/// No more than `most` bytes of it are ever in memory, and one frame.
pub(super) async fn read(mut body: Incoming, most: usize) -> Result<String, PullError> {
    let said = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if said > most {
        return Err(PullError::TooLarge(most));
    }
    let mut bytes = Vec::with_capacity(said);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| lost(&error))?;
        let Ok(data) = frame.into_data() else {
            continue; // trailers
        };
        if bytes.len() + data.len() > most {
            return Err(PullError::TooLarge(most));
        }
        bytes.extend_from_slice(&data);
    }
    String::from_utf8(bytes).map_err(|_| PullError::NotText)
}

/// A connection that ends before the file does, or breaks.
fn lost(error: &hyper::Error) -> PullError {
    let inner = error.source().and_then(|inner| inner.downcast_ref());
    let ended = inner.is_some_and(|inner: &io::Error| inner.kind() == ErrorKind::UnexpectedEof);
    if ended || error.is_incomplete_message() {
        PullError::Incomplete("the connection ended before".into())
    } else {
        PullError::Broken(crate::process::chain(error))
    }
}

/// More than was said: the rest of a file whose length is wrong, which may be a good file by chance.
pub(super) async fn is_followed<S: AsyncRead + Unpin>(parts: Parts<TokioIo<S>>) -> bool {
    if !parts.read_buf.is_empty() {
        return true;
    }
    let mut socket = parts.io.into_inner();
    let read = timeout(PARTING, socket.read(&mut [0])).await;
    matches!(read, Ok(Ok(bytes)) if bytes > 0)
}
