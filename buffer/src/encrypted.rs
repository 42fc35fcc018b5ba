//! Since when a state directory is encrypted, and for which gateway: an authenticated note in the file `encrypted`.
//!
//! It is made when keys are first given, and says of each lane up to which sequence its blocks may be unencrypted: they were
//! written before. What is newer is refused. When no such block is left of a lane, nothing of it may be unencrypted any more. What
//! an earlier version encrypted bound less, but names its buffer, and is taken.
//!
//! ```text
//! key u32 | nonce [12] | ciphertext | tag [16]
//! ```
//!
//! It is the value of a frame (see [`crate::frame`]) with the magic `TGENC\x01`. The plain text is CBOR, a map with the names of fields, to which later versions may add.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::{BufferId, Owner};
use crate::cbor;
use crate::database::DiskError;
use crate::files;
use crate::frame;
use crate::generation::{self, Generation};
use crate::keys::{KeyId, Keys};
use crate::layout;
use crate::setaside;
use crate::values::{LaneDisk, OpenError};

pub(crate) const FILE: &str = "encrypted";
// Persisted: never change.
const MAGIC: [u8; 6] = *b"TGENC\x01";
/// Far more than the names of 256 lanes take.
const BYTES_MAX: u64 = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Since {
    pub(crate) gateway: String,
    pub(crate) buffer: BufferId,
    /// Of each lane that has such blocks, the first sequence that none of them may hold.
    pub(crate) plain: BTreeMap<String, u64>,
}

impl Since {
    pub(crate) fn plain_to(&self, lane: &str) -> u64 {
        self.plain.get(lane).copied().unwrap_or(0)
    }

    pub(crate) fn write(&self, root: &Path, keys: &Keys) -> Result<(), DiskError> {
        let path = root.join(FILE);
        let sealed = cbor::encode(self).and_then(|plain| {
            let key = keys.writing().0.to_le_bytes();
            let sealed = keys.seal(&MAGIC, plain)?;
            Ok(frame::encode(MAGIC, 0, &[&key[..], &sealed].concat()))
        });
        sealed
            .and_then(|sealed| files::write_whole(&path, &sealed))
            .map_err(DiskError::io(&path))
    }
}

/// The note in `root`, whichever gateway it names, with the key that it is sealed with.
pub(crate) fn read(root: &Path, keys: &Keys) -> Result<Option<(KeyId, Since)>, OpenError> {
    let path = root.join(FILE);
    let bytes = match fs::metadata(&path).map(|file| file.len()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(length) if length > BYTES_MAX => Ok(Vec::new()),
        Ok(_) | Err(_) => fs::read(&path),
    };
    let bytes = bytes.map_err(DiskError::io(&path))?;
    let damaged = || DiskError::Damaged {
        path: path.clone(),
        reason: "it does not say any more since when the buffer is encrypted".into(),
    };
    let (_, value) = frame::decode(MAGIC, &bytes).ok_or_else(damaged)?;
    let (key, sealed) = value.split_first_chunk().ok_or_else(damaged)?;
    let key = KeyId(u32::from_le_bytes(*key));
    if !keys.knows(key) {
        return Err(no_key(path, key, keys));
    }
    let plain = keys.open(key, &MAGIC, sealed).ok_or_else(damaged)?;
    let since = cbor::decode::<Since>(&plain).map_err(|_| damaged())?;
    Ok(Some((key, since)))
}

/// The same for who opens the buffer: it must be this gateway's. Without keys nothing may be there that needs one.
pub(crate) fn of_gateway(root: &Path, keys: &Keys) -> Result<Option<(KeyId, Since)>, OpenError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let found = read(root, keys)?;
    match &found {
        Some((_, since)) if since.gateway != keys.gateway() => Err(OpenError::OtherGateway {
            path: root.to_owned(),
            of: since.gateway.clone(),
            ours: keys.gateway().to_owned(),
        }),
        Some(_) | None => Ok(found),
    }
}

/// The note as far as it can be read: one that is damaged is kept aside, and is as good as none.
pub(crate) fn or_aside<T>(
    found: Result<Option<T>, OpenError>,
    set_aside: &Path,
) -> Result<Option<T>, OpenError> {
    let Err(OpenError::Disk(DiskError::Damaged { path, .. })) = &found else {
        return found;
    };
    let kept_at = setaside::keep(path, set_aside)?;
    tracing::error!(path = %path.display(), kept_at = %kept_at.display(), "the note of since when the buffer is encrypted is damaged, and is made again; where there are encrypted blocks, blocks that are not encrypted are refused from here on; look at the disk, and at who can write to it");
    Ok(None)
}

/// Whether the note, if it can be read, is of a key that is given and of this gateway.
fn check_note(root: &Path, keys: &Keys) -> Result<(), OpenError> {
    match of_gateway(root, keys) {
        Err(error @ (OpenError::NoKey { .. } | OpenError::OtherGateway { .. })) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether the keys are there that the buffer in `root` needs as far as its seals and notes say, which takes no time. Reads only,
/// also beside the agent that writes.
pub fn check_sealed(root: &Path, lanes: &[LaneDisk], keys: &Keys) -> Result<(), OpenError> {
    check_note(root, keys)?;
    for lane in lanes {
        let directory = layout::lane(root, &lane.name);
        // What cannot be read now is no word against the keys.
        for path in layout::generations(&directory).unwrap_or_default() {
            if let Some(sealed) = generation::read_seal(&path)
                && let Some(key) = sealed.needs_other_than(keys)
            {
                return Err(no_key(path, key, keys));
            }
        }
    }
    Ok(())
}

/// Whether all keys are given that the lanes of these names need; says whether something in them is bound. Changes nothing.
pub(crate) fn check_keys<'a>(
    root: &Path,
    lanes: impl Iterator<Item = &'a str>,
    keys: &Keys,
) -> Result<bool, OpenError> {
    check_note(root, keys)?;
    let mut any_bound = false;
    for name in lanes {
        let (directory, owner) = (
            layout::lane(root, name),
            Owner::of_lane(layout::tag(name), None),
        );
        if !directory.is_dir() {
            continue;
        }
        for path in layout::generations(&directory).map_err(DiskError::io(&directory))? {
            let found = Generation::found(path, owner, keys)?;
            any_bound |= found.bound && !found.present.is_empty();
            if let Some(key) = found.needs_other_than(keys) {
                return Err(no_key(found.path.clone(), key, keys));
            }
        }
    }
    Ok(any_bound)
}

/// Where the blocks of each lane end that is there, also of one that the configuration does not name.
pub(crate) fn ends(root: &Path) -> Result<BTreeMap<String, u64>, DiskError> {
    let mut ends = BTreeMap::new();
    for name in layout::lane_names(root).map_err(DiskError::io(root))? {
        let directory = layout::lane(root, &name);
        let owner = Owner::of_lane(layout::tag(&name), None);
        let mut end = 0;
        for path in layout::generations(&directory).map_err(DiskError::io(&directory))? {
            end = end.max(Generation::found(path, owner, &Keys::default())?.end());
        }
        ends.insert(name, end);
    }
    Ok(ends)
}

fn no_key(path: PathBuf, key: KeyId, keys: &Keys) -> OpenError {
    let given: Vec<String> = keys.ids().map(|id| id.to_string()).collect();
    OpenError::NoKey {
        path,
        key,
        given: if given.is_empty() {
            "none".into()
        } else {
            given.join(", ")
        },
    }
}

/// Removes the note: nothing is encrypted any more, and no key is given.
pub(crate) fn forget(root: &Path) -> Result<(), DiskError> {
    let path = root.join(FILE);
    match fs::remove_file(&path) {
        Ok(()) => {
            tracing::warn!(path = %path.display(), "buffer.keys is empty and nothing encrypted is left: what is stored from here on is not encrypted");
            files::sync_directory(root).map_err(DiskError::io(root))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DiskError::io(&path)(error)),
    }
}
