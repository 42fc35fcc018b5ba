//! The few things that must be said to a file system in just the right order, and the one way in which small files are
//! written: atomic, durable, and for nobody but the owner of the directory that they are in, whoever writes them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown,
};
use std::path::{Path, PathBuf};

/// Of files and directories: what a gateway keeps is for its owner alone, whatever the umask says.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Makes names created, renamed or removed in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes `directory` and what is missing above it, with names that survive a power cut. Each is for the owner of the one
/// above it alone.
///
/// # Errors
/// Where the disk does not take it.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(parent)?;
    match make_one_directory(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }?;
    sync_directory(parent)
}

/// Makes `directory`, which must not exist, for the owner of the one that it is in alone.
pub(crate) fn make_one_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(directory)?;
    own_like_directory(directory)
}

/// Opens a file to be written: from its beginning, or with `append` from its end. A new one is for the owner of its directory
/// alone.
///
/// # Errors
/// Where the disk does not take it.
pub fn open_private(path: &Path, append: bool) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).mode(FILE_MODE);
    if append {
        options.append(true);
    } else {
        options.write(true).truncate(true);
    }
    let file = options.open(path)?;
    if let Some(owner) = Owner::in_place_of(path, &file.metadata()?)? {
        owner.accept(fchown(&file, Some(owner.user), Some(owner.group)))?;
    }
    Ok(file)
}

/// Whose a file is to be that another user has made.
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// The owner of the directory that `path` is in, unless what was `made` there is theirs.
    fn in_place_of(path: &Path, made: &fs::Metadata) -> io::Result<Option<Owner>> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = fs::metadata(parent)?;
        let owner = Owner {
            user: directory.uid(),
            group: directory.gid(),
        };
        Ok((made.uid() != owner.user).then_some(owner))
    }

    /// Only root can give a file away; who is not root and may write here is trusted by the owner.
    fn accept(&self, given: io::Result<()>) -> io::Result<()> {
        match given {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(
                    user = self.user,
                    "a file keeps the owner that it was made by"
                );
                Ok(())
            }
            given => given,
        }
    }
}

/// Has all below the directory `path`, which others have made, be for the owner of the directory that `path` is in alone.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let is_directory = found.is_dir();
    let mode = if is_directory {
        DIRECTORY_MODE
    } else {
        FILE_MODE
    };
    own_like_directory(path)?;
    if !found.file_type().is_symlink() && found.permissions().mode() & 0o777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    if is_directory {
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path())?;
        }
    }
    Ok(())
}

/// Gives `path` to the owner of the directory that it is in, as far as that is allowed.
///
/// # Errors
/// Where the disk does not take it.
pub fn own_like_directory(path: &Path) -> io::Result<()> {
    match Owner::in_place_of(path, &fs::symlink_metadata(path)?)? {
        Some(owner) => owner.accept(lchown(path, Some(owner.user), Some(owner.group))),
        None => Ok(()),
    }
}

/// Gives `path` to the owner of `other`, as far as that is allowed.
pub(crate) fn own_like(path: &Path, other: &Path) -> io::Result<()> {
    let other = fs::metadata(other)?;
    let owner = Owner {
        user: other.uid(),
        group: other.gid(),
    };
    owner.accept(chown(path, Some(owner.user), Some(owner.group)))
}

/// Makes the content of `file` durable (`fdatasync`).
pub(crate) fn sync_file(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_data()
}

/// Writes `content`, and the directory of `path` if it is missing: after a power cut there is the old file or the new one,
/// whole. Every small file is written by this.
///
/// # Errors
/// Where the disk does not take it; the old file is still there.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), make_directory)?;
    replace(path, content)
}

/// The same where the directory is there: one that was removed meanwhile is not made again.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = with_suffix(path, ".tmp");
    let written = open_private(&fresh, false).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, path)) {
        // What is left of it would only take room.
        drop(fs::remove_file(&fresh));
        return Err(error);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_for_its_owner_alone_and_is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notes/cluster");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            (mode(&path), mode(path.parent().unwrap())),
            (FILE_MODE, DIRECTORY_MODE)
        );
        // A directory of that name cannot be replaced by a file, and nothing of the attempt stays.
        let taken = root.path().join("taken");
        fs::create_dir_all(taken.join("by")).unwrap();
        assert!(write_whole(&taken, b"x").is_err());
        assert!(!root.path().join("taken.tmp").exists());
    }

    #[test]
    fn what_others_have_made_is_made_private() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("db/blobs");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("1"), "x").unwrap();
        make_private(&root.path().join("db")).unwrap();
        assert_eq!(mode(&directory), DIRECTORY_MODE);
        assert_eq!(mode(&directory.join("1")), FILE_MODE);
    }
}
