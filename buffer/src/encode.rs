//! From records to blocks, and from two generations to the latest of each key.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use crate::Record;
use crate::block::{Owner, Placed};
use crate::codec::{self, Encoded, Encoder, Place};
use crate::database::DiskError;
use crate::log::{self, Log};

/// Keys whose latest record a merge keeps; more would take too much memory while it runs.
const COALESCED_KEYS_MAX: usize = 16 * 1024;

/// Encodes `records` as blocks; a new one begins where one is full or the epoch changes.
pub(crate) fn encode<R: Record>(
    encoder: &mut Encoder,
    mut place: Place,
    records: &[Placed<R>],
) -> io::Result<Vec<Encoded>> {
    let mut blocks = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let block = encoder.encode(place, rest)?;
        place.before = block.header.end();
        rest = rest.get(block.header.count as usize..).unwrap_or_default();
        blocks.push(block);
    }
    Ok(blocks)
}

/// The latest record of each key in generations that hold `expected` records; `None` when there are too many
/// keys, or when not all of them can be read: what is damaged must not pass for superseded.
pub(crate) fn latest_of_each_key<R: Record>(
    encoder: &mut Encoder,
    owner: Owner,
    paths: &[PathBuf],
    expected: u64,
) -> Result<Option<Vec<Encoded>>, DiskError> {
    let mut latest: HashMap<u64, Placed<R>> = HashMap::new();
    let (mut stamp, mut wall, mut read) = (0, 0, 0);
    for path in paths {
        let Some(log) = Log::open_if_there(path, owner).map_err(DiskError::io(path))? else {
            return Ok(None);
        };
        for index in 0..log.headers().len() {
            let bytes = log.read(index).map_err(DiskError::io(path))?;
            let Ok((header, records)) =
                codec::decode::<R>(&bytes.unwrap_or_default(), encoder.keys())
            else {
                return Ok(None);
            };
            stamp = stamp.max(header.stamp);
            wall = wall.max(header.wall);
            read += u64::from(header.count);
            latest.extend(
                records
                    .into_iter()
                    .map(|record| (record.record.key(), record)),
            );
            if latest.len() > COALESCED_KEYS_MAX {
                return Ok(None);
            }
        }
    }
    if read < expected {
        return Ok(None);
    }
    let mut records: Vec<Placed<R>> = latest.into_values().collect();
    records.sort_by_key(|record| record.sequence);
    // They take the place of the first.
    let first = paths.first().and_then(|path| log::generation_of(path));
    let first = first.unwrap_or(0);
    let place = Place {
        lane: owner.lane,
        before: 0,
        stamp,
        wall,
        buffer: owner.buffer.unwrap_or_default(),
        bound: owner.bound(first),
    };
    encode(encoder, place, &records)
        .map(Some)
        .map_err(DiskError::io(
            paths.first().map_or("".as_ref(), PathBuf::as_path),
        ))
}
