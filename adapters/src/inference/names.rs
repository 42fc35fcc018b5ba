//! Which files are followed by one input, and where each of its followers is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::place::{Place, micros};
use super::rotated::{age, names_before};

/// Places in files that were left, as they may be found under another name that is followed as well.
const LEFT_MAX: usize = 64;

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

    pub(super) fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.to_string_lossy());
        path.parent() == Some(&self.directory)
            && name.is_some_and(|name| fits(self.pattern.as_bytes(), name.as_bytes()))
    }

    /// The files that are there, those first that were not written to for longest.
    pub(super) fn found(&self) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if !self.matches(&path) {
                continue;
            }
            // One that has gone meanwhile is not there.
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.is_file()
            {
                found.push((path, metadata));
            }
        }
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
    places: Mutex<Places>,
    is_crowded: AtomicBool,
}

/// A place, and the inode of the file that is read there: the place is in another if this is its copy.
#[derive(Debug, Clone, Copy)]
struct At {
    inode: u64,
    place: Place,
}

#[derive(Debug, Default)]
struct Places {
    /// Where each follower is, by the path that it follows.
    now: BTreeMap<PathBuf, At>,
    /// Where files were left; bounded by [`LEFT_MAX`].
    left: VecDeque<At>,
    /// Files that were read to their ends and made room for others, and when they were written to, in microseconds since 1970.
    resting: BTreeMap<PathBuf, u64>,
    /// The names that fit and were there when they were last looked for.
    found: BTreeSet<PathBuf>,
}

impl Known {
    pub(super) fn of(names: Names) -> Known {
        Known {
            names: Some(names),
            ..Known::default()
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether following one of several files ends when it has gone.
    pub(super) fn are_several(&self) -> bool {
        self.names.is_some()
    }

    /// Whether files of this name are followed.
    pub(super) fn matches(&self, path: &Path) -> bool {
        self.names.as_ref().is_some_and(|names| names.matches(path))
    }

    /// The files that are there and that nobody follows, as [`Names::found`]. One that was rotated is read by who follows the name
    /// that it had, unless there is a place in it: it was read before that name was there.
    pub(super) fn new_files(&self, has_place: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
        let names = self.names.as_ref();
        let found = names.map_or(Ok(Vec::new()), Names::found)?;
        let mut places = self.places();
        places.found = found.iter().map(|(path, _)| path.clone()).collect();
        let mut resting = std::mem::take(&mut places.resting);
        let is_resting = |(path, file): &(PathBuf, Metadata)| {
            let written = resting.remove(path)?;
            (written == micros(file.modified())).then(|| (path.clone(), written))
        };
        places.resting = found.iter().filter_map(is_resting).collect();
        let new = found.into_iter().filter(|(path, file)| {
            !places.now.contains_key(path)
                && !places.resting.contains_key(path)
                && (!places.was_rotated(path) || has_place(path))
                && !places.now.values().any(|at| at.inode == file.ino())
        });
        Ok(new.map(|(path, _)| path).collect())
    }

    /// Whether this is the name of a file that was rotated, and the name that it had is followed as well.
    pub(super) fn was_rotated(&self, path: &Path) -> bool {
        self.places().was_rotated(path)
    }

    /// The follower of `path` is here, in this file.
    pub(super) fn is_at(&self, path: &Path, place: Place, file: &Metadata) {
        let mut places = self.places();
        let inode = file.ino();
        let before = places.now.insert(path.to_owned(), At { inode, place });
        if let Some(before) = before.filter(|before| before.inode != inode) {
            places.leave(before);
        }
    }

    /// Nothing more is to be read of this file until it is written to.
    pub(super) fn rests(&self, path: &Path, written: u64) {
        self.places().resting.insert(path.to_owned(), written);
    }

    /// Whether files wait until others make room.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Whether this was not known before.
    pub(super) fn set_crowded(&self, is_crowded: bool) -> bool {
        self.is_crowded.swap(is_crowded, Ordering::Relaxed) != is_crowded
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
        others.any(|(_, at)| at.inode == file.ino())
    }

    /// Up to where a file was read under another name.
    pub(super) fn left_at(&self, file: &File) -> io::Result<Option<Place>> {
        let metadata = file.metadata()?;
        for at in self.places().left.iter().rev() {
            if at.inode == metadata.ino() && at.place.fits(file)? {
                return Ok(Some(at.place));
            }
        }
        Ok(None)
    }
}

impl Places {
    fn was_rotated(&self, path: &Path) -> bool {
        let is_there = |name: &PathBuf| self.found.contains(name) || self.now.contains_key(name);
        names_before(path).any(|name| is_there(&name))
    }

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
