//! Records that the cluster will never take, kept as lines of JSON for a person to look at. They are written on a thread that is
//! there while there are some: a disk that hangs keeps them waiting, and nothing else.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buffer::Placed;

use crate::ingest::Record;

/// Beyond this the file is begun anew; the one before it is kept.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// With so many bytes waiting to be written no other record is taken: some of the largest that a lane can hold.
const WAITING_BYTES_MAX: usize = 512 * 1024;

#[derive(Debug)]
pub(crate) struct Rejected {
    path: PathBuf,
    waiting: Arc<Mutex<Waiting>>,
}

/// Lines that are not written yet.
#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<String>,
    bytes: usize,
    /// A thread writes them.
    writing: bool,
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rejected {
    #[must_use]
    pub(crate) fn new(state: &Path) -> Rejected {
        Rejected {
            path: state.join("set-aside").join("rejected.jsonl"),
            waiting: Arc::default(),
        }
    }

    /// Whether another record may be taken; else the disk does not follow, and the record is better kept in its lane.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.waiting).bytes < WAITING_BYTES_MAX
    }

    /// Keeps the record if the disk takes it; returns where.
    pub(super) fn keep(&self, lane: &str, placed: &Placed<Record>, reason: &str) -> &Path {
        let mut line = placed.record.to_json(lane, placed.epoch, placed.sequence);
        line["reason"] = reason.into();
        self.push(line.to_string());
        &self.path
    }

    fn push(&self, line: String) {
        let mut waiting = lock(&self.waiting);
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        drop(waiting);
        self.begin_writing();
    }

    /// Whether all of them are written, or have failed to be.
    pub(crate) fn is_written(&self) -> bool {
        self.begin_writing();
        let waiting = lock(&self.waiting);
        waiting.lines.is_empty() && !waiting.writing
    }

    /// Starts a thread for the lines that wait, unless one is at it.
    fn begin_writing(&self) {
        let mut waiting = lock(&self.waiting);
        if waiting.writing || waiting.lines.is_empty() {
            return;
        }
        let (path, lines) = (self.path.clone(), Arc::clone(&self.waiting));
        let thread = std::thread::Builder::new().name("set-aside".into());
        match thread.spawn(move || write_all(&path, &lines)) {
            Ok(_) => waiting.writing = true,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "no thread can be had to write rejected records; they wait in memory until the next one, or the end");
            }
        }
    }
}

fn write_all(path: &Path, waiting: &Mutex<Waiting>) {
    loop {
        let mut left = lock(waiting);
        let Some(line) = left.lines.pop_front() else {
            left.writing = false;
            return;
        };
        drop(left);
        if let Err(error) = append(path, &line) {
            tracing::error!(%error, path = %path.display(), "cannot keep a rejected record; it is lost");
        }
        // Only now is there room for another: what is being written is in memory too.
        lock(waiting).bytes -= line.len();
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if fs::metadata(path).is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
        fs::rename(path, path.with_extension("jsonl.1"))?;
    }
    let mut file = File::options().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_in_order_and_no_more_than_fit_wait() {
        let root = tempfile::tempdir().unwrap();
        let rejected = Rejected::new(root.path());
        // As while a thread is at it on a disk that hangs.
        lock(&rejected.waiting).writing = true;
        let line = "x".repeat(60 * 1024);
        let mut taken = 0;
        while rejected.has_room() {
            rejected.push(format!("{taken} {line}"));
            taken += 1;
        }
        assert_eq!(taken, 9, "540 KiB are over the limit");
        assert!(!rejected.is_written());
        lock(&rejected.waiting).writing = false;
        while !rejected.is_written() {
            std::thread::yield_now();
        }
        assert!(rejected.has_room());
        let text = fs::read_to_string(&rejected.path).unwrap();
        let numbers = text.lines().map(|line| line.split(' ').next().unwrap());
        assert!(numbers.eq((0..9).map(|n| n.to_string()).collect::<Vec<_>>()));
    }
}
