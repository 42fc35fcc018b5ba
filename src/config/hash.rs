//! SHA-256, of one thing or of several.

use ring::digest::{Context, SHA256, digest};

/// Of several things.
pub(super) struct Hash(Context);

impl Hash {
    pub(super) fn new() -> Hash {
        Hash(Context::new(&SHA256))
    }

    /// With its length, so that what is in two of them is not taken for what is in one.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub(super) fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// Of a text, as `sha256sum` prints it.
pub(crate) fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
