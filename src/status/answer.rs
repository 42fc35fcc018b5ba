//! What the status server answers to a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::ask::{Ask, Order};
use super::{Snapshot, host, metrics};

/// An agent that does not say within this how it is, is not well.
const AGENT_ANSWERS: Duration = Duration::from_secs(5);

/// Where each order is asked for.
pub(super) fn path_of(order: Order) -> &'static str {
    match order {
        Order::Retry => "/config/retry",
        Order::Force => "/config/retry/force",
        Order::Return => "/config/return",
    }
}

/// `hosts` are the names of this machine where a request has to be for it; `by` is who asks where there are none.
pub(super) async fn answer(
    request: Request<Incoming>,
    asks: mpsc::Sender<Ask>,
    hosts: Option<Arc<[String]>>,
    by: String,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_ours = |names: &Arc<[String]>| host::is_ours(request.uri(), request.headers(), names);
    if !hosts.as_ref().is_none_or(is_ours) {
        return Ok(response(
            StatusCode::MISDIRECTED_REQUEST,
            "text/plain",
            "this port answers requests for localhost, a loopback address or this machine's host name; \
             to ask under another name, add it to status.hosts in the configuration\n"
                .into(),
        ));
    }
    // Who reaches the port may read; who may use the state directory may act as well.
    let asked = |order: &Order| request.uri().path() == path_of(*order);
    if hosts.is_none()
        && request.method() == Method::POST
        && let Some(order) = [Order::Retry, Order::Force, Order::Return]
            .into_iter()
            .find(asked)
    {
        return Ok(pass_on(Ask::Order(order, by), asks).await);
    }
    Ok(match timeout(AGENT_ANSWERS, snapshot(asks)).await {
        Ok(Some(snapshot)) => page(request.uri().path(), &snapshot),
        Ok(None) => unavailable("stopping\n".into()),
        Err(_) => {
            let waited = AGENT_ANSWERS.as_secs();
            unavailable(format!("agent: it did not answer within {waited} s\n"))
        }
    })
}

async fn pass_on(order: Ask, asks: mpsc::Sender<Ask>) -> Response<Full<Bytes>> {
    match timeout(AGENT_ANSWERS, asks.send(order)).await {
        Ok(Ok(())) => response(StatusCode::ACCEPTED, "text/plain", "it is done\n".into()),
        Ok(Err(_)) | Err(_) => unavailable("stopping\n".into()),
    }
}

async fn snapshot(asks: mpsc::Sender<Ask>) -> Option<Snapshot> {
    let (tell, told) = oneshot::channel();
    asks.send(Ask::Snapshot(tell)).await.ok()?;
    told.await.ok()
}

fn page(path: &str, snapshot: &Snapshot) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => match metrics::render(snapshot) {
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
        "/healthz" => health(snapshot),
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
    }
}

fn health(snapshot: &Snapshot) -> Response<Full<Bytes>> {
    let lines: String = snapshot.illnesses().map(|line| line + "\n").collect();
    if lines.is_empty() {
        response(StatusCode::OK, "text/plain", "ok\n".into())
    } else {
        unavailable(lines)
    }
}

fn unavailable(why: String) -> Response<Full<Bytes>> {
    response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why)
}

fn response(status: StatusCode, kind: &str, body: String) -> Response<Full<Bytes>> {
    let built = Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)));
    built.expect("status and header are valid")
}
