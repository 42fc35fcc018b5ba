//! A file that is followed, and where reading begins.

use std::fs::File;
use std::io;
use std::path::Path;

use super::names::Known;
use super::place::{Place, open_to_read};
use super::rotated;

/// A file to follow, and where its place is remembered.
#[derive(Clone, Copy)]
pub(super) struct Followed<'a> {
    pub(super) path: &'a Path,
    pub(super) place: &'a Path,
    /// Of the files that the input follows.
    pub(super) known: &'a Known,
}

impl Followed<'_> {
    /// The file to read from, and where: where reading stopped before, if that file is still there.
    pub(super) fn open(&self, source: &str, recalled: Option<Place>) -> io::Result<(File, Place)> {
        let path = self.path;
        let Some(recalled) = recalled else {
            return self.begin();
        };
        if let Some(found) = rotated::find(&recalled, path, |name| self.known.matches(name)) {
            if found.name != path {
                tracing::info!(source, path = %found.name.display(), offset = recalled.offset, "the followed file was renamed or copied; its rest is read first");
            }
            return Ok((found.file, recalled));
        }
        // Earlier versions did not say when it was written to.
        let since = (recalled.written > 0).then_some(recalled.written);
        let next = rotated::next(path, since.unwrap_or(u64::MAX), |_, _| false)?;
        tracing::warn!(source, path = %path.display(), inode = recalled.inode, offset = recalled.offset, next = %next.name.display(),
            "the file that was followed before is not in this directory any more, or was cut; lines after this offset of it were not read and may be lost; the next one is read from its beginning; rotate into the same directory, without compression, to keep them");
        let place = recalled.next(&next.file.metadata()?);
        Ok((next.file, place))
    }

    /// The file that has the name, from where it was left under another name; or the oldest that had it, where that fits the pattern
    /// as well.
    fn begin(&self) -> io::Result<(File, Place)> {
        let (path, known) = (self.path, self.known);
        let file = if known.is_base(path) {
            rotated::next(path, 0, |name, _| !known.matches(name))?.file
        } else {
            open_to_read(path)?
        };
        let left = known.left_at(&file)?;
        let beginning = Place::beginning(&file.metadata()?);
        Ok((file, left.unwrap_or(beginning)))
    }
}
