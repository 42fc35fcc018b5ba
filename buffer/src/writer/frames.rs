//! What the agent and its disk writer say to each other, over two pipes.
//!
//! ```text
//! order   length u32 | kind u8 | database u32 | body
//!         kind 1 create: path        kind 2 block: first u64, block      kind 3 value: key length u8, key, value
//!         kind 4 sync: nothing       kind 5 close: nothing
//! answer  length u32 | status u8 | error number i32 | path length u32 | path | text
//! ```
//!
//! Integers are little endian; a length counts what follows it. Only `sync` and `close` are answered, `sync` for all
//! that was ordered before it, so that a commit is one round trip.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::block::{PIECES_MAX, STORED_BYTES_MAX};
use crate::database::DiskError;

/// The largest logical block has this many pieces; a value has 128 KiB, a path is far shorter.
const ORDER_BYTES_MAX: usize = PIECES_MAX * (STORED_BYTES_MAX + 256) + 4096;
/// Room for orders that is kept from one to the next; few are larger.
const ORDER_BYTES_KEPT: usize = 192 * 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024;

const CREATE: u8 = 1;
const BLOCK: u8 = 2;
const VALUE: u8 = 3;
const SYNC: u8 = 4;
const CLOSE: u8 = 5;

const DONE: u8 = 0;
const IO: u8 = 1;
const DAMAGED: u8 = 2;

/// What is written to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// An encoded block and the sequence that it starts at.
    Block {
        first: u64,
        encoded: &'a [u8],
    },
    Value {
        key: &'a [u8],
        value: &'a [u8],
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order<'a> {
    Create(&'a Path),
    Write(Entry<'a>),
    /// Make durable what was written, and answer.
    Sync,
    /// Close the database, and answer.
    Close,
}

pub(crate) fn send_order(to: &mut impl Write, database: u32, order: &Order<'_>) -> io::Result<()> {
    let first_bytes;
    let key_length;
    let parts: (u8, [&[u8]; 3]) = match order {
        Order::Create(path) => (CREATE, [path.as_os_str().as_bytes(), &[], &[]]),
        Order::Write(Entry::Block { first, encoded }) => {
            first_bytes = first.to_le_bytes();
            (BLOCK, [&first_bytes, encoded, &[]])
        }
        Order::Write(Entry::Value { key, value }) => {
            key_length = [u8::try_from(key.len()).map_err(io::Error::other)?];
            (VALUE, [&key_length, key, value])
        }
        Order::Sync => (SYNC, [&[], &[], &[]]),
        Order::Close => (CLOSE, [&[], &[], &[]]),
    };
    let (kind, body) = parts;
    let length = 5 + body.iter().map(|part| part.len()).sum::<usize>();
    to.write_all(&length_of(length, ORDER_BYTES_MAX)?)?;
    to.write_all(&[kind])?;
    to.write_all(&database.to_le_bytes())?;
    body.iter().try_for_each(|part| to.write_all(part))
}

/// Reads the next order into `buffer`; `None` when there will be no more.
pub(crate) fn next_order<'a>(
    from: &mut impl Read,
    buffer: &'a mut Vec<u8>,
) -> io::Result<Option<(u32, Order<'a>)>> {
    buffer.clear();
    buffer.shrink_to(ORDER_BYTES_KEPT);
    if !fill(from, buffer, ORDER_BYTES_MAX)? {
        return Ok(None);
    }
    order_of(buffer).map(Some).ok_or_else(malformed)
}

fn order_of(bytes: &[u8]) -> Option<(u32, Order<'_>)> {
    let (kind, rest) = bytes.split_first()?;
    let (database, body) = rest.split_first_chunk()?;
    let order = match *kind {
        CREATE => Order::Create(Path::new(OsStr::from_bytes(body))),
        BLOCK => {
            let (first, encoded) = body.split_first_chunk()?;
            let first = u64::from_le_bytes(*first);
            Order::Write(Entry::Block { first, encoded })
        }
        VALUE => {
            let (length, body) = body.split_first()?;
            let (key, value) = body.split_at_checked(usize::from(*length))?;
            Order::Write(Entry::Value { key, value })
        }
        SYNC => Order::Sync,
        CLOSE => Order::Close,
        _ => return None,
    };
    Some((u32::from_le_bytes(*database), order))
}

pub(crate) fn send_answer(to: &mut impl Write, outcome: &Result<(), DiskError>) -> io::Result<()> {
    let (status, number, path, text) = match outcome {
        Ok(()) => (DONE, 0, Path::new(""), String::new()),
        Err(DiskError::Io { path, source }) => {
            let number = source.raw_os_error().unwrap_or(0);
            (IO, number, path.as_path(), source.to_string())
        }
        Err(DiskError::Damaged { path, reason }) => (DAMAGED, 0, path.as_path(), reason.clone()),
        Err(other @ (DiskError::Full { path, .. } | DiskError::WriterEnded { path, .. })) => {
            (DAMAGED, 0, path.as_path(), other.to_string())
        }
    };
    let path = path.as_os_str().as_bytes();
    // Of a long text the beginning is enough.
    let room = ANSWER_BYTES_MAX.saturating_sub(9 + path.len());
    let text = text.as_bytes().get(..room).unwrap_or(text.as_bytes());
    let path_length = u32::try_from(path.len()).map_err(io::Error::other)?;
    to.write_all(&length_of(9 + path.len() + text.len(), ANSWER_BYTES_MAX)?)?;
    to.write_all(&[status])?;
    to.write_all(&number.to_le_bytes())?;
    to.write_all(&path_length.to_le_bytes())?;
    to.write_all(path)?;
    to.write_all(text)?;
    to.flush()
}

/// The answer; an error outside means that there is none.
pub(crate) fn next_answer(from: &mut impl Read) -> io::Result<Result<(), DiskError>> {
    let mut buffer = Vec::new();
    if !fill(from, &mut buffer, ANSWER_BYTES_MAX)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    answer_of(&buffer).ok_or_else(malformed)
}

fn answer_of(bytes: &[u8]) -> Option<Result<(), DiskError>> {
    let (status, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (path, text) = rest.split_at_checked(length)?;
    let path = Path::new(OsStr::from_bytes(path)).to_owned();
    let text = String::from_utf8_lossy(text).into_owned();
    Some(match (*status, i32::from_le_bytes(*number)) {
        (DONE, _) => Ok(()),
        (IO, 0) => Err(DiskError::Io {
            path,
            source: io::Error::other(text),
        }),
        (IO, number) => Err(DiskError::Io {
            path,
            source: io::Error::from_raw_os_error(number),
        }),
        (DAMAGED, _) => Err(DiskError::Damaged { path, reason: text }),
        _ => return None,
    })
}

fn length_of(bytes: usize, most: usize) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes).map_err(io::Error::other)?;
    if bytes > most {
        return Err(malformed());
    }
    Ok(length.to_le_bytes())
}

/// Reads what follows a length; `false` at the end of the stream.
fn fill(from: &mut impl Read, buffer: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > most {
        return Err(malformed());
    }
    buffer.resize(length, 0);
    from.read_exact(buffer).map(|()| true)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a message between the agent and its disk writer is not as it should be",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_sent() {
        let orders = [
            Order::Create(Path::new("/state/lanes/state/00000000000000000007")),
            Order::Write(Entry::Block {
                first: 7,
                encoded: b"TGBLK",
            }),
            Order::Write(Entry::Value {
                key: b"marks",
                value: &[0; 300],
            }),
            Order::Sync,
            Order::Close,
        ];
        let mut wire = Vec::new();
        for order in &orders {
            send_order(&mut wire, 3, order).unwrap();
        }
        let (mut from, mut buffer) = (wire.as_slice(), Vec::new());
        for order in &orders {
            assert_eq!(
                next_order(&mut from, &mut buffer).unwrap(),
                Some((3, *order))
            );
        }
        assert_eq!(next_order(&mut from, &mut buffer).unwrap(), None);
    }

    #[test]
    fn an_error_keeps_its_number_and_its_path() {
        let full = Err(DiskError::Io {
            path: "/state/db".into(),
            source: io::Error::from_raw_os_error(28),
        });
        let mut wire = Vec::new();
        send_answer(&mut wire, &full).unwrap();
        let answer = next_answer(&mut wire.as_slice()).unwrap();
        let Err(DiskError::Io { path, source }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(path, Path::new("/state/db"));
        assert_eq!(source.raw_os_error(), Some(28));
    }

    #[test]
    fn no_length_makes_the_reader_take_more_memory_than_the_largest_message() {
        let mut wire = u32::MAX.to_le_bytes().to_vec();
        wire.extend_from_slice(&[0; 64]);
        let mut buffer = Vec::new();
        assert!(next_order(&mut wire.as_slice(), &mut buffer).is_err());
        assert!(next_answer(&mut wire.as_slice()).is_err());
        assert_eq!(buffer.capacity(), 0);
        let huge = vec![0; ORDER_BYTES_MAX];
        let entry = Entry::Value {
            key: b"k",
            value: &huge,
        };
        assert!(send_order(&mut Vec::new(), 0, &Order::Write(entry)).is_err());
    }
}
