//! Serving the snapshot: on a loopback port, and on a Unix socket in the state directory.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::ask::Ask;
use super::section::StatusSettings;
use super::{Snapshot, metrics};

/// Connections at once; a scraper needs one.
const CONNECTIONS_MAX: usize = 16;
/// A client that is slower than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

static CONNECTIONS: Semaphore = Semaphore::const_new(CONNECTIONS_MAX);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error("no agent answers on {path}; is it running, and is this its state directory?")]
    NoAgent {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot serve the status on {at}")]
    Port { at: String, source: std::io::Error },
    #[error("the agent on {path} did not answer as expected: {reason}")]
    Answer { path: PathBuf, reason: String },
}

#[must_use]
pub(super) fn socket_path(state: &Path) -> PathBuf {
    state.join("status.sock")
}

/// An open port, which agents that follow each other share.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    at: String,
    listener: Rc<TcpListener>,
}

/// The port, if `status.http` asks for one: the one that is `open`, if it is the same. To be had before there is an agent,
/// which could not begin without.
pub(crate) fn listen(
    settings: &StatusSettings,
    open: Option<&Port>,
) -> Result<Option<Port>, StatusError> {
    let Some(at) = &settings.listen else {
        return Ok(None);
    };
    if let Some(open) = open.filter(|open| open.at == *at) {
        return Ok(Some(open.clone()));
    }
    let bound = std::net::TcpListener::bind(at).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let bound = bound.map_err(|source| StatusError::Port {
        at: at.clone(),
        source,
    })?;
    Ok(Some(Port {
        at: at.clone(),
        listener: Rc::new(bound),
    }))
}

/// Serves on the socket and on `port`, until what it returns is dropped.
#[must_use]
pub(crate) fn serve(
    settings: &StatusSettings,
    port: Option<Port>,
    asks: mpsc::Sender<Ask>,
) -> JoinSet<()> {
    let mut serving = JoinSet::new();
    let path = socket_path(&settings.state);
    // The buffer's lock is held: whoever made it is gone.
    drop(std::fs::remove_file(&path));
    match UnixListener::bind(&path) {
        Ok(socket) => {
            let on_socket = asks.clone();
            serving.spawn_local(async move {
                while let Ok((stream, _)) = socket.accept().await {
                    tokio::spawn(connection(stream, on_socket.clone()));
                }
            });
        }
        // The state directory may be missing or read-only.
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "`tidegate status` will not find the agent");
        }
    }
    if let Some(port) = port {
        serving.spawn_local(async move {
            while let Ok((stream, _)) = port.listener.accept().await {
                tokio::spawn(connection(stream, asks.clone()));
            }
        });
    }
    serving
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, asks: mpsc::Sender<Ask>) {
    let Ok(_permit) = CONNECTIONS.try_acquire() else {
        return;
    };
    let service = service_fn(|request| answer(request, asks.clone()));
    // One request each: a client that keeps its connection would be cut off in an answer when its time is over.
    let serving = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, serving).await {
        tracing::debug!(%error, "a status connection ended badly");
    }
}

async fn answer(
    request: Request<Incoming>,
    asks: mpsc::Sender<Ask>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (tell, told) = oneshot::channel();
    let asked = asks.send(Ask::Snapshot(tell)).await.is_ok();
    let snapshot = if asked { told.await.ok() } else { None };
    let Some(snapshot) = snapshot else {
        return Ok(response(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain",
            "stopping\n".into(),
        ));
    };
    Ok(match request.uri().path() {
        "/metrics" => match metrics::render(&snapshot) {
            Ok(text) => response(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text,
            ),
            Err(error) => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                format!("{error}\n"),
            ),
        },
        "/healthz" if snapshot.is_healthy() => {
            response(StatusCode::OK, "text/plain", "ok\n".into())
        }
        "/healthz" => {
            let why = snapshot.disk_error.unwrap_or_default();
            response(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                format!("disk: {why}\n"),
            )
        }
        "/status" => response(
            StatusCode::OK,
            "application/json",
            serde_json::json!(snapshot).to_string(),
        ),
        _ => response(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /metrics, /healthz and /status\n".into(),
        ),
    })
}

fn response(status: StatusCode, kind: &str, body: String) -> Response<Full<Bytes>> {
    let built = Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)));
    built.expect("status and header are valid")
}

/// Asks the agent that runs on `state`.
pub(crate) async fn ask(state: &Path) -> Result<Snapshot, StatusError> {
    let path = socket_path(state);
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|source| StatusError::NoAgent {
            path: path.clone(),
            source,
        })?;
    let failed = |reason: String| StatusError::Answer {
        path: path.clone(),
        reason,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let request = Request::get("/status")
        .header("host", "tidegate")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| failed(error.to_string()))?;
    let asked = async move {
        let response = sender.send_request(request).await?;
        Ok::<_, hyper::Error>(response.into_body().collect().await?.to_bytes())
    };
    // The connection may end before the answer is read out of it.
    let (body, _ended) = tokio::join!(asked, connection);
    let body = body.map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
}
