//! A drive that loses its power: what a file system may be after it, given what was done to it before.
//!
//! What a sync covers is there. Of the rest, each directory has kept a beginning of what was done to it, by itself;
//! each write may be there, not there, there in some of its sectors, or there as zeros, in any order. That is more
//! than ext4 permits itself, and as much as POSIX does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::trace::Op;

/// What is left of a write that no sync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsynced {
    Lost,
    Kept,
    /// Some of them, in any order.
    Some,
    /// Some sectors of each.
    Torn,
    /// The length, but not the content.
    Zeroed,
}

impl Unsynced {
    pub(crate) const ALL: [Unsynced; 5] =
        [Self::Lost, Self::Kept, Self::Some, Self::Torn, Self::Zeroed];
}

/// The smallest unit that a drive writes whole.
const SECTOR: usize = 512;

enum Change<'a> {
    Write(u64, &'a [u8]),
    Resize(u64),
}

/// Names that get a content, or lose theirs, in one step.
type Entries = Vec<(String, Option<usize>)>;

#[derive(Default)]
struct Inode<'a> {
    directory: bool,
    /// Of a file, and how many of them a sync covers.
    changes: Vec<(usize, Change<'a>)>,
    /// Of a directory.
    entries: Vec<(usize, Entries)>,
    durable: usize,
}

/// A file system, from empty on.
pub(crate) struct Drive<'a> {
    inodes: Vec<Inode<'a>>,
    /// What a process sees, by path.
    seen: BTreeMap<PathBuf, usize>,
}

impl<'a> Drive<'a> {
    /// What became of the directory `root` by the operations of `ops`.
    pub(crate) fn after(root: &Path, ops: &'a [Op]) -> Drive<'a> {
        let top = Inode {
            directory: true,
            ..Inode::default()
        };
        let mut drive = Drive {
            inodes: vec![top],
            seen: BTreeMap::from([(root.to_owned(), 0)]),
        };
        for (number, op) in ops.iter().enumerate() {
            drive.apply(number, op);
        }
        drive
    }

    fn apply(&mut self, number: usize, op: &'a Op) {
        match op {
            Op::Create { path, emptied } => match self.seen.get(path.as_path()) {
                Some(known) if *emptied => self.change(number, *known, Change::Resize(0)),
                Some(_) => {}
                None => self.add(number, path, false),
            },
            Op::Mkdir(path) if self.seen.contains_key(path) => {} // the top, which is there
            Op::Mkdir(path) => self.add(number, path, true),
            Op::Write { path, at, bytes } => {
                // What is written to a file without a name is of no consequence.
                if let Some(known) = self.seen.get(path.as_path()) {
                    self.change(number, *known, Change::Write(*at, bytes));
                }
            }
            Op::Resize(path, length) => {
                if let Some(known) = self.seen.get(path.as_path()) {
                    self.change(number, *known, Change::Resize(*length));
                }
            }
            Op::Remove(path) => {
                self.seen.remove(path.as_path());
                self.enter(number, path, vec![(name(path), None)]);
            }
            Op::Rename(from, to) => {
                assert_eq!(
                    from.parent(),
                    to.parent(),
                    "names change within a directory"
                );
                let moved = self.seen[from.as_path()];
                self.enter(
                    number,
                    to,
                    vec![(name(from), None), (name(to), Some(moved))],
                );
                self.move_below(from, to);
            }
            Op::Exchange(one, other) => {
                let (first, second) = (self.seen[one.as_path()], self.seen[other.as_path()]);
                let entries = vec![(name(one), Some(second)), (name(other), Some(first))];
                self.enter(number, one, entries);
                // Nothing below an exchanged name is used by its path any more but to be removed.
                self.exchange_below(one, other);
            }
            Op::Sync { path, begun } => {
                let Some(inode) = self.seen.get(path.as_path()) else {
                    return;
                };
                let inode = &mut self.inodes[*inode];
                let covered = inode.changes.iter().map(|(at, _)| *at);
                let covered = covered.chain(inode.entries.iter().map(|(at, _)| *at));
                let covered = covered.take_while(|at| at < begun).count();
                inode.durable = inode.durable.max(covered);
            }
            Op::Said(_) => {}
        }
    }

    fn add(&mut self, number: usize, path: &Path, directory: bool) {
        let fresh = self.inodes.len();
        self.inodes.push(Inode {
            directory,
            ..Inode::default()
        });
        self.seen.insert(path.to_owned(), fresh);
        self.enter(number, path, vec![(name(path), Some(fresh))]);
    }

    fn enter(&mut self, number: usize, path: &Path, entries: Entries) {
        let parent = path.parent().unwrap();
        // A directory that was exchanged and is being removed.
        if let Some(parent) = self.seen.get(parent) {
            self.inodes[*parent].entries.push((number, entries));
        }
    }

    fn change(&mut self, number: usize, inode: usize, change: Change<'a>) {
        self.inodes[inode].changes.push((number, change));
    }

    fn move_below(&mut self, from: &Path, to: &Path) {
        let moved = self.take_below(from);
        self.put_below(to, moved);
    }

    fn exchange_below(&mut self, one: &Path, other: &Path) {
        let (first, second) = (self.take_below(one), self.take_below(other));
        self.put_below(one, second);
        self.put_below(other, first);
    }

    /// Takes `path` and all below it out; what is returned is relative to it.
    fn take_below(&mut self, path: &Path) -> Vec<(PathBuf, usize)> {
        let mut below = self.seen.split_off(path);
        let mut after = below.clone();
        below.retain(|at, _| at.starts_with(path));
        after.retain(|at, _| !at.starts_with(path));
        self.seen.extend(after);
        let relative = |at: &Path| at.strip_prefix(path).unwrap().to_owned();
        below.iter().map(|(at, i)| (relative(at), *i)).collect()
    }

    fn put_below(&mut self, path: &Path, moved: Vec<(PathBuf, usize)>) {
        for (relative, inode) in moved {
            let at = if relative.as_os_str().is_empty() {
                path.to_owned()
            } else {
                path.join(relative)
            };
            self.seen.insert(at, inode);
        }
    }

    /// Writes to `target` what the drive may hold when its power fails now.
    pub(crate) fn cut(&self, target: &Path, unsynced: Unsynced, dice: &mut Dice) {
        self.write_directory(0, target, unsynced, dice);
    }

    fn write_directory(&self, inode: usize, at: &Path, unsynced: Unsynced, dice: &mut Dice) {
        fs::create_dir_all(at).unwrap();
        let Inode {
            entries, durable, ..
        } = &self.inodes[inode];
        let kept = match unsynced {
            Unsynced::Lost => *durable,
            Unsynced::Kept => entries.len(),
            Unsynced::Some | Unsynced::Torn | Unsynced::Zeroed => {
                durable + dice.below(entries.len() - durable + 1)
            }
        };
        let mut names = BTreeMap::new();
        for (name, content) in entries.iter().take(kept).flat_map(|(_, entry)| entry) {
            names.insert(name, *content);
        }
        for (name, content) in names {
            match content {
                Some(inode) if self.inodes[inode].directory => {
                    self.write_directory(inode, &at.join(name), unsynced, dice);
                }
                Some(inode) => self.write_file(inode, &at.join(name), unsynced, dice),
                None => {}
            }
        }
    }

    fn write_file(&self, inode: usize, at: &Path, unsynced: Unsynced, dice: &mut Dice) {
        let file = File::create(at).unwrap();
        let Inode {
            changes, durable, ..
        } = &self.inodes[inode];
        for (number, (_, change)) in changes.iter().enumerate() {
            let fate = if number < *durable {
                Unsynced::Kept
            } else {
                unsynced
            };
            if fate == Unsynced::Lost || (fate == Unsynced::Some && dice.below(2) == 0) {
                continue;
            }
            match change {
                Change::Resize(length) => file.set_len(*length).unwrap(),
                Change::Write(place, bytes) if fate == Unsynced::Torn => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if dice.below(2) == 0 {
                            let place = place + (number * SECTOR) as u64;
                            file.write_all_at(sector, place).unwrap();
                        }
                    }
                }
                Change::Write(place, bytes) if fate == Unsynced::Zeroed => {
                    file.write_all_at(&vec![0; bytes.len()], *place).unwrap();
                }
                Change::Write(place, bytes) => file.write_all_at(bytes, *place).unwrap(),
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
