//! From records to blocks, and from two generations to one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::Record;
use crate::block::{
    self, BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Encoder, Placed, STORED_BYTES_MAX, Sound,
};
use crate::database::{Database, DiskError};

/// Keys whose latest record a merge keeps; more would take too much memory while it runs.
const COALESCED_KEYS_MAX: usize = 16 * 1024;

/// Cuts `records` into blocks where one is full or the epoch changes.
pub(crate) fn encode<R: Record>(
    encoder: &mut Encoder,
    tag: u8,
    records: &[Placed<R>],
) -> io::Result<Vec<Sound>> {
    let mut blocks = Vec::new();
    let mut rest = records;
    while let Some(head) = rest.first() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take(BLOCK_RECORDS_MAX)
            .take_while(|record| {
                bytes += record.record.size();
                record.epoch == head.epoch && bytes <= BLOCK_BYTES_MAX
            })
            .count()
            .max(1);
        let (block, remaining) = rest.split_at(count);
        let bytes = encoder.encode(tag, block)?;
        if bytes.len() > STORED_BYTES_MAX {
            return Err(io::Error::other(format!(
                "a block of {} bytes is over sled's limit",
                bytes.len()
            )));
        }
        blocks.push(Sound::new(bytes).map_err(io::Error::other)?);
        rest = remaining;
    }
    Ok(blocks)
}

/// The latest record of each key in the given generations, or `None` when there are too many keys.
pub(crate) fn latest_of_each_key<R: Record>(
    tag: u8,
    paths: &[PathBuf],
) -> Result<Option<Vec<Sound>>, DiskError> {
    let mut latest: HashMap<u64, Placed<R>> = HashMap::new();
    for path in paths {
        for encoded in Database::open(path)?.blocks()? {
            let (_, records) =
                block::decode::<R>(&encoded).map_err(|error| DiskError::Damaged {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
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
    let mut records: Vec<Placed<R>> = latest.into_values().collect();
    records.sort_by_key(|record| record.sequence);
    let mut encoder = Encoder::new().map_err(DiskError::io(Path::new("zstd")))?;
    encode(&mut encoder, tag, &records)
        .map(Some)
        .map_err(DiskError::io(Path::new("zstd")))
}
