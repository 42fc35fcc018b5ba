//! Connections of the status server: bounded in number, bytes and time, so that no client keeps others out, and an error of
//! `accept` ends nothing.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapters::Backoff;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::answer::answer;
use super::ask::Ask;

/// A request that is not there by then is not waited for: no honest client takes a second.
const REQUEST: Duration = Duration::from_secs(3);
/// A client that has not read its answer by then is cut off.
const ANSWERED: Duration = Duration::from_secs(10);
/// Bytes of a request's head, hyper's least; a body is not read.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// A client that is refused is told so if it takes the line at once.
const REFUSAL: Duration = Duration::from_millis(100);
const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 56\r\nconnection: close\r\n\r\n\
                       all connections to the status are in use; ask again soon";
/// Between attempts to accept or to listen: descriptors that are used up come back by themselves, or not.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(2);

/// Whom requests go to, and whom they must be for.
#[derive(Clone)]
pub(super) struct To {
    pub(super) asks: mpsc::Sender<Ask>,
    /// None where whoever connects is on this machine for certain.
    pub(super) hosts: Option<Arc<[String]>>,
    /// Who connected, as far as the kernel says it.
    pub(super) by: String,
}

/// What connections come from.
pub(super) trait Listener: Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// And who is at its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, String)>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, String)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let by = stream.peer_cred().map(|who| format!("uid {}", who.uid()));
        Ok((stream, by.unwrap_or_default()))
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, String)> {
        let (stream, from) = TcpListener::accept(self).await?;
        Ok((stream, from.to_string()))
    }
}

/// Takes connections in for ever, at most `most` at once; `at` is where, for the log.
pub(super) async fn take_in(at: &str, most: usize, to: &To, listener: &impl Listener) {
    let (mut guests, mut failures) = (Guests::new(most), Failures::new(at));
    loop {
        match listener.accept().await {
            Ok((stream, by)) => {
                failures.end();
                let to = To { by, ..to.clone() };
                guests.take_in(stream, to).await;
            }
            Err(error) => {
                let lost = "the status server cannot accept connections, as where descriptors are used up; `tidegate status` and /healthz do not answer; events flow on; trying again";
                failures.wait(&error, lost).await;
            }
        }
    }
}

/// A series of failures, told of once.
pub(super) struct Failures<'a> {
    at: &'a str,
    said: bool,
    backoff: Backoff,
}

impl<'a> Failures<'a> {
    pub(super) fn new(at: &'a str) -> Failures<'a> {
        Failures {
            at,
            said: false,
            backoff: Backoff::new(AGAIN_FIRST, AGAIN_MOST),
        }
    }

    /// Tells `what` it means if this is the first, and waits before the next attempt.
    pub(super) async fn wait(&mut self, error: &io::Error, what: &str) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::error!(at = self.at, %error, "{what}");
        }
        self.backoff.wait().await;
    }

    pub(super) fn end(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.said) {
            tracing::info!(at = self.at, "the status server accepts connections again");
        }
    }
}

/// Open connections. Where there are too many, the oldest that has not asked for anything makes way.
struct Guests {
    most: usize,
    open: VecDeque<Guest>,
    tasks: JoinSet<()>,
}

struct Guest {
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Guests {
    fn new(most: usize) -> Guests {
        Guests {
            most,
            open: VecDeque::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn take_in<S>(&mut self, mut stream: S, to: To)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if self.has_room() {
            let has_asked = Arc::new(AtomicBool::new(false));
            let serving = connection(stream, Arc::clone(&has_asked), to);
            let task = self.tasks.spawn(serving);
            self.open.push_back(Guest { has_asked, task });
        } else if timeout(REFUSAL, stream.write_all(REFUSED.as_bytes()))
            .await
            .is_err()
        {
            tracing::debug!("a refused status connection takes nothing");
        }
    }

    fn has_room(&mut self) -> bool {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "the answer to a status request panicked; its client got none; report this line");
            }
        }
        self.open.retain(|guest| !guest.task.is_finished());
        if self.open.len() < self.most {
            return true;
        }
        let idle = |guest: &Guest| !guest.has_asked.load(Ordering::Relaxed);
        let oldest = self.open.iter().position(idle);
        let oldest = oldest.and_then(|oldest| self.open.remove(oldest));
        oldest.inspect(|guest| guest.task.abort()).is_some()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        // An answer is not cut off by a reload.
        self.tasks.detach_all();
    }
}

async fn connection<S>(stream: S, has_asked: Arc<AtomicBool>, to: To)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        answer(request, to.asks.clone(), to.hosts.clone(), to.by.clone())
    });
    // One request each: a client that keeps its connection would be cut off in an answer when its time is over.
    let serving = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let says_nothing = async {
        sleep(REQUEST).await;
        if has_asked.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    tokio::select! {
        served = timeout(ANSWERED, serving) => match served {
            Ok(Ok(())) => {}
            // hyper's errors say nothing that the client said.
            Ok(Err(error)) => tracing::debug!(%error, "a status connection ended badly"),
            Err(_) => tracing::debug!("a status connection was cut off: its client does not read the answer"),
        },
        () = says_nothing => tracing::debug!("a status connection was cut off: no request came"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;
    use crate::process::mutate::mutants;

    fn guest(guests: &mut Guests, asked: bool) -> DuplexStream {
        let (ours, theirs) = duplex(64);
        let task = guests.tasks.spawn(async move {
            let _open = theirs;
            pending::<()>().await;
        });
        let has_asked = Arc::new(AtomicBool::new(asked));
        guests.open.push_back(Guest { has_asked, task });
        ours
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_oldest_connection_without_a_request_makes_way_and_one_with_a_request_stays() {
        let mut guests = Guests::new(3);
        assert!(guests.has_room());
        let mut served = guest(&mut guests, true);
        let mut idle = guest(&mut guests, false);
        let mut newer = guest(&mut guests, false);
        assert!(guests.has_room());
        assert_eq!(idle.read_u8().await.ok(), None, "it was closed");
        assert_eq!(guests.open.len(), 2);
        let _another = guest(&mut guests, true);
        assert!(guests.has_room());
        assert_eq!(newer.read_u8().await.ok(), None);
        let _third = guest(&mut guests, true);
        assert!(!guests.has_room(), "all of them wait for their answers");
        drop(guests);
        let still_open = timeout(Duration::from_millis(50), served.read_u8()).await;
        assert!(still_open.is_err(), "it is not cut off with the listener");
    }

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let (head, body) = REFUSED.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }

    #[test]
    fn fuzz_every_request_is_answered_or_ended_and_none_that_is_for_another_host_reads_anything() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // Whoever is let in is told that the agent stops.
        let (asks, _) = mpsc::channel(1);
        let to = To {
            asks,
            hosts: Some(Arc::new([])),
            by: String::new(),
        };
        let seeds: [&[u8]; 3] = [
            b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"GET http://localhost/metrics HTTP/1.0\r\n\r\n",
            b"POST /healthz HTTP/1.1\r\nHost: evil.example\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ];
        mutants(&seeds, |input| {
            let answer = runtime.block_on(async {
                let (mut ours, theirs) = duplex(64 * 1024);
                let input = input.get(..60_000).unwrap_or(input);
                ours.write_all(input).await.unwrap();
                ours.shutdown().await.unwrap();
                connection(theirs, Arc::default(), to.clone()).await;
                let mut answer = Vec::new();
                ours.read_to_end(&mut answer).await.unwrap();
                answer
            });
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1."),
                "{answer}"
            );
            let code = answer.split(' ').nth(1).unwrap_or("503");
            let refusals = ["400", "414", "421", "431", "503", "505"];
            assert!(refusals.contains(&code), "{answer}");
        });
    }
}
