//! A place in a followed file.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64;

/// A place in a file. The file is known by its inode and by when that was made, as an inode is used again; not by its name, which
/// is another file's once the log was rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) inode: u64,
    /// Microseconds since 1970; 0 where the file system does not say it.
    born: u64,
    /// How often the file was cut: its offsets began again.
    cuts: u64,
    pub(super) offset: u64,
}

impl Place {
    pub(super) fn beginning(file: &Metadata) -> Place {
        let born = file.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let micros = born.map_or(0, |born| born.as_micros());
        Place {
            inode: file.ino(),
            born: u64::try_from(micros).unwrap_or(0),
            cuts: 0,
            offset: 0,
        }
    }

    /// Whether it is in this file.
    pub(super) fn is_in(&self, file: &Metadata) -> bool {
        let other = Place::beginning(file);
        let same = self.born == other.born || self.born == 0 || other.born == 0;
        self.inode == other.inode && same
    }

    /// The file was cut: it is read from its beginning.
    pub(super) fn cut(&mut self) {
        (self.cuts, self.offset) = (self.cuts + 1, 0);
    }

    /// Marks the line at this place: the same when it is read again.
    pub(super) fn mark(&self) -> u64 {
        let parts = [self.inode, self.born, self.cuts, self.offset];
        xxh3_64(parts.map(u64::to_le_bytes).as_flattened())
    }

    /// The file that it is in, under whatever name, in the directory of `path`.
    pub(super) fn find(&self, path: &Path) -> Option<(PathBuf, File)> {
        let entries = fs::read_dir(path.parent()?).ok()?;
        let mut same = entries.filter_map(|entry| {
            let entry = entry.ok().filter(|entry| entry.ino() == self.inode)?;
            let file = open_to_read(&entry.path()).ok()?;
            let is_here = file.metadata().is_ok_and(|metadata| self.is_in(&metadata));
            is_here.then(|| (entry.path(), file))
        });
        same.next()
    }

    /// `inode offset born cuts`; the first two alone are of an earlier version.
    pub(super) fn parse(text: &str) -> Option<Place> {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some(Place {
            inode: numbers.next()?.ok()?,
            offset: numbers.next()?.ok()?,
            born: numbers.next().unwrap_or(Ok(0)).ok()?,
            cuts: numbers.next().unwrap_or(Ok(0)).ok()?,
        })
    }

    pub(super) fn text(&self) -> String {
        let Place {
            inode,
            born,
            cuts,
            offset,
        } = self;
        format!("{inode} {offset} {born} {cuts}")
    }
}

/// Opens a file of lines. Anything else at that path is refused, and does not block: a FIFO without a writer would.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let without_waiting = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = File::options()
        .read(true)
        .custom_flags(without_waiting)
        .open(path)?;
    if !file.metadata()?.is_file() {
        let text = format!("{} is no regular file any more", path.display());
        return Err(io::Error::other(text));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_by_this_version_and_the_one_before() {
        let place = Place {
            inode: 7,
            born: 8,
            cuts: 1,
            offset: 4096,
        };
        assert_eq!(Place::parse(&place.text()), Some(place));
        let old = Place::parse("7 4096").unwrap();
        assert_eq!((old.inode, old.offset, old.born, old.cuts), (7, 4096, 0, 0));
        for text in ["", "7", "7 x", "7 4096 y"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_has_the_same_mark_when_it_is_read_again_and_no_other_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let (path, renamed) = (directory.path().join("f"), directory.path().join("f.1"));
        fs::write(&path, "x").unwrap();
        let mut place = Place::beginning(&fs::metadata(&path).unwrap());
        let first = place.mark();
        fs::rename(&path, &renamed).unwrap();
        let (found, file) = place.find(&path).unwrap();
        assert_eq!(found, renamed);
        assert_eq!(Place::beginning(&file.metadata().unwrap()).mark(), first);
        place.offset = 1;
        assert_ne!(place.mark(), first);
        place.cut();
        assert_ne!(place.mark(), first, "another line begins there now");
        fs::remove_file(&renamed).unwrap();
        assert!(place.find(&path).is_none());
    }
}
