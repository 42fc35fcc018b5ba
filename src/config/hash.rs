//! SHA-256 of several things.

use ring::digest::Context;

/// With its length, so that what is in two of them is not taken for what is in one.
pub(super) fn update(all: &mut Context, bytes: &[u8]) {
    all.update(&(bytes.len() as u64).to_le_bytes());
    all.update(bytes);
}

/// As `sha256sum` prints it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
