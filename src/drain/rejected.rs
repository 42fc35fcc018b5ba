//! Records that the cluster will never take, kept as lines of JSON for a person to look at. They are written on a thread that is
//! there while there are some: a disk that hangs keeps them waiting, and nothing else. Where the buffer is encrypted each line is,
//! as `{"sealed": "..."}`; without its key nothing is kept.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buffer::{Keys, Placed};

use serde::{Deserialize, Serialize};

use crate::ingest::Record;

/// Beyond this the file is begun anew; the one before it is kept.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// With so many bytes waiting to be written no other record is taken: some of the largest that a lane can hold.
const WAITING_BYTES_MAX: usize = 512 * 1024;

/// What lines are encrypted for.
const PURPOSE: &str = "rejected record";

/// A line that is encrypted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    sealed: String,
}

#[derive(Debug)]
pub(crate) struct Rejected {
    path: PathBuf,
    /// `None` where there are keys that cannot be had.
    keys: Option<Keys>,
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
    pub(crate) fn new(state: &Path, keys: Option<Keys>) -> Rejected {
        let [path, _] = Rejected::files(state);
        Rejected {
            path,
            keys,
            waiting: Arc::default(),
        }
    }

    /// Where lines are, the newest first.
    pub(crate) fn files(state: &Path) -> [PathBuf; 2] {
        let path = state.join("set-aside").join("rejected.jsonl");
        let before = path.with_extension("jsonl.1");
        [path, before]
    }

    /// A line as it was before it was encrypted, if it was; `None` without its key.
    pub(crate) fn open(line: &str, keys: &Keys) -> Option<String> {
        let sealed = serde_json::from_str::<Sealed>(line);
        sealed.map_or_else(
            |_| Some(line.to_owned()),
            |line| keys.open_text(PURPOSE, &line.sealed),
        )
    }

    /// Whether another record may be taken; else the disk does not follow, and the record is better kept in its lane.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.waiting).bytes < WAITING_BYTES_MAX
    }

    /// Keeps the record if the disk takes it; returns where.
    pub(super) fn keep(&self, lane: &str, placed: &Placed<Record>, reason: &str) -> &Path {
        let mut line = placed.record.to_json(lane, placed.epoch, placed.sequence);
        line["reason"] = reason.into();
        match self.seal(line.to_string()) {
            Ok(line) => self.push(line),
            Err(error) => {
                tracing::error!(%error, lane, sequence = placed.sequence, path = %self.path.display(), "cannot keep a rejected record; it is lost");
            }
        }
        &self.path
    }

    fn seal(&self, line: String) -> io::Result<String> {
        match &self.keys {
            Some(keys) if keys.is_empty() => Ok(line),
            Some(keys) => {
                let sealed = keys.seal_text(PURPOSE, &line)?;
                serde_json::to_string(&Sealed { sealed }).map_err(io::Error::other)
            }
            None => Err(io::Error::other("its key in buffer.keys cannot be had")),
        }
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
    path.parent().map_or(Ok(()), buffer::make_directory)?;
    if fs::metadata(path).is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
        fs::rename(path, path.with_extension("jsonl.1"))?;
    }
    let mut file = buffer::open_private(path, true)?;
    writeln!(file, "{line}")?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_key_lines_can_be_read_with_it_only_and_without_it_none_is_written() {
        let root = tempfile::tempdir().unwrap();
        let keys = Keys::parse(&["42".repeat(32)]).unwrap().for_gateway("gw-1");
        let rejected = Rejected::new(root.path(), Some(keys.clone()));
        let line = "{\"reason\":\"secret\"}";
        let sealed = rejected.seal(line.into()).unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(Rejected::open(&sealed, &keys).as_deref(), Some(line));
        assert_eq!(Rejected::open(&sealed, &Keys::default()), None);
        assert_eq!(
            Rejected::open(line, &keys).as_deref(),
            Some(line),
            "of before"
        );
        assert!(Rejected::new(root.path(), None).seal(line.into()).is_err());
    }

    #[test]
    fn lines_are_written_in_order_and_no_more_than_fit_wait() {
        let root = tempfile::tempdir().unwrap();
        let rejected = Rejected::new(root.path(), Some(Keys::default()));
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
