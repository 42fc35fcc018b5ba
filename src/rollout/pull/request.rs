//! One pull: whether there is another file, and the file.

use std::time::Duration;

use adapters::off_task;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, DATE, ETAG, HOST, HeaderMap, HeaderValue,
    IF_NONE_MATCH, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::body;
use super::connect::connect;
use super::error::PullError;
use crate::config::PullSettings;

/// Bytes of an answer's headers.
const HEADERS_MAX: usize = 32 * 1024;
/// Bytes of an `ETag` that are remembered: a longer one is not sent back.
const ETAG_MAX: usize = 1024;
/// Characters of a host that are shown.
const HOST_MAX: usize = 100;

#[derive(Debug)]
pub(super) enum Answer {
    /// The file is still the one that was known by its `ETag`.
    Same,
    File {
        text: String,
        etag: Option<String>,
    },
}

/// Asks for the file, unless it is the one that `etag` is of.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(settings: &PullSettings, etag: Option<&str>) -> Result<Answer, PullError> {
    let path = settings.url.path.as_str();
    let asked = timeout(settings.timeout, exchange(settings, path, etag)).await;
    asked.unwrap_or(Err(PullError::Slow(settings.timeout)))
}

/// Asks for the signature of the file, which is beside it: `URL.sig`.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask_signature(settings: &PullSettings) -> Result<String, PullError> {
    let path = signature_of(&settings.url.path);
    let asked = timeout(settings.timeout, exchange(settings, &path, None)).await;
    match asked.unwrap_or(Err(PullError::Slow(settings.timeout)))? {
        Answer::File { text, .. } => Ok(text),
        Answer::Same => Err(PullError::Refused {
            status: StatusCode::NOT_MODIFIED.as_u16(),
            wait: None,
        }),
    }
}

/// What is asked for behind a `?` stays where it is.
fn signature_of(path: &str) -> String {
    match path.split_once('?') {
        Some((path, query)) => format!("{path}.sig?{query}"),
        None => format!("{path}.sig"),
    }
}

async fn exchange(
    settings: &PullSettings,
    path: &str,
    etag: Option<&str>,
) -> Result<Answer, PullError> {
    let request = request(settings, path, etag).await?;
    let socket = TokioIo::new(connect(settings).await?);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADERS_MAX);
    let (mut sender, connection) = builder
        .handshake(socket)
        .await
        .map_err(|error| broken(&error))?;
    // Ends with this function, whatever becomes of it.
    let mut driven = JoinSet::new();
    driven.spawn(connection.without_shutdown());
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    drop(sender);
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Answer::Same),
        _ if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
            return Err(PullError::Elsewhere {
                status: status.as_u16(),
                host: host_of(&response),
            });
        }
        _ => {
            return Err(PullError::Refused {
                status: status.as_u16(),
                wait: retry_after(response.headers()),
            });
        }
    }
    let (head, body) = response.into_parts();
    body::is_bounded(&head.headers, &body)?;
    let text = body::read(body, settings.max_bytes).await?;
    if let Some(Ok(Ok(parts))) = driven.join_next().await
        && body::is_followed(parts).await
    {
        let why = "more came than its `Content-Length` says";
        return Err(PullError::Incomplete(why.into()));
    }
    let etag = head.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
    Ok(Answer::File {
        text,
        etag: etag.filter(|etag| etag.len() <= ETAG_MAX).map(Into::into),
    })
}

async fn request(
    settings: &PullSettings,
    path: &str,
    etag: Option<&str>,
) -> Result<Request<Empty<Bytes>>, PullError> {
    let mut request = Request::get(path)
        .header(HOST, settings.url.authority.as_str())
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "identity")
        // One a pull: the next is far away, and what comes after the file is seen.
        .header(CONNECTION, "close");
    if let Some(etag) = etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(bearer) = settings.bearer.clone() {
        let token = off_task(move || bearer.read().map_err(std::io::Error::other)).await;
        let token = token.map_err(|error| PullError::Bearer(crate::process::chain(&error)))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| {
            PullError::Bearer("there are characters in it that no header may have".into())
        })?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request
        .body(Empty::new())
        .map_err(|error| PullError::Broken(error.to_string()))
}

fn broken(error: &hyper::Error) -> PullError {
    PullError::Broken(crate::process::chain(error))
}

/// Where a redirect points to.
fn host_of<B>(response: &Response<B>) -> String {
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let uri = location.and_then(|location| location.parse::<Uri>().ok());
    match uri {
        None => "nowhere".into(),
        Some(uri) => match uri.host() {
            Some(host) => format!("`{}`", host.chars().take(HOST_MAX).collect::<String>()),
            None => "another file of the same host".into(),
        },
    }
}

/// Seconds, or a date, which is compared with the server's own: this gateway's clock may be wrong.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = said.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| rfc2822::parse(text).ok().map(|date| date.timestamp());
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    let wait = date(said)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_beside_its_file_whatever_is_asked_for_behind_it() {
        for (path, signature) in [
            ("/gw.toml", "/gw.toml.sig"),
            ("/gw.toml?id=5&a=b", "/gw.toml.sig?id=5&a=b"),
        ] {
            assert_eq!(signature_of(path), signature);
        }
    }

    #[test]
    fn a_server_that_asks_to_be_left_alone_says_for_how_long() {
        let date = "Sun, 29 Nov 2026 04:00:00 GMT";
        for (said, date, wait) in [
            ("120", None, Some(120)),
            ("Sun, 29 Nov 2026 04:02:00 GMT", Some(date), Some(120)),
            ("Sun, 29 Nov 2026 03:02:00 GMT", Some(date), Some(0)),
            ("Sun, 29 Nov 2026 04:02:00 GMT", None, None),
            ("soon", Some(date), None),
            ("-5", Some(date), None),
            ("99999999999999999999999", Some(date), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(said));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            let wait = wait.map(Duration::from_secs);
            assert_eq!(retry_after(&headers), wait, "{said}");
        }
    }

    #[test]
    fn of_a_redirect_the_host_is_said() {
        for (location, said) in [
            (Some("https://other.example/x?token=y"), "`other.example`"),
            (Some("/x"), "another file of the same host"),
            (Some("::"), "nowhere"),
            (None, "nowhere"),
        ] {
            let mut response = Response::new(());
            if let Some(location) = location {
                let value = HeaderValue::from_static(location);
                response.headers_mut().insert(LOCATION, value);
            }
            assert_eq!(host_of(&response), said);
        }
    }
}
