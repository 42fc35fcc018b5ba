//! The state directory: who may use it, how it is laid out, and how much room it has.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::database::DiskError;
use crate::files;
use crate::log;
use crate::values::{FORMAT, Finding, LaneDisk, OpenError};

pub(crate) fn lanes(root: &Path) -> PathBuf {
    root.join("lanes")
}

pub(crate) fn lane(root: &Path, name: &str) -> PathBuf {
    lanes(root).join(name)
}

pub(crate) fn marks(root: &Path) -> PathBuf {
    root.join("marks")
}

pub(crate) fn set_aside(root: &Path) -> PathBuf {
    root.join("set-aside")
}

/// A lane's blocks are told from others' by one byte of its name's checksum.
pub(crate) fn tag(lane: &str) -> u8 {
    crc32c::crc32c(lane.as_bytes()).to_le_bytes()[0]
}

/// Holds a state directory for its process alone, until it is dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// To close the file is not enough: a child that another thread is just forking has it open as well, until it
    /// executes its program.
    fn drop(&mut self) {
        flock(&self.0, FlockOperation::Unlock).unwrap_or_default(); // closing it is next
    }
}

pub(crate) fn lock(root: &Path) -> Result<Lock, OpenError> {
    let path = root.join("LOCK");
    let file = files::open_private(&path, false).map_err(DiskError::io(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse {
            path: root.to_owned(),
            holder: holder(&file),
        }),
        Err(error) => Err(DiskError::io(&path)(error.into()).into()),
    }
}

/// Which process has locked this file, for people: `, 1234 (tidegate)`; nothing where the kernel does not say it (proc(5),
/// `/proc/locks`).
fn holder(file: &File) -> String {
    let inode = file.metadata().map_or(0, |metadata| metadata.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let process = locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_flock = words.next()? == "FLOCK";
        let process: u32 = words.nth(2)?.parse().ok()?;
        let place = words.next()?.rsplit(':').next()?.parse();
        (is_flock && process > 0 && place == Ok(inode)).then_some(process)
    });
    let Some(process) = process else {
        return String::new();
    };
    match fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(name) => format!(", {process} ({})", name.trim_end()),
        Err(_) => format!(", {process}"),
    }
}

/// The version that the directory was written in; refuses a newer one.
pub(crate) fn read_format(root: &Path) -> Result<Option<u32>, OpenError> {
    let path = root.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(OpenError::Newer {
                path,
                found: found.to_string(),
            }),
            Ok(found) => Ok(Some(found)),
            // Torn or damaged. Blocks, marks and seals say themselves what they are.
            Err(_) => Ok(None),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(DiskError::io(&path)(error).into()),
    }
}

pub(crate) fn write_format(root: &Path) -> Result<(), DiskError> {
    let path = root.join("FORMAT");
    files::write_whole(&path, format!("{FORMAT}\n").as_bytes()).map_err(DiskError::io(&path))
}

/// Generations of a lane's directory, by age.
pub(crate) fn generations(lane: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(lane)? {
        let path = entry?.path();
        if let Some(first) = log::generation_of(&path) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What was half made or half removed is finished.
pub(crate) fn finish_removals(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(files::REMOVED) || name.ends_with(files::FRESH) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Names of the lanes that are on disk.
pub(crate) fn lane_names(root: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(lanes(root))?;
    let names: io::Result<Vec<String>> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// Lanes that are on disk and not `known`, but for those of which nothing waits, as far as the marks say.
pub(crate) fn orphans(
    root: &Path,
    known: &[LaneDisk],
    is_delivered: impl Fn(&str) -> bool,
) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for name in lane_names(root)? {
        let directory = lane(root, &name);
        if known.iter().all(|known| known.name != name)
            && !is_delivered(&name)
            && directory.is_dir()
            && !generations(&directory)?.is_empty()
        {
            let bytes = files::disk_usage(&directory)?;
            found.push(Finding::Orphan { lane: name, bytes });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_let_go_is_free_also_while_a_child_that_is_being_forked_has_its_file() {
        let root = tempfile::tempdir().unwrap();
        let held = lock(root.path()).unwrap();
        let in_the_child = held.0.try_clone().unwrap();
        let Err(OpenError::InUse { holder, .. }) = lock(root.path()) else {
            panic!("it is held");
        };
        let ours = format!(", {} (", std::process::id());
        assert!(holder.is_empty() || holder.starts_with(&ours), "{holder}");
        drop(held);
        assert!(lock(root.path()).is_ok());
        drop(in_the_child);
    }
}
