//! Serving the snapshot: on a loopback port, and on a Unix socket in the state directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use adapters::printable;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Snapshot;
use super::answer::path_of;
use super::ask::{Ask, Order};
use super::connections::{Failures, To, take_in};
use super::section::StatusSettings;
use crate::process::parts::{Down, PartNews, Parts};

/// Connections to the port at once; a scraper needs one.
const PORT_CONNECTIONS: usize = 16;
/// Connections to the socket at once: `tidegate status` gets an answer whatever is done to the port.
const SOCKET_CONNECTIONS: usize = 8;
/// An agent that is alive answers within this.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error("no agent answers on {path}; is it running, and is this its state directory?")]
    NoAgent { path: PathBuf, source: io::Error },
    #[error("the agent on {path} did not answer as expected: {reason}")]
    Answer { path: PathBuf, reason: String },
}

#[must_use]
pub(super) fn socket_path(state: &Path) -> PathBuf {
    state.join("status.sock")
}

/// A port, which agents that follow each other share once it is open.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    at: String,
    listener: Arc<OnceLock<TcpListener>>,
}

/// The port, if `status.http` asks for one: the one that is `open`, if it is the same. One that cannot be had, as where another
/// program has it, is tried for again while the agent runs: events do not depend on it.
pub(crate) fn listen(settings: &StatusSettings, open: Option<&Port>) -> Option<Port> {
    let at = settings.listen.as_ref()?;
    if let Some(open) = open.filter(|open| open.at == *at) {
        return Some(open.clone());
    }
    let port = Port {
        at: at.clone(),
        listener: Arc::default(),
    };
    if let Err(error) = port.open() {
        tracing::debug!(at, %error, "the status port is not free yet");
    }
    Some(port)
}

impl Port {
    fn open(&self) -> io::Result<&TcpListener> {
        if let Some(listener) = self.listener.get() {
            return Ok(listener);
        }
        let listener = std::net::TcpListener::bind(&self.at)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(self.listener.get_or_init(|| listener))
    }

    /// Opens it, as soon as that is possible.
    async fn opened(&self) -> &TcpListener {
        let mut failures = Failures::new(&self.at);
        loop {
            match self.open() {
                Ok(listener) => {
                    failures.end();
                    return listener;
                }
                Err(error) => {
                    let lost = "the status port cannot be opened, as where another program has it; nobody gets /healthz, /metrics and /status there, so that what watches them takes the gateway for dead; `tidegate status` answers, and events flow on; trying again: free the port, or give `status.listen` another one";
                    failures.wait(&error, lost).await;
                }
            }
        }
    }
}

/// Serves on the socket and on the port until it is dropped; what ends before is started again.
pub(crate) struct Serving {
    doors: Vec<Door>,
    /// A task for each door, in the same order.
    parts: Parts,
    asks: mpsc::Sender<Ask>,
    hosts: Arc<[String]>,
}

#[derive(Clone)]
enum Door {
    Socket(PathBuf),
    Port(Port),
}

impl Serving {
    #[must_use]
    pub(crate) fn new(
        settings: &StatusSettings,
        port: Option<Port>,
        asks: mpsc::Sender<Ask>,
    ) -> Serving {
        let socket = Door::Socket(socket_path(&settings.state));
        Serving {
            doors: [socket].into_iter().chain(port.map(Door::Port)).collect(),
            parts: Parts::default(),
            asks,
            hosts: settings.hosts.clone().into(),
        }
    }

    pub(crate) fn start(&mut self, now: Instant) {
        for door in self.doors.clone() {
            let place = self.parts.add(format!("status server on {}", door.at()));
            let to = self.to(&door);
            self.parts.start(place, door.serve(to), now);
        }
    }

    fn to(&self, door: &Door) -> To {
        let hosts = match door {
            Door::Socket(_) => None,
            Door::Port(_) => Some(Arc::clone(&self.hosts)),
        };
        To {
            asks: self.asks.clone(),
            hosts,
            by: String::new(),
        }
    }

    /// Starts again what has ended. Returns what is to be told.
    pub(crate) fn look_after(&mut self, now: Instant) -> Vec<PartNews> {
        let news = self.parts.news(now);
        for place in self.parts.due(now) {
            if let Some(door) = self.doors.get(place).cloned() {
                let to = self.to(&door);
                self.parts.start(place, door.serve(to), now);
            }
        }
        news
    }

    pub(crate) fn down(&self) -> impl Iterator<Item = Down<'_>> {
        self.parts.down()
    }
}

impl Door {
    fn at(&self) -> String {
        match self {
            Door::Socket(path) => path.display().to_string(),
            Door::Port(port) => port.at.clone(),
        }
    }

    async fn serve(self, to: To) {
        let at = self.at();
        match self {
            Door::Socket(path) => {
                let socket = bind(&path, &at).await;
                take_in(&at, SOCKET_CONNECTIONS, &to, &socket).await;
            }
            Door::Port(port) => take_in(&at, PORT_CONNECTIONS, &to, port.opened().await).await,
        }
    }
}

/// Listens on the socket, as soon as that is possible: the state directory may be missing or read-only.
async fn bind(path: &Path, at: &str) -> UnixListener {
    let mut failures = Failures::new(at);
    loop {
        let way = adapters::make_way_for_socket(path).await;
        let bound = way.and_then(|()| UnixListener::bind(path));
        match bound.and_then(|socket| buffer::own_like_directory(path).map(|()| socket)) {
            Ok(socket) => {
                failures.end();
                return socket;
            }
            Err(error) => {
                let lost = "`tidegate status` will not find the agent, for its socket cannot be made; events flow on; trying again";
                failures.wait(&error, lost).await;
            }
        }
    }
}

/// Asks the agent that runs on `state` how it is.
pub(crate) async fn ask(state: &Path) -> Result<Snapshot, StatusError> {
    let (_, body) = send(state, Request::get("/status")).await?;
    printed(&body).map_err(|error| failed(state, error.to_string()))
}

/// Has the agent that runs on `state` do this.
pub(crate) async fn order(state: &Path, order: Order) -> Result<(), StatusError> {
    let (status, body) = send(state, Request::post(path_of(order))).await?;
    if status.is_success() {
        return Ok(());
    }
    let said = printable(&String::from_utf8_lossy(&body));
    Err(failed(state, said))
}

fn failed(state: &Path, reason: String) -> StatusError {
    let path = socket_path(state);
    StatusError::Answer { path, reason }
}

async fn send(state: &Path, request: Builder) -> Result<(StatusCode, Bytes), StatusError> {
    let path = socket_path(state);
    let stream = UnixStream::connect(&path).await;
    let stream = stream.map_err(|source| StatusError::NoAgent { path, source })?;
    let failed = |reason: String| failed(state, reason);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let request = request
        .header("host", "tidegate")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| failed(error.to_string()))?;
    let asked = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    // The connection may end before the answer is read out of it.
    let both = async { tokio::join!(asked, connection) };
    let (answer, _ended) = timeout(PATIENCE, both)
        .await
        .map_err(|_| failed(format!("nothing within {} s", PATIENCE.as_secs())))?;
    answer.map_err(|error| failed(error.to_string()))
}

/// The snapshot as it may be shown: none of its texts ends a line or moves a cursor.
fn printed(body: &[u8]) -> serde_json::Result<Snapshot> {
    let mut whole: Value = serde_json::from_slice(body)?;
    let mut left = vec![&mut whole];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => *text = printable(text),
            Value::Array(list) => left.extend(list),
            Value::Object(map) => left.extend(map.values_mut()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    serde_json::from_value(whole)
}
