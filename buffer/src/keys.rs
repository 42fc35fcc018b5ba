//! Keys for encryption at rest: ChaCha20-Poly1305 (RFC 8439), block by block.
//!
//! The first key writes, all of them read. A generation is written with one key, since each start begins a
//! new one: so a key is rotated by putting a new one in front, and an old one can go once its generations have.
//!
//! What is encrypted says in its header, which is bound to it, for which gateway, lane and generation it is: a [`Scope`].

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

/// None, or the keys of a buffer, and whose it is. Cloning shares them.
#[derive(Clone, Default)]
pub struct Keys {
    all: Arc<Vec<(KeyId, LessSafeKey)>>,
    gateway: Arc<str>,
}

/// A gateway and a lane of it, as far as blocks are bound to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope([u8; 32]);

impl Scope {
    /// What blocks of the generation say whose first sequence is `generation`. Never 0.
    pub(crate) fn bound(&self, generation: u64) -> u64 {
        let hash = sha256(&[
            b"tidegate generation",
            &self.0[..],
            &generation.to_le_bytes(),
        ]);
        let start = hash.first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(start).max(1)
    }
}

/// Of parts whose lengths count as well, so that no two lists of parts are the same.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part);
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, &all);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keys {
    /// `texts` are the keys in hexadecimal; the first is the one to write with.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Keys, KeyError> {
        let keys: Result<Vec<_>, KeyError> = texts.iter().map(|text| key(text.as_ref())).collect();
        Ok(Keys {
            all: Arc::new(keys?),
            gateway: "".into(),
        })
    }

    /// The same keys for the buffer of the gateway with this id: what is encrypted for another one is not read.
    #[must_use]
    pub fn for_gateway(&self, id: &str) -> Keys {
        Keys {
            all: Arc::clone(&self.all),
            gateway: id.into(),
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.all.iter().map(|(id, _)| *id)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    pub(crate) fn knows(&self, id: KeyId) -> bool {
        self.ids().any(|known| known == id)
    }

    /// What blocks of a lane are bound to; `None` where nothing is encrypted.
    pub(crate) fn scope(&self, lane: &str) -> Option<Scope> {
        let parts = [b"tidegate lane", self.gateway.as_bytes(), lane.as_bytes()];
        (!self.is_empty()).then(|| Scope(sha256(&parts)))
    }

    /// A text that only who has the key can read, in hexadecimal digits, bound to what it is for and to the gateway.
    pub fn seal_text(&self, purpose: &str, text: &str) -> std::io::Result<String> {
        let sealed = self.seal(&self.purpose(purpose), text.as_bytes().to_vec())?;
        let key = self.writing().0.to_le_bytes();
        let all = key.iter().chain(&sealed);
        Ok(all.map(|byte| format!("{byte:02x}")).collect())
    }

    /// What [`Keys::seal_text`] was given; `None` where no key opens it, or it is for something or somebody else.
    #[must_use]
    pub fn open_text(&self, purpose: &str, sealed: &str) -> Option<String> {
        let sealed = bytes_of_hex(sealed.trim())?;
        let (key, sealed) = sealed.split_first_chunk()?;
        let key = KeyId(u32::from_le_bytes(*key));
        String::from_utf8(self.open(key, &self.purpose(purpose), sealed)?).ok()
    }

    fn purpose(&self, purpose: &str) -> [u8; 32] {
        sha256(&[
            b"tidegate text",
            purpose.as_bytes(),
            self.gateway.as_bytes(),
        ])
    }

    /// The key that is written with.
    pub(crate) fn writing(&self) -> KeyId {
        self.ids().next().unwrap_or(KeyId::NONE)
    }

    /// `nonce ‖ ciphertext ‖ tag`; `header` is bound to it.
    pub(crate) fn seal(&self, header: &[u8], plain: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let Some((_, key)) = self.all.first() else {
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
        let (_, key) = self.all.iter().find(|(known, _)| *known == id)?;
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

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn key(text: &str) -> Result<(KeyId, LessSafeKey), KeyError> {
    let text = text.trim();
    let bytes = bytes_of_hex(text)
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

    const FROZEN: u64 = 0xcd64_4179_4d2b_6d7a;

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
    fn what_blocks_are_bound_to_differs_by_gateway_lane_and_generation() {
        let keys = Keys::parse(&["42".repeat(32)]).unwrap();
        let bound = |gateway: &str, lane: &str, generation| {
            let scope = keys.for_gateway(gateway).scope(lane).unwrap();
            scope.bound(generation)
        };
        // Persisted: it must never change.
        assert_eq!(bound("gw-1", "state", 258), FROZEN);
        for other in [
            bound("gw-2", "state", 258),
            bound("gw-1", "stat", 258),
            bound("gw-1s", "tate", 258),
            bound("gw-1", "state", 259),
        ] {
            assert_ne!(other, FROZEN);
        }
        assert!(Keys::default().scope("state").is_none());
    }

    #[test]
    fn a_text_is_for_its_purpose_and_its_gateway() {
        let keys = Keys::parse(&["42".repeat(32)]).unwrap().for_gateway("gw-1");
        let sealed = keys.seal_text("rejected", "{\"n\":1}").unwrap();
        assert!(sealed.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let opened = keys.open_text("rejected", &sealed);
        assert_eq!(opened.as_deref(), Some("{\"n\":1}"));
        assert_eq!(keys.open_text("notes", &sealed), None);
        let others = [keys.for_gateway("gw-2"), Keys::default()];
        assert!(
            others
                .iter()
                .all(|other| other.open_text("rejected", &sealed).is_none())
        );
        assert_eq!(keys.open_text("rejected", "é"), None);
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
