//! Where damaged files are kept for a person to look at, within bounds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::database::DiskError;
use crate::files;

/// The oldest go first beyond this.
const SET_ASIDE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Keeps what is at `path`: a file by another name of its own, which takes no room, a directory by being moved.
pub(crate) fn keep(path: &Path, set_aside: &Path) -> Result<PathBuf, DiskError> {
    files::make_directory(set_aside).map_err(DiskError::io(set_aside))?;
    let directory = path.is_dir();
    let parts: Vec<_> = path
        .iter()
        .rev()
        .take(if directory { 2 } else { 3 })
        .collect();
    let name = parts.into_iter().rev().map(|part| part.to_string_lossy());
    let name = name.collect::<Vec<_>>().join("-");
    let kept_at = (0..u32::MAX)
        .map(|number| set_aside.join(format!("{name}.{number}")))
        .find(|target| !target.exists())
        .expect("there is always one more number");
    let outcome = if directory {
        fs::rename(path, &kept_at)
    } else {
        fs::hard_link(path, &kept_at)
    };
    outcome
        .and_then(|()| files::sync_directory(set_aside))
        .map_err(DiskError::io(path))?;
    bound(set_aside).map_err(DiskError::io(set_aside))?;
    Ok(kept_at)
}

fn bound(set_aside: &Path) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(set_aside)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(|entry| entry.metadata().and_then(|m| m.modified()).ok());
    let mut total = files::disk_usage(set_aside)?;
    // The newest always stays: it is what a person is about to look at.
    for entry in entries.iter().rev().skip(1).rev() {
        if total <= SET_ASIDE_BYTES_MAX {
            break;
        }
        total -= files::disk_usage(&entry.path())?.min(total);
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
