//! Keys for encryption at rest: ChaCha20-Poly1305 (RFC 8439), block by block.
//!
//! The first key writes, all of them read. A generation is written with one key, since each start begins a
//! new one: so a key is rotated by putting a new one in front, and an old one can go once its generations have.

use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Tells a key without saying it: the first bytes of a hash. 0 is "not encrypted".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    pub(crate) const NONE: KeyId = KeyId(0);
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a key is 64 hexadecimal digits, as `openssl rand -hex 32` prints them; this one has {found}"
)]
pub struct KeyError {
    found: String,
}

/// None, or the keys of a buffer. Cloning shares them.
#[derive(Clone, Default)]
pub struct Keys(Arc<Vec<(KeyId, LessSafeKey)>>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keys {
    /// `texts` are the keys in hexadecimal; the first is the one to write with.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Keys, KeyError> {
        let keys: Result<Vec<_>, KeyError> = texts.iter().map(|text| key(text.as_ref())).collect();
        Ok(Keys(Arc::new(keys?)))
    }

    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.iter().map(|(id, _)| *id)
    }

    /// The key that is written with.
    pub(crate) fn writing(&self) -> KeyId {
        self.ids().next().unwrap_or(KeyId::NONE)
    }

    /// `nonce ‖ ciphertext ‖ tag`; `header` is bound to it.
    pub(crate) fn seal(&self, header: &[u8], plain: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let Some((_, key)) = self.0.first() else {
            return Ok(plain);
        };
        let failed = |_| std::io::Error::other("the block cannot be encrypted");
        let nonce = random::<NONCE_LEN>()?;
        let mut body = plain;
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(header), &mut body)
            .map_err(failed)?;
        Ok([&nonce[..], &body].concat())
    }

    /// What [`Keys::seal`] was given; `None` when the key is not there or it is not what was sealed.
    pub(crate) fn open(&self, id: KeyId, header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (_, key) = self.0.iter().find(|(known, _)| *known == id)?;
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = key
            .open_in_place(nonce, Aad::from(header), &mut body)
            .ok()?;
        let length = plain.len();
        body.truncate(length);
        Some(body)
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |_| std::io::Error::other("the system gives no random bytes");
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn key(text: &str) -> Result<(KeyId, LessSafeKey), KeyError> {
    let text = text.trim();
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    let bytes = bytes
        .filter(|bytes| bytes.len() == 32)
        .ok_or_else(|| KeyError {
            found: match text.chars().find(|c| !c.is_ascii_hexdigit()) {
                Some(other) => format!("`{other}` in it"),
                None => format!("{} digits", text.len()),
            },
        })?;
    let hash = ring::digest::digest(
        &ring::digest::SHA256,
        &[b"tidegate key id", &bytes[..]].concat(),
    );
    let start = hash.as_ref().first_chunk().copied().unwrap_or_default();
    let id = KeyId(u32::from_le_bytes(start).max(1));
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("the length is right");
    Ok((id, LessSafeKey::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_header_only() {
        let (old, new) = ("00".repeat(32), "ab".repeat(32));
        let keys = Keys::parse(&[&new, &old]).unwrap();
        let sealed = keys.seal(b"header", b"plain".to_vec()).unwrap();
        let id = keys.writing();
        assert_eq!(keys.open(id, b"header", &sealed), Some(b"plain".to_vec()));
        assert_eq!(keys.open(id, b"other", &sealed), None);
        let other = Keys::parse(&[&old]).unwrap();
        assert_eq!(other.open(id, b"header", &sealed), None);
        assert_ne!(sealed, keys.seal(b"header", b"plain".to_vec()).unwrap());
    }

    #[test]
    fn a_bad_key_says_what_a_key_is() {
        for (text, found) in [
            ("abc", "3 digits"),
            ("zz", "`z` in it"),
            ("", "0 digits"),
            ("é", "`é` in it"),
        ] {
            let error = Keys::parse(&[text]).unwrap_err().to_string();
            assert!(
                error.contains("64 hexadecimal") && error.contains(found),
                "{error}"
            );
        }
    }
}
