//! What may become of the files of a buffer, besides what it does itself.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_buffer::{Inspection, Keys};

use crate::bench::{Note, noise};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// One bit of a file.
    Flip,
    /// A page of zeros in a file.
    Zero,
    /// A page of noise in a file.
    Garble,
    Cut,
    /// Zeros from somewhere on.
    ZeroTail,
    Empty,
    Remove,
    /// A generation that was begun, of which there is a directory, or an empty file in it.
    HalfMade,
    /// A generation that was to be removed: a part of it is still there, by its name or the one that it goes by.
    HalfRemoved,
    /// A temporary file that nobody finished.
    LeftOver,
}

impl Damage {
    pub(crate) const ALL: [Damage; 10] = [
        Self::Flip,
        Self::Zero,
        Self::Garble,
        Self::Cut,
        Self::ZeroTail,
        Self::Empty,
        Self::Remove,
        Self::HalfMade,
        Self::HalfRemoved,
        Self::LeftOver,
    ];
}

const PAGE: usize = 4096;

/// Does this to one of the files of the buffer in `root`, chosen by `file`, at a place in it chosen by `at`, each of
/// any size. Returns whether it was the marks.
pub(crate) fn hurt(root: &Path, damage: Damage, file: usize, at: usize) -> bool {
    let files = files(root);
    if files.is_empty() {
        return false;
    }
    let path = &files[file % files.len()];
    let marks = path.starts_with(root.join("marks"));
    match damage {
        Damage::Remove => fs::remove_file(path).unwrap(),
        Damage::LeftOver => fs::write(path.with_extension("tmp"), noise(3, 100)).unwrap(),
        Damage::HalfMade => {
            let generation = root.join(format!("lanes/state/{:020}", 1_u64 << 40));
            fs::create_dir_all(&generation).unwrap();
            if at.is_multiple_of(2) {
                fs::write(generation.join("db"), []).unwrap();
            }
        }
        Damage::HalfRemoved => {
            let generation = path.parent().unwrap();
            if generation
                .parent()
                .is_some_and(|lane| lane.ends_with("state"))
            {
                fs::remove_file(path).unwrap();
                if at.is_multiple_of(2) {
                    let doomed = format!("{}.del", generation.display());
                    fs::rename(generation, doomed).unwrap();
                }
            }
        }
        Damage::Flip
        | Damage::Zero
        | Damage::Garble
        | Damage::Cut
        | Damage::ZeroTail
        | Damage::Empty => change(path, damage, at),
    }
    marks
}

fn change(path: &Path, damage: Damage, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    if bytes.is_empty() {
        return;
    }
    let at = at % bytes.len();
    let end = (at + PAGE).min(bytes.len());
    match damage {
        Damage::Flip => bytes[at] ^= 0x10,
        Damage::Zero => bytes[at..end].fill(0),
        Damage::Garble => bytes[at..end].copy_from_slice(&noise(7, end - at)),
        Damage::Cut => bytes.truncate(at),
        Damage::ZeroTail => bytes[at..].fill(0),
        Damage::Empty => bytes.clear(),
        Damage::Remove | Damage::HalfMade | Damage::HalfRemoved | Damage::LeftOver => {
            unreachable!("{damage:?} changes no content")
        }
    }
    fs::write(path, bytes).unwrap();
}

/// Records in sound blocks.
pub(crate) fn stored(root: &Path, keys: &Keys) -> u64 {
    let found = Inspection::open(root, keys).unwrap();
    let generations = found.lanes.iter().flat_map(|lane| &lane.generations);
    generations
        .map(|generation| generation.verify::<Note>(keys).unwrap().records)
        .sum()
}

/// All files but the lock, in order.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    list(root, &mut found);
    found.retain(|path| !path.ends_with("LOCK"));
    found.sort();
    found
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else {
            files.push(path);
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}
