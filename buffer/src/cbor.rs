//! CBOR (RFC 8949) of what the buffer itself writes and reads back: the one place that names `serde_cbor`,
//! which is not maintained (RUSTSEC-2021-0127). Nothing from outside the agent is read here; blocks and
//! marks are behind a checksum, and a block's size is bounded before it is decoded.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// With the names of fields, so that a later version may add some.
pub(crate) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_cbor::to_vec(value).map_err(io::Error::other)
}

/// With numbers for the names of fields: for records, of which there are many.
pub(crate) fn encode_packed(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_cbor::ser::to_vec_packed(value).map_err(io::Error::other)
}

pub(crate) fn decode<T: DeserializeOwned>(encoded: &[u8]) -> io::Result<T> {
    serde_cbor::from_slice(encoded).map_err(io::Error::other)
}
