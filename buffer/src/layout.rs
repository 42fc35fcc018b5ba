//! The state directory: who may use it, how it is laid out, and how much room it has.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::database::DiskError;
use crate::disk::{LaneDisk, Notice, OpenError};
use crate::files;

/// The layout that this code writes; it refuses a newer one.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("LOCK");
    let file = File::create(&path).map_err(DiskError::io(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse {
            path: root.to_owned(),
        }),
        Err(error) => Err(DiskError::io(&path)(error.into()).into()),
    }
}

pub(crate) fn check_format(root: &Path) -> Result<(), OpenError> {
    let path = root.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(OpenError::Newer {
                path,
                found: found.to_string(),
            }),
            // An empty or garbled file is a torn write of the only format there has been.
            Ok(_) | Err(_) => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(files::write_whole(&path, format!("{FORMAT}\n").as_bytes())
                .map_err(DiskError::io(&path))?)
        }
        Err(error) => Err(DiskError::io(&path)(error).into()),
    }
}

pub(crate) fn orphans(root: &Path, lanes: &[LaneDisk]) -> io::Result<Vec<Notice>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("lanes"))? {
        let entry = entry?;
        let lane = entry.file_name().to_string_lossy().into_owned();
        if lanes.iter().all(|known| known.name != lane)
            && fs::read_dir(entry.path())?.next().is_some()
        {
            found.push(Notice::Orphan {
                lane,
                bytes: files::disk_usage(&entry.path())?,
            });
        }
    }
    Ok(found)
}

pub(crate) fn check_space(root: &Path, needed: u64, floor: u64) -> Result<(), DiskError> {
    let free = files::free_space(root).map_err(DiskError::io(root))?;
    let needed = needed + floor;
    if free < needed {
        return Err(DiskError::Full {
            path: root.to_owned(),
            free,
            needed,
            floor,
        });
    }
    Ok(())
}
