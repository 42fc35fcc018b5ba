//! A broker's certificate: one that is pinned, and the words for what is wrong with one.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// SHA-256 of a certificate, as `openssl x509 -noout -fingerprint -sha256` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin([u8; 32]);

impl Pin {
    /// From 64 hexadecimal digits, with or without colons.
    pub(super) fn parse(text: &str) -> Option<Pin> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Pin(bytes))
    }

    fn of(certificate: &CertificateDer<'_>) -> Option<Pin> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
        let hash = suite.common.hash_provider.hash(certificate);
        Some(Pin(hash.as_ref().try_into().ok()?))
    }

    /// Trusts this certificate and no other, whoever signed it, for whatever name, and also where it has expired.
    pub(super) fn verifier(&self, provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Pinned {
            pin: self.clone(),
            provider,
        })
    }
}

#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Pin::of(certificate).as_ref() == Some(&self.pin) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("NotPinned".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

/// What rustls says in its own names, of which some are of a library below it and have no type here; the first that fits is told.
const RULES: [(&str, &str); 16] = [
    (
        "NotPinned",
        "the broker's certificate is not the one that is pinned; if it was replaced on purpose, set `tls.pin` to the SHA-256 fingerprint of the new one (openssl x509 -noout -fingerprint -sha256)",
    ),
    (
        "CaUsedAsEndEntity",
        "the broker's certificate is that of an authority (CA:TRUE), as a self-signed one often is; have the authority sign a certificate for the broker, or set `tls.pin` to the SHA-256 fingerprint of this one",
    ),
    (
        "NotValidForName",
        "the broker's certificate is for another name; set `host` to a name or address among its subject alternative names, or `tls.server_name` to one of them",
    ),
    (
        "UnknownIssuer",
        "no authority that is trusted has signed the broker's certificate; put that authority's certificate into `tls.ca_file`, or have the broker send its intermediate certificates",
    ),
    (
        "Expired",
        "the broker's certificate has expired, or this machine's clock is ahead; renew it, or set the clock",
    ),
    (
        "NotValidYet",
        "the broker's certificate is not valid yet, or this machine's clock is behind; set the clock",
    ),
    (
        "UnsupportedCertVersion",
        "the broker's certificate is not of X.509 version 3; make one with subject alternative names",
    ),
    (
        "InvalidPurpose",
        "the broker's certificate is not for a server (extended key usage serverAuth); make one that is",
    ),
    (
        "RequiredEku",
        "the broker's certificate is not for a server (extended key usage serverAuth); make one that is",
    ),
    (
        "Revoked",
        "the broker's certificate is revoked; the broker needs another",
    ),
    (
        "UnsupportedSignatureAlgorithm",
        "the broker's certificate is signed in a way that is too weak or not known (SHA-1, MD5, RSA under 2048 bits); make one with SHA-256 and RSA of 2048 bits or more, or ECDSA",
    ),
    (
        "BadSignature",
        "the signature of the broker's certificate is wrong: another authority of the same name is in `tls.ca_file`",
    ),
    (
        "InvalidCertificate",
        "the broker's certificate cannot be used",
    ),
    (
        "AlertReceived",
        "the broker ended the TLS handshake; if it wants a client certificate, set `tls.cert_file` and `tls.key_file` to one that it trusts",
    ),
    (
        "InvalidMessage",
        "the broker answered with something that is no TLS; `port` may be its port without TLS",
    ),
    (
        "PeerIncompatible",
        "the broker has no TLS version or cipher in common with us; it needs TLS 1.2 or 1.3",
    ),
];

/// Why a TLS handshake failed: the rule, what to do, and what rustls calls it.
pub(super) fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(named) = inner.map(|error: &Error| format!("{error:?}")) else {
        return format!("the TLS handshake with the broker was cut short: {error}");
    };
    let mut rules = RULES.iter();
    let rule = rules.find(|(name, _)| named.contains(name));
    let text = rule.map_or("the TLS handshake with the broker failed", |(_, text)| text);
    format!("{text} ({error})")
}

#[cfg(test)]
mod tests {
    use rustls::{
        AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible,
    };

    use super::*;

    /// As an error of a library that has no type here.
    #[derive(Debug, thiserror::Error)]
    #[error("CaUsedAsEndEntity")]
    struct CaUsedAsEndEntity;

    #[test]
    fn the_rule_that_failed_is_said_with_what_to_do() {
        let other = OtherError(Arc::new(CaUsedAsEndEntity));
        for (error, words_of_it) in [
            (CertificateError::Other(other).into(), "set `tls.pin`"),
            (
                CertificateError::NotValidForName.into(),
                "`tls.server_name`",
            ),
            (CertificateError::UnknownIssuer.into(), "`tls.ca_file`"),
            (CertificateError::Expired.into(), "has expired"),
            (CertificateError::NotValidYet.into(), "not valid yet"),
            (CertificateError::InvalidPurpose.into(), "serverAuth"),
            (CertificateError::BadEncoding.into(), "cannot be used"),
            (
                Error::General("NotPinned".into()),
                "is not the one that is pinned",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "`tls.cert_file`",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "port without TLS",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "TLS 1.2 or 1.3",
            ),
            (Error::DecryptError, "handshake with the broker failed"),
        ] {
            let said = words(&io::Error::new(io::ErrorKind::InvalidData, error));
            assert!(said.contains(words_of_it), "{said}");
        }
        let cut = words(&io::ErrorKind::UnexpectedEof.into());
        assert!(cut.contains("cut short"), "{cut}");
    }

    #[test]
    fn a_pin_is_read_as_openssl_prints_it_and_is_of_one_certificate() {
        // SHA-256 of nothing (FIPS 180-4).
        let empty = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";
        let pin = Pin::parse(empty).unwrap();
        assert_eq!(
            Pin::parse(&empty.replace(':', "").to_lowercase()),
            Some(pin.clone())
        );
        for text in [
            "",
            "E3:B0",
            &empty.replace("E3", "G3"),
            &empty.replace("E3", "+3"),
        ] {
            assert_eq!(Pin::parse(text), None, "{text}");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = pin.verifier(provider);
        let name = ServerName::try_from("b").unwrap();
        let verify = |bytes: &'static [u8]| {
            let certificate = CertificateDer::from(bytes);
            let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            verifier.verify_server_cert(&certificate, &[], &name, &[], now)
        };
        assert!(verify(b"").is_ok() && verify(b"x").is_err());
    }
}
