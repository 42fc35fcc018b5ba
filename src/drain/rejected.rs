//! Records that the cluster will never take, kept as lines of JSON for a person to look at.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use buffer::Placed;

use crate::ingest::Record;

/// Beyond this the file is begun anew; the one before it is kept.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Rejected {
    path: PathBuf,
}

impl Rejected {
    #[must_use]
    pub(crate) fn new(state: &Path) -> Rejected {
        Rejected {
            path: state.join("set-aside").join("rejected.jsonl"),
        }
    }

    /// Keeps the record if the disk takes it; returns where.
    pub(crate) fn keep(&self, lane: &str, placed: &Placed<Record>, reason: &str) -> PathBuf {
        if let Err(error) = self.append(lane, placed, reason) {
            tracing::error!(%error, path = %self.path.display(), "cannot keep a rejected record; it is lost");
        }
        self.path.clone()
    }

    fn append(&self, lane: &str, placed: &Placed<Record>, reason: &str) -> std::io::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        let mut line = placed.record.to_json(lane, placed.epoch, placed.sequence);
        line["reason"] = reason.into();
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        writeln!(file, "{line}")
    }
}
