//! What must be remembered between starts: the epoch, and for each lane what still waits and what was dropped.
//!
//! A lost mark is a repeat, never a loss: the blocks themselves are the truth about what is stored. The marks
//! are one value, written again and again to a small database, which is begun anew when it has grown.

mod state;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::BufferId;
use crate::cbor;
use crate::clock;
use crate::database::{self, DiskError};
use crate::files;
use crate::frame;
use crate::generation::Generation;
use crate::log;
use crate::ranges::Ranges;
use crate::setaside;
use crate::settings::DropReason;
use crate::wear::Wear;
use crate::writer::{Entry, Handle, Writer};

pub use state::LaneMark;
pub(crate) use state::{LaneState, RESERVE, runs_out};

// Persisted: never rename.
const KEY: &[u8] = b"marks";
/// Bytes of marks in one database.
const DATABASE_BYTES: u64 = 1024 * 1024;
/// Marks that were not written for this long, in milliseconds, are closed.
const REST: u64 = 60_000;
/// Runs of a cursor that are written down; beyond it the smallest gaps are closed, for repeats.
const RUNS_MAX: usize = 256;
/// A gap this long was never given out: a start after a kill leaves out what was reserved, of which at least half was left.
const JUMP: u64 = RESERVE / 4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) epoch: u32,
    pub(crate) lanes: BTreeMap<String, LaneState>,
    #[serde(default)]
    pub(crate) clock: clock::Written,
    #[serde(default)]
    pub(crate) wear: Wear,
    /// Formats 1 and 2 had none.
    #[serde(default)]
    pub(crate) buffer: Option<BufferId>,
}

pub(crate) struct MarksFile {
    directory: PathBuf,
    database: Option<(PathBuf, Handle)>,
    writer: Writer,
    /// One that could not be begun, and could not be removed.
    failed: Option<PathBuf>,
    /// Of the last value written.
    number: u64,
    pub(crate) marks: Marks,
}

impl MarksFile {
    fn new(directory: &Path, writer: &Writer) -> MarksFile {
        MarksFile {
            directory: directory.to_owned(),
            database: None,
            writer: writer.clone(),
            failed: None,
            number: 0,
            marks: Marks::default(),
        }
    }

    /// Reads the marks in `directory`. Damaged ones are kept aside and begun anew; returns where they are.
    pub(crate) fn open(
        directory: &Path,
        set_aside: &Path,
        writer: &Writer,
    ) -> Result<(MarksFile, Option<PathBuf>), DiskError> {
        files::make_directory(directory).map_err(DiskError::io(directory))?;
        let found = read(directory).map_err(DiskError::io(directory))?;
        let begun = MarksFile::new(directory, writer);
        match found {
            MarksRead::Nothing => Ok((begun, None)),
            MarksRead::Marks(number, marks) => Ok((
                MarksFile {
                    number,
                    marks,
                    ..begun
                },
                None,
            )),
            MarksRead::Damage => {
                let kept_at = setaside::keep(directory, set_aside)?;
                files::make_directory(directory).map_err(DiskError::io(directory))?;
                Ok((begun, Some(kept_at)))
            }
        }
    }

    pub(crate) fn write(&mut self) -> Result<(), DiskError> {
        self.number += 1;
        let value = cbor::encode(&self.marks).map_err(DiskError::io(&self.directory))?;
        if value.len() > frame::VALUE_BYTES_MAX {
            let much = io::Error::other(format!(
                "{} bytes of marks are over sled's limit",
                value.len()
            ));
            return Err(DiskError::io(&self.directory)(much));
        }
        let frame = frame::encode(frame::MARKS, self.number, &value);
        let mut outcome = self.put(&frame);
        if matches!(outcome, Err(DiskError::WriterEnded { .. })) {
            self.database = None;
            outcome = self.put(&frame);
        }
        if outcome.is_err() {
            self.database = None;
        }
        outcome
    }

    fn put(&mut self, frame: &[u8]) -> Result<(), DiskError> {
        let grown = |path: &Path| files::disk_usage(path).is_ok_and(|bytes| bytes > DATABASE_BYTES);
        self.database = self.database.take().filter(|(path, _)| !grown(path));
        let entry = std::iter::once(Entry::value(KEY, frame));
        if let Some((_, database)) = &mut self.database {
            return database.commit(entry);
        }
        let path = self.directory.join(format!("{:020}", self.number));
        // Begun and never finished: what is sound in a database has numbers from its name on.
        for begun in self.failed.take().iter().chain([&path]) {
            if let Err(error) = files::remove_if_there(begun) {
                self.failed = Some(begun.clone());
                return Err(DiskError::io(begun)(error));
            }
        }
        let mut database = Handle::new(&self.writer, &path);
        if let Err(error) = database.commit(entry) {
            drop(database);
            // A disk that fails for long must not fill with them.
            self.failed = files::remove_if_there(&path).is_err().then_some(path);
            return Err(error);
        }
        // The new one holds everything, so that those before it can go; if they cannot, the next one sees to it.
        if let Err(error) = remove_others(&self.directory, &path) {
            tracing::debug!(%error, "marks that are no longer needed are removed later");
        }
        self.database = Some((path, database));
        Ok(())
    }

    /// Closes the database: the next marks begin a new one.
    pub(crate) fn close(&mut self) {
        self.database = None;
    }

    /// Closes it when nothing was written for so long that no process should be kept for it; `now` is the buffer's clock.
    pub(crate) fn rest(&mut self, now: u64) {
        if now > self.marks.clock.at_ms + REST {
            self.close();
        }
    }
}

/// Writes `marks` to a fresh directory.
pub(crate) fn write_once(
    directory: &Path,
    marks: &Marks,
    writer: &Writer,
) -> Result<(), DiskError> {
    files::make_directory(directory).map_err(DiskError::io(directory))?;
    let mut file = MarksFile {
        marks: marks.clone(),
        ..MarksFile::new(directory, writer)
    };
    file.write()
}

pub(crate) enum MarksRead {
    Nothing,
    Marks(u64, Marks),
    Damage,
}

/// The newest marks in `directory`. Writes nothing, except where sled has to open those of format 1.
fn read(directory: &Path) -> io::Result<MarksRead> {
    match read_only(directory)? {
        MarksRead::Nothing if directory.join(log::FILE).exists() => Ok(read_format_1(directory)),
        found @ (MarksRead::Nothing | MarksRead::Marks(..) | MarksRead::Damage) => Ok(found),
    }
}

/// The newest marks of the present format in `directory`.
pub(crate) fn read_only(directory: &Path) -> io::Result<MarksRead> {
    let (mut newest, mut written): (Option<(u64, Marks)>, bool) = (None, false);
    for entry in fs::read_dir(directory)? {
        let Ok(bytes) = fs::read(entry?.path().join(log::FILE)) else {
            continue;
        };
        written |= bytes.iter().any(|byte| *byte != 0);
        let found = frame::newest(frame::MARKS, &bytes)
            .and_then(|(number, value)| Some((number, decode(value)?)));
        newest = newest
            .into_iter()
            .chain(found)
            .max_by_key(|(number, _)| *number);
    }
    Ok(match newest {
        Some((number, marks)) => MarksRead::Marks(number, marks),
        None if written => MarksRead::Damage,
        None => MarksRead::Nothing,
    })
}

fn read_format_1(directory: &Path) -> MarksRead {
    let value = database::read_format_1(directory, KEY);
    match value.map(|value| decode(&value.unwrap_or_default())) {
        Ok(Some(marks)) => MarksRead::Marks(0, marks),
        Ok(None) | Err(_) => MarksRead::Damage,
    }
}

fn decode(value: &[u8]) -> Option<Marks> {
    let mut marks = cbor::decode::<Marks>(value).ok()?;
    marks.lanes.values_mut().for_each(LaneState::upgrade);
    Some(marks)
}

fn remove_others(directory: &Path, keep: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path == keep {
            continue;
        }
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// `waiting` with so few runs that it fits. Only gaps within one generation are closed: first those in which it holds
/// nothing, which says the same as long as its blocks are sound, but not the jump of sequences over a start, which would all
/// count as lost if one is not; then the smallest, which means repeats. What was `cleared` since is left as it is,
/// as long as that fits: there, what is missing was dropped.
pub(crate) fn compact(
    waiting: &Ranges,
    generations: &VecDeque<Generation>,
    cleared: &[(u64, u64, DropReason)],
) -> Ranges {
    let around = |gap: &Range<u64>| {
        let at = generations.partition_point(|g| g.end() <= gap.start);
        let around = generations.get(at);
        around.filter(|g| g.first() <= gap.start && gap.end <= g.end())
    };
    let (hollow, mut others): (Vec<_>, Vec<_>) = waiting
        .gaps()
        .filter_map(|gap| Some((around(&gap)?, gap)))
        .partition(|(g, gap)| g.present.within(gap.clone()).next().is_none());
    let apart = |gap: &Range<u64>| {
        cleared
            .iter()
            .any(|(from, to, _)| gap.start < *to && *from < gap.end)
    };
    let length = |gap: &Range<u64>| gap.end - gap.start;
    let (near, mut far): (Vec<_>, Vec<_>) = hollow
        .into_iter()
        .partition(|(_, gap)| length(gap) < JUMP && !apart(gap));
    let mut compact = waiting.clone();
    for (_, gap) in near {
        compact.insert(gap);
    }
    for gaps in [&mut far, &mut others] {
        gaps.sort_by_key(|(_, gap)| length(gap));
        let over = compact.runs().saturating_sub(RUNS_MAX);
        gaps.drain(..over.min(gaps.len()))
            .for_each(|(_, gap)| compact.insert(gap));
    }
    compact
}

#[cfg(test)]
mod tests;
