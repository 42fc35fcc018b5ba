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

/// Appends `value` to `out`, with numbers for the names of fields: for records, of which there are many.
pub(crate) fn append_packed(out: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    write_packed(out, value)
}

/// Bytes that [`append_packed`] would append. Nothing is copied or kept for it.
pub(crate) fn packed_len(value: &impl Serialize) -> io::Result<usize> {
    let mut counted = Counter(0);
    write_packed(&mut counted, value)?;
    Ok(counted.0)
}

/// The head of an array of `count` items (RFC 8949 section 3); the items follow it.
pub(crate) fn array_head(count: u16) -> Vec<u8> {
    match u8::try_from(count) {
        Ok(few @ 0..24) => vec![0x80 | few],
        Ok(more) => vec![0x98, more],
        Err(_) => [&[0x99], &count.to_be_bytes()[..]].concat(),
    }
}

fn write_packed(to: impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let writer = serde_cbor::ser::IoWrite::new(to);
    let mut serializer = serde_cbor::Serializer::new(writer).packed_format();
    value.serialize(&mut serializer).map_err(io::Error::other)
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn decode<T: DeserializeOwned>(encoded: &[u8]) -> io::Result<T> {
    serde_cbor::from_slice(encoded).map_err(io::Error::other)
}
