//! Signatures as `ssh-keygen -Y sign` writes them (OpenSSH, PROTOCOL.sshsig).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{self, SHA256, SHA512, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use thiserror::Error;

use super::wire::{number, put, string, word};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// What the signature, and what is signed, begins with.
const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
/// Bits of an RSA key's modulus: under the first it is weak, over the last `ring` takes none.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a signature is none for a text.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Flaw {
    #[error(
        "is no SSHSIG signature ({0}); `ssh-keygen -Y sign -n tidegate-config -f KEY FILE` writes one"
    )]
    NotOne(&'static str),
    #[error(
        "was made for the namespace `{0}`; one for `{1}` is needed: `ssh-keygen -Y sign -n {1}`"
    )]
    Namespace(String, &'static str),
    #[error(
        "is by a key of type `{0}`, which is not supported; use ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, or ssh-rsa of 2048 to 8192 bits"
    )]
    KeyType(String),
    #[error("is made with `{0}`, which is not supported; a current ssh-keygen uses another")]
    Algorithm(String),
    #[error(
        "is not for this text: the text is another than what was signed, or one of them is damaged; sign the text again, and push both"
    )]
    OtherText,
}

/// What a `.sig` file holds.
#[derive(Debug)]
pub(super) struct Signature {
    /// The signer's public key, as SSH writes it.
    key: Vec<u8>,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash: Vec<u8>,
    /// How it was signed, and the result.
    algorithm: Vec<u8>,
    value: Vec<u8>,
}

/// A public key that `ring` can verify with.
#[derive(Debug)]
pub(super) enum Key<'a> {
    Ed25519(&'a [u8]),
    P256(&'a [u8]),
    P384(&'a [u8]),
    Rsa { n: &'a [u8], e: &'a [u8] },
}

impl Signature {
    /// # Errors
    /// [`Flaw::NotOne`]
    pub(super) fn read(file: &[u8]) -> Result<Signature, Flaw> {
        let blob = dearmoured(file)?;
        parts(&blob).ok_or(Flaw::NotOne("what is in it is cut or damaged"))
    }

    /// # Errors
    /// [`Flaw::Namespace`]
    pub(super) fn is_for(&self, namespace: &'static str) -> Result<(), Flaw> {
        if self.namespace == namespace.as_bytes() {
            return Ok(());
        }
        Err(Flaw::Namespace(shown(&self.namespace), namespace))
    }

    /// The public key as it stands in `allowed_signers`.
    pub(super) fn blob(&self) -> &[u8] {
        &self.key
    }

    /// # Errors
    /// [`Flaw::KeyType`]
    pub(super) fn key(&self) -> Result<Key<'_>, Flaw> {
        let mut rest = &self.key[..];
        let name = string(&mut rest).unwrap_or_default();
        let key = match name {
            b"ssh-ed25519" => string(&mut rest).map(Key::Ed25519),
            b"ecdsa-sha2-nistp256" => on_curve(&mut rest, b"nistp256").map(Key::P256),
            b"ecdsa-sha2-nistp384" => on_curve(&mut rest, b"nistp384").map(Key::P384),
            b"ssh-rsa" => return rsa(rest),
            _ => return Err(Flaw::KeyType(shown(name))),
        };
        let key = key.filter(|_| rest.is_empty());
        key.ok_or(Flaw::NotOne("the key in it is damaged"))
    }

    /// Whether it was made by `key` for `text`.
    ///
    /// # Errors
    /// [`Flaw::Algorithm`], [`Flaw::OtherText`]
    pub(super) fn verify(&self, key: &Key<'_>, text: &[u8]) -> Result<(), Flaw> {
        let hash = match &self.hash[..] {
            b"sha512" => digest(&SHA512, text),
            b"sha256" => digest(&SHA256, text),
            other => return Err(Flaw::Algorithm(shown(other))),
        };
        let message = self.message(&hash);
        let algorithm = &self.algorithm[..];
        let verified = match (key, algorithm) {
            (Key::Ed25519(key), b"ssh-ed25519") => {
                is_by(&ED25519, key, &message, Some(self.value.clone()))
            }
            (Key::P256(key), b"ecdsa-sha2-nistp256") => {
                is_by(&ECDSA_P256_SHA256_FIXED, key, &message, self.fixed(32))
            }
            (Key::P384(key), b"ecdsa-sha2-nistp384") => {
                is_by(&ECDSA_P384_SHA384_FIXED, key, &message, self.fixed(48))
            }
            (Key::Rsa { n, e }, b"rsa-sha2-512" | b"rsa-sha2-256") => {
                let scheme = if algorithm == b"rsa-sha2-512" {
                    &RSA_PKCS1_2048_8192_SHA512
                } else {
                    &RSA_PKCS1_2048_8192_SHA256
                };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(scheme, &message, &self.value).is_ok()
            }
            (Key::Ed25519(_) | Key::P256(_) | Key::P384(_) | Key::Rsa { .. }, other) => {
                return Err(Flaw::Algorithm(shown(other)));
            }
        };
        if verified {
            Ok(())
        } else {
            Err(Flaw::OtherText)
        }
    }

    /// What is signed: not the text, but its hash, and what the signature is for.
    fn message(&self, hash: &digest::Digest) -> Vec<u8> {
        let mut message = MAGIC.to_vec();
        for part in [&self.namespace, &self.reserved, &self.hash] {
            put(part, &mut message);
        }
        put(hash.as_ref(), &mut message);
        message
    }

    /// The two numbers of an ECDSA signature (RFC 5656 section 3.1.2), each in `width` bytes.
    fn fixed(&self, width: usize) -> Option<Vec<u8>> {
        let mut rest = &self.value[..];
        let mut fixed = Vec::with_capacity(2 * width);
        for _ in 0..2 {
            let number = number(&mut rest)?;
            fixed.resize(fixed.len() + width.checked_sub(number.len())?, 0);
            fixed.extend(number);
        }
        rest.is_empty().then_some(fixed)
    }
}

fn is_by(
    scheme: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: Option<Vec<u8>>,
) -> bool {
    let key = UnparsedPublicKey::new(scheme, key);
    signature.is_some_and(|signature| key.verify(message, &signature).is_ok())
}

/// What stands between the two lines around it.
fn dearmoured(file: &[u8]) -> Result<Vec<u8>, Flaw> {
    let text = str::from_utf8(file).map_err(|_| Flaw::NotOne("it is no text"))?;
    let body = text.trim().strip_prefix(BEGIN);
    let body = body.ok_or(Flaw::NotOne("it does not begin as one"))?;
    let body = body.strip_suffix(END);
    let body = body.ok_or(Flaw::NotOne("it does not end as one"))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD
        .decode(body)
        .map_err(|_| Flaw::NotOne("it is no base64"))
}

fn parts(blob: &[u8]) -> Option<Signature> {
    let mut rest = blob.strip_prefix(MAGIC)?;
    if word(&mut rest)? != VERSION {
        return None;
    }
    let mut next = || string(&mut rest).map(<[u8]>::to_vec);
    let (key, namespace, reserved, hash) = (next()?, next()?, next()?, next()?);
    let whole = next()?;
    let mut inner = &whole[..];
    let mut next = || string(&mut inner).map(<[u8]>::to_vec);
    let (algorithm, value) = (next()?, next()?);
    (rest.is_empty() && inner.is_empty()).then_some(Signature {
        key,
        namespace,
        reserved,
        hash,
        algorithm,
        value,
    })
}

/// The point of a key on the curve that it must name once more (RFC 5656 section 3.1).
fn on_curve<'a>(rest: &mut &'a [u8], curve: &[u8]) -> Option<&'a [u8]> {
    (string(rest)? == curve).then(|| string(rest))?
}

/// RFC 4253 section 6.6.
fn rsa(mut rest: &[u8]) -> Result<Key<'_>, Flaw> {
    let (e, n) = (number(&mut rest), number(&mut rest));
    let (Some(e), Some(n), true) = (e, n, rest.is_empty()) else {
        return Err(Flaw::NotOne("the key in it is damaged"));
    };
    let unused = n.first().map_or(0, |first| first.leading_zeros());
    let bits = n.len() * 8 - unused as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(Flaw::KeyType(format!("ssh-rsa of {bits} bits")));
    }
    Ok(Key::Rsa { n, e })
}

fn shown(bytes: &[u8]) -> String {
    // Whoever sent it chose what it is.
    String::from_utf8_lossy(bytes).chars().take(64).collect()
}

#[cfg(test)]
mod tests;
