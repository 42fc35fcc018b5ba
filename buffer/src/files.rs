//! The few things that must be said to a file system in just the right order.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Makes names created, renamed or removed in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes `directory` and what is missing above it, with names that survive a power cut.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }?;
    sync_directory(parent)
}

/// Makes the content of `file` durable (`fdatasync`).
pub(crate) fn sync_file(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_data()
}

/// Writes `content` so that after a power cut the file is either the old one or the new one, whole.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = with_suffix(path, ".tmp");
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Removes a directory so that a power cut leaves it either whole or marked as being removed.
pub(crate) fn remove_directory(path: &Path) -> io::Result<()> {
    finish_removal(&doom(path)?)
}

/// Marks a directory as being removed; after an error it is as it was.
pub(crate) fn doom(path: &Path) -> io::Result<PathBuf> {
    let doomed = with_suffix(path, REMOVED);
    remove_if_there(&doomed)?; // of an earlier one of this name
    fs::rename(path, &doomed)?;
    Ok(doomed)
}

/// Removes what is marked so.
pub(crate) fn finish_removal(doomed: &Path) -> io::Result<()> {
    doomed.parent().map_or(Ok(()), sync_directory)?;
    fs::remove_dir_all(doomed)
}

/// Exchanges two names in one step (`renameat2`), which a sync of their directory makes durable.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// The suffix of a directory that is being removed.
pub(crate) const REMOVED: &str = ".del";
/// The suffix of a directory that is being made.
pub(crate) const FRESH: &str = ".new";

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Bytes that `path` and all below it take on the disk (allocated blocks, not lengths).
pub(crate) fn disk_usage(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += disk_usage(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// Bytes that are free for us on the file system of `path`.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
