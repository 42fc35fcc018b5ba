//! A place in a followed file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at most by which a file is known: as many at its beginning, and before the place. Enough to hold several lines, and little to
/// read at each look.
pub(super) const PRINT_BYTES: usize = 1024;

/// A place in a file. The file is known by its inode and, as an inode is used again, by what is at its beginning and before the
/// place; not by its name, which is another file's once the log was rotated, and not by when it was made, which few systems say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the file in which the lines were first read: what was copied from it keeps its marks.
    pub(super) inode: u64,
    /// When the file was made, where an earlier version noted it: lines keep their marks. This version notes 0.
    born: u64,
    /// How often offsets began again: how many files were read before it, and how often they were cut.
    cuts: u64,
    pub(super) offset: u64,
    head: Print,
    before: Print,
    /// When the file was last written to, as far as it was read: microseconds since 1970.
    pub(super) written: u64,
}

/// A hash of some bytes, and how many they were; no bytes fit anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Print {
    hash: u64,
    bytes: usize,
}

impl Print {
    fn of(bytes: &[u8]) -> Print {
        let (hash, bytes) = (xxh3_64(bytes), bytes.len());
        Print { hash, bytes }
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        self.bytes == 0 || *self == Print::of(bytes)
    }
}

impl Place {
    pub(super) fn beginning(file: &Metadata) -> Place {
        Place {
            inode: file.ino(),
            born: 0,
            cuts: 0,
            offset: 0,
            head: Print::default(),
            before: Print::default(),
            written: written(file),
        }
    }

    /// The beginning of the file that is read after the one with this place. It may be of the same inode, which is used again.
    pub(super) fn next(&self, file: &Metadata) -> Place {
        Place {
            cuts: self.cuts + 1,
            ..Place::beginning(file)
        }
    }

    /// Whether it is in the file with this inode.
    pub(super) fn is_in(&self, file: &Metadata) -> bool {
        self.inode == file.ino()
    }

    /// Whether the file has what was read up to the place: it was neither cut nor rewritten.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        Ok(self.read(file, 0)?.is_some())
    }

    /// Whether its content tells it from other files that begin in the same way.
    pub(super) fn is_distinct(&self) -> bool {
        self.before.bytes == PRINT_BYTES && self.head.bytes == PRINT_BYTES
    }

    pub(super) fn is_known_by_content(&self) -> bool {
        self.head.bytes > 0 || self.before.bytes > 0
    }

    /// Whether something was written to the file since the place was in it.
    pub(super) fn is_written_since(&self, file: &Metadata) -> bool {
        written(file) != self.written
    }

    pub(super) fn seen(&mut self, file: &Metadata) {
        self.written = written(file);
    }

    /// Whether a file was written to after the one that it is in was, as far as that was read.
    pub(super) fn is_before(&self, file: &Metadata) -> bool {
        written(file) > self.written
    }

    /// Whether nothing was seen of the file yet.
    pub(super) fn is_blank(&self) -> bool {
        self.offset == 0 && !self.is_known_by_content() && self.written > 0
    }

    /// The file from its place on, up to `most` bytes of it; none if the place does not fit.
    pub(super) fn read(&self, file: &File, most: usize) -> io::Result<Option<Chunk>> {
        // Before it is read: what is written from then on may be no more of what is read here, as when the file is cut.
        let written = written(&file.metadata()?);
        let head = read_at(file, 0, self.head.bytes)?;
        let before = self.before.bytes;
        let begin = self.offset.saturating_sub(before as u64);
        let bytes = read_at(file, begin, before + most)?;
        let fits = file.metadata()?.len() >= self.offset
            && self.head.fits(&head)
            && bytes.get(..before).is_some_and(|is| self.before.fits(is));
        Ok(fits.then_some(Chunk {
            bytes,
            before,
            written,
        }))
    }

    /// What was read of the beginning tells the file from others from now on, also before the place moves over it.
    pub(super) fn look(&mut self, chunk: &Chunk) {
        let head = chunk.bytes.get(..PRINT_BYTES.min(chunk.bytes.len()));
        let head = head.unwrap_or_default();
        if self.offset == chunk.before as u64 && head.len() > self.head.bytes {
            self.head = Print::of(head);
        }
    }

    /// The place moves over `count` bytes of a chunk that was read at it.
    pub(super) fn advance(&mut self, chunk: &Chunk, count: usize) {
        self.look(chunk);
        let all = chunk.bytes.get(..chunk.before + count).unwrap_or_default();
        let before = all.len().saturating_sub(PRINT_BYTES);
        self.before = Print::of(all.get(before..).unwrap_or_default());
        self.offset += count as u64;
        self.written = chunk.written;
    }

    /// The place moves over what was not kept; the file is known by its beginning alone until more was read.
    pub(super) fn jump(&mut self, offset: u64) {
        (self.offset, self.before) = (offset, Print::default());
    }

    /// The file was cut: it is read from its beginning.
    pub(super) fn cut(&mut self) {
        (self.cuts, self.offset) = (self.cuts + 1, 0);
        (self.head, self.before) = (Print::default(), Print::default());
    }

    /// Marks the line that begins at this offset: the same when it is read again.
    pub(super) fn mark(&self, offset: u64) -> u64 {
        let parts = [self.inode, self.born, self.cuts, offset];
        xxh3_64(parts.map(u64::to_le_bytes).as_flattened())
    }

    /// `inode offset born cuts head-hash head-bytes before-hash before-bytes written`; the first two, or four, alone are of earlier
    /// versions, which do not look at what comes after them.
    pub(super) fn parse(text: &str) -> Option<Place> {
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (inode, offset) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let mut more = || numbers.next().unwrap_or(Ok(0)).ok();
        let (born, cuts) = (more()?, more()?);
        let mut print = || {
            let (hash, bytes) = (more()?, usize::try_from(more()?).ok()?);
            (bytes <= PRINT_BYTES).then_some(Print { hash, bytes })
        };
        Some(Place {
            inode,
            born,
            cuts,
            offset,
            head: print()?,
            before: print()?,
            written: more()?,
        })
    }

    pub(super) fn text(&self) -> String {
        let Place {
            inode,
            born,
            cuts,
            offset,
            head,
            before,
            written,
        } = self;
        let prints = [head, before].map(|print| format!("{} {}", print.hash, print.bytes));
        let [head, before] = prints;
        format!("{inode} {offset} {born} {cuts} {head} {before} {written}")
    }
}

/// What was read of a file at a place, behind what was before it.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    before: usize,
    /// When the file was last written to, before this was read: microseconds since 1970.
    written: u64,
}

impl Chunk {
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn new_bytes(&self) -> &[u8] {
        self.bytes.get(self.before..).unwrap_or_default()
    }
}

/// When a file was last written to: microseconds since 1970; 0 where the file system does not say it.
pub(super) fn written(file: &Metadata) -> u64 {
    let since = file.modified().ok();
    let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let micros = since.map_or(0, |since| since.as_micros());
    u64::try_from(micros).unwrap_or(0)
}

/// Up to `most` bytes; fewer at the end of the file.
fn read_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut count = 0;
    while let Some(room) = bytes.get_mut(count..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(count);
    Ok(bytes)
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
    use std::fs;

    use super::*;

    /// A place after `count` bytes of this file.
    fn after(path: &Path, count: usize) -> Place {
        let file = open_to_read(path).unwrap();
        let mut place = Place::beginning(&file.metadata().unwrap());
        let chunk = place.read(&file, count).unwrap().unwrap();
        place.advance(&chunk, count);
        place
    }

    #[test]
    fn a_place_is_read_as_it_was_written_by_this_version_and_those_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "x".repeat(3000)).unwrap();
        let place = after(&path, 2000);
        assert_eq!(Place::parse(&place.text()), Some(place));
        let old = Place::parse("7 4096").unwrap();
        assert_eq!((old.inode, old.offset, old.born, old.cuts), (7, 4096, 0, 0));
        let old = Place::parse("7 4096 8 1").unwrap();
        assert_eq!((old.inode, old.offset, old.born, old.cuts), (7, 4096, 8, 1));
        assert!(!old.is_known_by_content());
        // An earlier version looks at the first four numbers.
        let text = place.text();
        let first: Vec<&str> = text.split(' ').take(4).collect();
        let [inode, born] = [place.inode, place.born].map(|n| n.to_string());
        assert_eq!(first, [&inode, "2000", &born, "0"]);
        for text in ["", "7", "7 x", "7 4096 y", "7 1 8 0 5 2000 5 5 1"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_has_the_same_mark_when_it_is_read_again_and_no_other_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "x").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let mut place = Place::beginning(&metadata);
        let first = place.mark(0);
        assert_eq!(Place::beginning(&metadata).mark(0), first);
        assert_ne!(place.mark(1), first);
        assert_ne!(
            place.next(&metadata).mark(0),
            first,
            "its inode is used again"
        );
        place.cut();
        assert_ne!(place.mark(0), first, "another line begins there now");
    }

    #[test]
    fn a_file_is_known_by_what_was_read_of_it_however_much_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let text: String = (0..600).map(|n| format!("{n:09}\n")).collect();
        for count in [0, 1, 10, 1000, 1024, 1030, 2040, 5000] {
            fs::write(&path, &text).unwrap();
            let place = after(&path, count);
            let fits = || place.fits(&open_to_read(&path).unwrap()).unwrap();
            assert!(fits(), "{count}");
            fs::write(&path, format!("{text}and more")).unwrap();
            assert!(fits(), "{count}: it has grown");
            let copied = directory.path().join("copy");
            fs::copy(&path, &copied).unwrap();
            assert!(place.fits(&open_to_read(&copied).unwrap()).unwrap());
            for other in [
                text.replacen('0', "1", 1),
                "x".repeat(text.len()),
                text.get(..count.saturating_sub(1)).unwrap().to_owned(),
            ] {
                fs::write(&path, other).unwrap();
                assert_eq!(fits(), count == 0, "{count}: it is another");
            }
        }
    }

    #[test]
    fn what_is_known_of_a_file_grows_with_what_is_read_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let text: String = (0..600).map(|n| format!("{n:09}\n")).collect();
        fs::write(&path, &text).unwrap();
        let file = open_to_read(&path).unwrap();
        let mut place = Place::beginning(&file.metadata().unwrap());
        for step in [10, 500, 514, 1, 2000] {
            let chunk = place.read(&file, step).unwrap().unwrap();
            place.advance(&chunk, step);
            let offset = usize::try_from(place.offset).unwrap();
            assert_eq!(place, after(&path, offset), "the same as in one step");
        }
        assert!(place.is_distinct());
    }

    #[test]
    fn a_file_of_which_no_line_was_taken_yet_is_known_once_it_was_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "line 1\n").unwrap();
        let file = open_to_read(&path).unwrap();
        let mut place = Place::beginning(&file.metadata().unwrap());
        assert!(!place.is_known_by_content());
        place.look(&place.read(&file, 100).unwrap().unwrap());
        assert!(place.is_known_by_content() && place.fits(&file).unwrap());
        fs::write(&path, "line 2\n").unwrap();
        assert!(!place.fits(&file).unwrap());
    }
}
