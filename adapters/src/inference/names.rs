//! Which files are followed by one input, and where each of its followers is.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::place::{Place, written};
use super::rotated::{age, is_rotated};

/// Places in files that were left, as they may be found under another name that is followed as well.
const LEFT_MAX: usize = 1024;
/// Extensions of files that were compressed when they were rotated: their lines were read before that, and are none now.
const COMPRESSED: [&str; 6] = ["gz", "bz2", "xz", "zst", "lz4", "Z"];

/// Names of files in one directory: `*` stands for any characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    directory: PathBuf,
    pattern: String,
}

impl Names {
    /// Where the last part of the path has a `*` or a `?`.
    pub(super) fn of(path: &Path) -> Option<Names> {
        let pattern = path.file_name()?.to_str()?.to_owned();
        let directory = path.parent()?.to_owned();
        has_wildcard(&pattern).then_some(Names { directory, pattern })
    }

    /// Compressed files only where the pattern names what they are.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.to_string_lossy());
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_compressed = extension.is_some_and(|extension| {
            COMPRESSED.contains(&extension) && !self.pattern.ends_with(extension)
        });
        !is_compressed
            && path.parent() == Some(&self.directory)
            && name.is_some_and(|name| fits(self.pattern.as_bytes(), name.as_bytes()))
    }

    /// Where the pattern is a name and a star: that name. What is named as one of its rotated files are is one, and is read by who
    /// follows it. With other patterns `press.jsonl` and `press.2.jsonl` are two logs.
    fn base(&self) -> Option<PathBuf> {
        let base = self.pattern.strip_suffix('*')?;
        let is_name = !base.is_empty() && !has_wildcard(base);
        is_name.then(|| self.directory.join(base))
    }

    /// The files that are there, those first that were not written to for longest. One that has several names is there under the one
    /// that is no link, or else the first.
    pub(super) fn found(&self) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            if !self.matches(&path) {
                continue;
            }
            // One that has gone meanwhile is not there.
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.is_file()
            {
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                found.push((is_link, path, metadata));
            }
        }
        found.sort_by(|(link, path, file), (other_link, other, other_file)| {
            (Id::of(file), link, path).cmp(&(Id::of(other_file), other_link, other))
        });
        found.dedup_by_key(|(.., file)| Id::of(file));
        let found = found.into_iter().map(|(_, path, file)| (path, file));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(_, metadata)| age(metadata));
        Ok(found)
    }
}

pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a name fits a pattern, in steps at most as many as both are long together times the name.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if what was tried since the last star does not fit.
    let mut again = None;
    while let Some(byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, n));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match &mut again {
                None => return false,
                Some((after, from)) => {
                    *from += 1;
                    (p, n) = (*after, *from);
                }
            },
        }
    }
    let rest = pattern.get(p..).unwrap_or_default();
    rest.iter().all(|byte| *byte == b'*')
}

/// What the followers of one input know of each other: a file that is renamed within the pattern is read by one of them at a time,
/// and only once.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: Option<Names>,
    base: Option<PathBuf>,
    places: Mutex<Places>,
    is_crowded: AtomicBool,
}

/// A file, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64, u64);

impl Id {
    fn of(file: &Metadata) -> Id {
        Id(file.dev(), file.ino())
    }
}

/// A place, and the file that is read there: the place is in another if this is its copy.
#[derive(Debug, Clone, Copy)]
struct At {
    file: Id,
    place: Place,
}

/// A file that was read to its end and made room for others, and when that was written, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Resting {
    at: At,
    written: u64,
}

/// What there is to do for who follows all files of such names.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Files that nobody follows, as [`Names::found`].
    pub(super) new: Vec<PathBuf>,
    /// Files that have gone since they were read to their ends.
    pub(super) gone: Vec<PathBuf>,
    /// How many files there are, however they are called.
    pub(super) count: usize,
}

#[derive(Debug, Default)]
struct Places {
    /// Where each follower is, by the path that it follows.
    now: BTreeMap<PathBuf, At>,
    /// Where files were left; bounded by [`LEFT_MAX`].
    left: VecDeque<At>,
    resting: BTreeMap<PathBuf, Resting>,
}

impl Known {
    pub(super) fn of(names: Names) -> Known {
        Known {
            base: names.base(),
            names: Some(names),
            ..Known::default()
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether following this file ends when it has gone: not where it is the only one, or the one that others are rotated from.
    pub(super) fn may_go(&self, path: &Path) -> bool {
        self.names.is_some() && !self.is_base(path)
    }

    /// Whether this is the name that files are rotated from whose names fit as well.
    pub(super) fn is_base(&self, path: &Path) -> bool {
        self.base.as_deref() == Some(path)
    }

    /// Whether files of this name are followed.
    pub(super) fn matches(&self, path: &Path) -> bool {
        self.names.as_ref().is_some_and(|names| names.matches(path))
    }

    /// What is new among the files that were found. What was rotated is read by who follows the name that it had.
    pub(super) fn look(&self, found: Vec<(PathBuf, Metadata)>) -> Look {
        let mut places = self.places();
        let mut look = Look {
            count: found.len(),
            ..Look::default()
        };
        let mut resting = std::mem::take(&mut places.resting);
        for (path, file) in found {
            let base = self.base.as_ref().filter(|base| is_rotated(&path, base));
            let path = base.cloned().unwrap_or(path);
            let rests = resting.remove(&path);
            let is_read = places.now.values().any(|at| at.file == Id::of(&file));
            match rests.filter(|rests| rests.written == written(&file)) {
                Some(rests) => drop(places.resting.insert(path, rests)),
                None if is_read || places.now.contains_key(&path) => {}
                None if self.is_base(&path) && look.new.contains(&path) => {}
                None => look.new.push(path),
            }
        }
        for (path, rests) in resting {
            places.leave(rests.at);
            look.gone.push(path);
        }
        look
    }

    /// The follower of `path` is here, in this file.
    pub(super) fn is_at(&self, path: &Path, place: Place, file: &Metadata) {
        let mut places = self.places();
        let file = Id::of(file);
        let before = places.now.insert(path.to_owned(), At { file, place });
        if let Some(before) = before.filter(|before| before.file != file) {
            places.leave(before);
        }
    }

    /// Nothing more is to be read of this file until it is written to; its follower ended.
    pub(super) fn rests(&self, path: &Path, written: u64) {
        let mut places = self.places();
        if let Some(at) = places.now.remove(path) {
            places
                .resting
                .insert(path.to_owned(), Resting { at, written });
        }
    }

    /// Whether files wait until others make room.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    pub(super) fn set_crowded(&self, is_crowded: bool) {
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, path: &Path) {
        let mut places = self.places();
        if let Some(at) = places.now.remove(path) {
            places.leave(at);
        }
    }

    /// Whether a follower of another path reads this file.
    pub(super) fn is_read(&self, path: &Path, file: &Metadata) -> bool {
        let places = self.places();
        let mut others = places.now.iter().filter(|(other, _)| *other != path);
        others.any(|(_, at)| at.file == Id::of(file))
    }

    /// Up to where a file was read under another name.
    pub(super) fn left_at(&self, file: &File) -> io::Result<Option<Place>> {
        let metadata = file.metadata()?;
        for at in self.places().left.iter().rev() {
            if at.file == Id::of(&metadata) && at.place.fits(file)? {
                return Ok(Some(at.place));
            }
        }
        Ok(None)
    }
}

impl Places {
    fn leave(&mut self, at: At) {
        if self.left.len() == LEFT_MAX {
            self.left.pop_front();
        }
        self.left.push_back(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        for (pattern, name, is) in [
            ("*.jsonl", "a.jsonl", true),
            ("*.jsonl", ".jsonl", true),
            ("*.jsonl", "a.jsonl.1", false),
            ("a-*-?.log", "a-b-c-d.log", true),
            ("a-*-?.log", "a-b-cd.log", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("?", "", false),
            ("*", "", true),
            ("a", "a", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                is,
                "{pattern} {name}"
            );
        }
        let of = |pattern: &str| Names::of(&Path::new("/d").join(pattern)).unwrap();
        for (pattern, name, is) in [
            ("a.jsonl*", "a.jsonl.1", true),
            ("a.jsonl*", "a.jsonl.1.gz", false),
            ("a.jsonl*", "a.jsonl.1.zst", false),
            ("a.*.gz", "a.1.gz", true),
        ] {
            assert_eq!(
                of(pattern).matches(&Path::new("/d").join(name)),
                is,
                "{name}"
            );
        }
        let bases =
            ["a.jsonl*", "*.jsonl", "a*.jsonl", "*", "a.?*"].map(|pattern| of(pattern).base());
        assert_eq!(bases, [Some("/d/a.jsonl".into()), None, None, None, None]);
        let stars = "*a".repeat(60);
        assert!(!fits(stars.as_bytes(), "a".repeat(59).as_bytes()));
    }

    #[test]
    fn files_that_fit_are_found_the_oldest_first() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, second) in [("b.jsonl", 1), ("a.jsonl", 2), ("c.log", 3)] {
            fs::write(at(name), "").unwrap();
            let file = File::options().append(true).open(at(name)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            file.set_modified(time).unwrap();
        }
        fs::create_dir(at("d.jsonl")).unwrap();
        let names = Names::of(&at("*.jsonl")).unwrap();
        let found = names.found().unwrap().into_iter().map(|(path, _)| path);
        assert_eq!(found.collect::<Vec<_>>(), [at("b.jsonl"), at("a.jsonl")]);
        assert_eq!(Names::of(&at("a.jsonl")), None);
    }
}
