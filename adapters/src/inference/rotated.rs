//! Where a followed file has gone, and what comes after it: the files beside it. `is_others` says which of them are read by others.

use std::cmp::Reverse;
use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::place::{Place, open_to_read, written};

/// Files that are looked into for one that was copied. More are no logs of one program.
const BESIDE_MAX: usize = 1024;
/// Digits that a date in a name has at least: `260101`.
const DATE_DIGITS: usize = 6;

/// A file that was opened by its name.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: PathBuf,
    pub(super) file: File,
}

/// The file that `place` is in, under whatever name, in the directory of `path`: the same inode first, then a copy of it.
pub(super) fn find(place: &Place, path: &Path, is_others: impl Fn(&Path) -> bool) -> Option<Found> {
    let is_same = |found: &Found| {
        let metadata = found.file.metadata();
        metadata.is_ok_and(|metadata| place.is_in(&metadata)) && fits(place, found)
    };
    let at_path = open(path.to_owned());
    if let Some(found) = at_path.filter(is_same) {
        return Some(found);
    }
    let with_inode = entries(path).filter(|entry| entry.ino() == place.inode);
    let mut renamed = with_inode.filter_map(|entry| open(entry.path()));
    renamed
        .find(is_same)
        .or_else(|| copy(place, path, is_others))
}

/// A file that has what was read up to `place`, and may have more: of several, the oldest that was written to since `place` was, as
/// those that were rotated before may begin in the same way, and so may those that came after. Where that is not known, the newest.
/// One that is not named as a rotated one is, or has the name of `path`, only if that is no chance: it may be another program's, or
/// a new one, that begins in the same way.
pub(super) fn copy(place: &Place, path: &Path, is_others: impl Fn(&Path) -> bool) -> Option<Found> {
    if !place.is_known_by_content() {
        return None;
    }
    let rotated = beside(path, |name| is_rotated(name, path));
    let others = beside(path, |name| {
        place.is_distinct() && !is_rotated(name, path) && (name == path || !is_others(name))
    });
    let mut likely: Vec<(PathBuf, Metadata)> = rotated
        .chain(others)
        .take(BESIDE_MAX)
        .filter(|(_, metadata)| {
            metadata.len() >= place.offset && written(metadata) >= place.written
        })
        .collect();
    likely.sort_by_key(|(_, metadata)| age(metadata));
    // Earlier versions did not say when it was written to.
    if place.written == 0 {
        likely.reverse();
    }
    let mut files = likely.into_iter().filter_map(|(name, _)| open(name));
    files.find(|found| fits(place, found))
}

/// The oldest copy of the file that a blank place is in: written to since that was, so it is none that was rotated before, and before
/// the file was cut, so it is none that came after.
pub(super) fn copied_since(place: &Place, own: &Metadata, path: &Path) -> Option<Found> {
    let rotated = beside(path, |name| is_rotated(name, path));
    // It may have been copied and cut at the same time, as far as the file system says it.
    let is_named = fs::metadata(path).is_ok_and(|named| is_one(&named, own));
    let until = written(own) + u64::from(is_named || own.len() == 0);
    let copies = rotated.filter(|(_, metadata)| {
        let may_be = place.is_before(metadata) && written(metadata) < until;
        may_be && metadata.len() > 0 && !is_one(metadata, own)
    });
    let (name, _) = copies.min_by_key(|(_, metadata)| age(metadata))?;
    open(name)
}

/// What is to be read after a file that was last written to at `after`: the oldest of those that had the name of `path` since, that
/// have something to be read and are not done, or the one that has it now. Several may have been written to last at the same time, as
/// far as the file system says it.
pub(super) fn next(
    path: &Path,
    after: u64,
    is_done: impl Fn(&Path, &Metadata) -> bool,
) -> io::Result<Found> {
    let rotated = beside(path, |name| name != path && is_rotated(name, path));
    let later = rotated.filter(|(name, metadata)| {
        written(metadata) >= after && metadata.len() > 0 && !is_done(name, metadata)
    });
    // Of `f.1` and `f.2` the second is the older one.
    let oldest = later.min_by_key(|(name, metadata)| (age(metadata), Reverse(name.clone())));
    if let Some(found) = oldest.and_then(|(name, _)| open(name)) {
        return Ok(found);
    }
    let file = open_to_read(path)?;
    let name = path.to_owned();
    Ok(Found { name, file })
}

/// When a file was last written to, and when it was renamed last or else changed: what was rotated later has no less.
pub(super) fn age(metadata: &Metadata) -> (u64, i64) {
    let changed = metadata.ctime().saturating_mul(1_000_000_000);
    let changed = changed.saturating_add(metadata.ctime_nsec());
    (written(metadata), changed)
}

/// Whether both are of one file.
pub(super) fn is_one(one: &Metadata, other: &Metadata) -> bool {
    one.ino() == other.ino() && one.dev() == other.dev()
}

fn fits(place: &Place, found: &Found) -> bool {
    place.fits(&found.file).unwrap_or(false)
}

fn open(name: PathBuf) -> Option<Found> {
    let file = open_to_read(&name).ok()?;
    Some(Found { name, file })
}

/// All that is in the directory of `path`, which may be much.
fn entries(path: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    entries.into_iter().flatten().flatten()
}

/// Regular files of such names in the directory of `path`.
fn beside(
    path: &Path,
    is_named: impl Fn(&Path) -> bool,
) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let named = entries(path).filter(move |entry| is_named(&entry.path()));
    named.filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
        Some((entry.path(), metadata))
    })
}

/// Whether `name` is one that `path` is given when it is rotated: `f.1`, `f-20260101`, `f.2026-01-01T00`, `f.old`, or the same before
/// the extension. What was compressed cannot be read. Before an extension, or where there is none, `-` and `_` stand before a date
/// only: `cam-1.jsonl` is the log of another camera than `cam.jsonl`.
pub(super) fn is_rotated(name: &Path, path: &Path) -> bool {
    let text = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let (Some(name), Some(base)) = (text(name), text(path)) else {
        return false;
    };
    let behind = name.strip_prefix(&base);
    let before = || {
        let (stem, extension) = base.rsplit_once('.')?;
        let more = name.strip_prefix(stem)?.strip_suffix(extension)?;
        more.strip_suffix('.')
    };
    let Some(more) = behind.or_else(before) else {
        return false;
    };
    let mut rest = more.chars();
    let separator = rest.next();
    let rest = rest.as_str();
    let is_number = |c: char| c.is_ascii_digit() || ".-_:TZ".contains(c);
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    let may_be_short = separator == Some('.') || (behind.is_some() && base.contains('.'));
    matches!(separator, Some('.' | '-' | '_'))
        && (rest == "old" || rest.chars().all(is_number) && (may_be_short || digits >= DATE_DIGITS))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn write(path: &Path, text: &str, seconds: u64) {
        fs::write(path, text).unwrap();
        let file = File::options().append(true).open(path).unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(at).unwrap();
    }

    fn after(path: &Path, count: usize) -> Place {
        let file = open_to_read(path).unwrap();
        let mut place = Place::beginning(&file.metadata().unwrap());
        let chunk = place.read(&file, 8192).unwrap().unwrap();
        place.advance(&chunk, count);
        place
    }

    #[test]
    fn names_of_rotated_files_are_known() {
        for (name, path, is) in [
            ("f.1", "f", true),
            ("a.jsonl.1", "a.jsonl", true),
            ("a.jsonl-20260101", "a.jsonl", true),
            ("a.jsonl.2026-01-01T00:00Z", "a.jsonl", true),
            ("a-20260101.jsonl", "a.jsonl", true),
            ("a.1.jsonl", "a.jsonl", true),
            ("a.jsonl.old", "a.jsonl", true),
            ("a_260101.jsonl", "a.jsonl", true),
            ("a-2026-01-01.jsonl", "a.jsonl", true),
            ("a.jsonl-1", "a.jsonl", true),
            ("a-old.jsonl", "a.jsonl", true),
            ("a-1.jsonl", "a.jsonl", false),
            ("a_02.jsonl", "a.jsonl", false),
            ("a-1", "a", false),
            ("a-20260101", "a", true),
            ("a.jsonl", "a.jsonl", false),
            ("a.jsonl.1.gz", "a.jsonl", false),
            ("a-debug.jsonl", "a.jsonl", false),
            ("ab.jsonl", "a.jsonl", false),
            ("a1.jsonl", "a.jsonl", false),
            ("b.jsonl.1", "a.jsonl", false),
        ] {
            let (name, path) = (Path::new(name), Path::new(path));
            assert_eq!(is_rotated(name, path), is, "{name:?}");
        }
    }

    #[test]
    fn a_file_is_found_when_it_was_renamed_or_copied_and_not_when_it_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (path, text) = (at("f"), "line 1\nline 2\n");
        write(&path, text, 1);
        let place = after(&path, 7);
        let name = || find(&place, &path, |_| false).map(|found| found.name);
        assert_eq!(name(), Some(path.clone()));
        fs::rename(&path, at("f.1")).unwrap();
        write(&path, "line 1\nanother\n", 2);
        assert_eq!(name(), Some(at("f.1")), "it was renamed");
        fs::copy(at("f.1"), at("f.2")).unwrap();
        fs::write(at("f.1"), "").unwrap();
        assert_eq!(name(), Some(at("f.2")), "it was copied and cut");
        fs::remove_file(at("f.2")).unwrap();
        assert_eq!(name(), None, "the new one begins in the same way by chance");
        fs::create_dir(at("f.3")).unwrap();
        assert_eq!(name(), None);
    }

    #[test]
    fn a_copy_that_took_the_name_is_known_where_it_is_no_chance() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let text: String = (0..600).map(|n| format!("{n:09}\n")).collect();
        write(&path, &text, 1);
        let place = after(&path, 2000);
        fs::copy(&path, directory.path().join("g")).unwrap();
        fs::rename(directory.path().join("g"), &path).unwrap();
        assert_eq!(find(&place, &path, |_| false).unwrap().name, path);
    }

    #[test]
    fn a_renamed_or_copied_file_is_found_among_however_many_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for number in 0..BESIDE_MAX * 2 {
            fs::write(at(&format!("{number}.result")), "").unwrap();
        }
        let path = at("f");
        write(&path, "line 1\nline 2\n", 1);
        let place = after(&path, 7);
        let name = || find(&place, &path, |_| false).map(|found| found.name);
        for to in 0..3 {
            fs::rename(&path, at(&format!("{to}.renamed"))).unwrap();
            assert_eq!(name(), Some(at(&format!("{to}.renamed"))));
            fs::rename(at(&format!("{to}.renamed")), &path).unwrap();
        }
        fs::copy(&path, at("f.1")).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(name(), Some(at("f.1")));
        assert!(next(&path, 1, |_, _| false).unwrap().name == at("f.1"));
    }

    #[test]
    fn of_copies_that_begin_in_the_same_way_it_is_the_first_since_it_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let path = at("f");
        write(&path, "header\nline\n", 10);
        let mut place = after(&path, 7);
        // In no order of names or of making.
        for (name, seconds) in [
            ("f.4", 9),
            ("f.2", 11),
            ("f.1", 12),
            ("f.3", 10),
            ("f.5", 8),
        ] {
            write(&at(name), "header\nline\n", seconds);
        }
        write(&path, "", 13);
        let name = |place: &Place| copy(place, &path, |_| false).map(|found| found.name);
        assert_eq!(name(&place), Some(at("f.3")));
        fs::remove_file(at("f.3")).unwrap();
        assert_eq!(name(&place), Some(at("f.2")));
        place.written = 0;
        assert_eq!(name(&place), Some(at("f.1")), "where it is not known");
        place.written = 12_000_001;
        assert_eq!(name(&place), None, "none is its copy");
    }

    #[test]
    fn files_that_were_written_to_at_the_same_time_are_all_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, text, seconds) in [
            ("f.4", "4", 1),
            ("f.3", "3", 2),
            ("f.2", "", 2),
            ("f.1", "1", 2),
            ("f", "0", 3),
        ] {
            write(&at(name), text, seconds);
        }
        let mut read = vec![fs::metadata(at("f.4")).unwrap()];
        let mut order = Vec::new();
        while order.last() != Some(&at("f")) {
            let after = written(read.last().unwrap());
            let is_done = |_: &Path, one: &Metadata| read.iter().any(|done| is_one(done, one));
            let found = next(&at("f"), after, is_done).unwrap();
            read.push(found.file.metadata().unwrap());
            order.push(found.name);
        }
        let mut names = order.clone();
        names.sort();
        assert_eq!(names, [at("f"), at("f.1"), at("f.3")], "{order:?}");
    }

    #[test]
    fn files_are_read_in_the_order_in_which_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, seconds) in [("f.3", 1), ("f.2", 2), ("f.1", 3), ("f", 4), ("other", 3)] {
            write(&at(name), name, seconds);
        }
        let mut order = Vec::new();
        let mut done = fs::metadata(at("f.3")).unwrap();
        while order.last() != Some(&at("f")) {
            let found = next(&at("f"), written(&done), |_, other| is_one(&done, other)).unwrap();
            done = found.file.metadata().unwrap();
            order.push(found.name);
        }
        assert_eq!(order, [at("f.2"), at("f.1"), at("f")]);
        let later = next(&at("f"), 2_000_001, |_, _| false);
        assert_eq!(
            later.unwrap().name,
            at("f.1"),
            "where the one before is gone"
        );
    }
}
