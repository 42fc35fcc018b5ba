//! The connection to where configurations are pulled from.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use adapters::{off_task, tls_client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, Error as TlsFault};

use super::error::PullError;
use crate::config::PullSettings;

/// For the name, all of its addresses, and TLS together.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Files are read anew each time: certificates and keys are rotated.
pub(super) async fn connect(settings: &PullSettings) -> Result<Box<dyn Socket>, PullError> {
    let opened = timeout(PATIENCE.min(settings.timeout), open(settings)).await;
    opened.unwrap_or_else(|_| {
        Err(PullError::Connect(format!(
            "no connection within {:?}",
            PATIENCE.min(settings.timeout)
        )))
    })
}

async fn open(settings: &PullSettings) -> Result<Box<dyn Socket>, PullError> {
    let tcp = tcp(settings).await?;
    if !settings.url.is_secure {
        return Ok(Box::new(tcp));
    }
    let files = settings.tls.clone();
    let client = off_task(move || tls_client(&files).map_err(io::Error::other)).await;
    let client = client.map_err(|error| PullError::Tls(error.to_string()))?;
    let name = ServerName::try_from(settings.server_name.clone());
    let name = name.map_err(|error| PullError::Tls(error.to_string()))?;
    let opened = TlsConnector::from(client).connect(name, tcp).await;
    let opened = opened.map_err(|error| PullError::Tls(words(&error)))?;
    Ok(Box::new(opened))
}

/// Tries the addresses of the name one after the other: one that does not answer leaves time for the next.
async fn tcp(settings: &PullSettings) -> Result<TcpStream, PullError> {
    let (host, port) = (settings.url.host.as_str(), settings.url.port);
    let found = lookup_host((host, port)).await;
    let found =
        found.map_err(|error| PullError::Connect(format!("cannot find {host}: {error}")))?;
    let addresses: Vec<_> = found.collect();
    let share = PATIENCE / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = format!("{host} has no address");
    for address in addresses {
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => format!("{address}: {error}"),
            Err(_) => format!("no answer from {address} within {share:?}"),
        };
    }
    Err(PullError::Connect(last))
}

/// What went wrong with TLS, and what is to be done about it.
fn words(error: &io::Error) -> String {
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref());
    let hint = if let Some(TlsFault::InvalidCertificate(why)) = fault {
        hint(why)
    } else {
        ""
    };
    let source = error.source().map(|source| format!(": {source}"));
    format!("{error}{}{hint}", source.unwrap_or_default())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the list grows, and the error itself is said as well"
)]
fn hint(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::UnknownIssuer => {
            "; the server's certificate is of no authority that is trusted: name its authority's in `fleet.tls.ca_file`"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; the server's certificate is for another name: use one of its names in `fleet.url`, or name one in `fleet.tls.server_name`"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "; renew the server's certificate, or put this gateway's clock right"
        }
        _ => "",
    }
}
