//! TLS as it is configured, for every client; and what rustls makes of it, with ring as its cryptography.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS by rustls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// PEM file of the authorities to trust. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the gateway's own certificate and key, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

impl TlsSection {
    /// The files that it names, by key.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + use<> {
        let files = [
            ("ca_file", &self.ca_file),
            ("cert_file", &self.cert_file),
            ("key_file", &self.key_file),
        ];
        let given = files.map(|(key, path)| Some((key, path.clone()?)));
        given.into_iter().flatten()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot use {path} for TLS: {reason}")]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

/// How a server's certificate is judged, where not by the authorities that are trusted.
pub(crate) type Verifier<'a> = &'a dyn Fn(Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier>;

/// What a client other than a source connects with; reads the files that `section` names.
///
/// # Errors
/// The file that cannot be used, or that there is no authority to trust.
pub fn tls_client(section: &TlsSection) -> Result<Arc<ClientConfig>, TlsError> {
    client(section, None)
}

pub(crate) fn client(
    section: &TlsSection,
    verifier: Option<Verifier<'_>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(Path::new("TLS"), &error))?;
    let builder = match verifier {
        Some(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(verifier(provider)),
        None => builder.with_root_certificates(roots(section)?),
    };
    let config = match (&section.cert_file, &section.key_file) {
        (Some(cert), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key_der)
                .map_err(|error| bad(cert, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(section: &TlsSection) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let certificates = match &section.ca_file {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let path = section
            .ca_file
            .clone()
            .unwrap_or_else(|| "the system's certificates".into());
        return Err(bad(&path, &"it holds no certificate"));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<_, _>>);
    read.map_err(|error| bad(path, &error))
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
