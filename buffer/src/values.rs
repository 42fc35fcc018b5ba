//! What the two halves of the buffer tell each other, and what the disk tells its owner.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::block::Placed;
use crate::database::DiskError;
use crate::keys::KeyId;
use crate::ranges::Ranges;
use crate::settings::{DropReason, Dropped};
use crate::wear::Wear;
use crate::{LaneId, WhenFull};

/// The layout that this code writes; it reads this and the ones before it, and refuses a newer one.
pub const FORMAT: u32 = 3;

/// Bytes of records in one write of a lane, before compression.
pub(crate) const WRITE_BYTES_MAX: u64 = 1024 * 1024;

/// A lane's place on disk, and what becomes of what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneDisk {
    /// Directory name: letters, digits, `-` and `_`.
    pub name: String,
    /// Bytes on disk, sled's own included.
    pub budget: u64,
    pub when_full: WhenFull,
    /// Only the latest record of each key is kept of what had to wait.
    pub coalesce: bool,
    /// What is older is dropped, a generation at a time.
    pub max_age: Option<Duration>,
    /// What was delivered is kept for a replay on demand.
    pub keep: Option<Keep>,
}

/// How long and how much of what was delivered is kept, within the lane's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub age: Duration,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is in use by another process{holder}; end that one first, or use another state directory: no two share one"
    )]
    InUse {
        path: PathBuf,
        /// Which one, as text behind the other, where that is known.
        holder: String,
    },
    #[error(
        "{path} was written by a newer version (format {found}; this version reads up to {FORMAT}): install that version again, or give the agent another state directory"
    )]
    Newer { path: PathBuf, found: String },
    #[error(
        "{path} is encrypted with key {key}, which the configuration does not give (it gives {given}): add that key to buffer.keys; nothing was changed"
    )]
    NoKey {
        path: PathBuf,
        key: KeyId,
        given: String,
    },
    #[error(
        "{path} is encrypted for gateway `{of}`, and this is gateway `{ours}`: set gateway.id to `{of}` again, or take what is there over with `tidegate buffer export --gateway-id {of} --for-gateway {ours} DIR`; nothing was changed"
    )]
    OtherGateway {
        path: PathBuf,
        of: String,
        ours: String,
    },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What opening or reading found that a person should know.
#[derive(Debug)]
pub enum Finding {
    /// Part of a generation is damaged; the rest of it is read all the same.
    Damaged {
        generation: PathBuf,
        records: u64,
        kept_at: PathBuf,
    },
    /// Blocks that claim to be this lane's are refused: they are not encrypted though they are newer than the keys, or they are
    /// encrypted for another gateway, lane or generation.
    Foreign {
        generation: PathBuf,
        blocks: usize,
        kept_at: PathBuf,
    },
    /// A write was cut short, as a power cut does it. What had a receipt was flushed before.
    Torn { generation: PathBuf },
    /// The marks were damaged: some delivered records will be sent again.
    MarksLost { kept_at: PathBuf },
    /// A lane on disk that the configuration no longer names.
    Orphan { lane: String, bytes: u64 },
}

/// The state of the disk at start.
#[derive(Debug)]
pub struct Opened {
    /// Rises at each start.
    pub epoch: u32,
    pub lanes: Vec<LaneOpened>,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Default)]
pub struct LaneOpened {
    /// The first sequence that is free.
    pub next: u64,
    /// The marks allow for sequences before this one; `None` where there are no marks to do so.
    pub reserved: Option<u64>,
    /// Stored and neither delivered nor dropped.
    pub waiting: Ranges,
    /// Waiting at the last mark, and no longer on disk, with the reason.
    pub lost: Vec<(DropReason, Ranges)>,
    /// Dropped before, and perhaps not yet told.
    pub unreported: Vec<Dropped>,
    pub bytes: u64,
    /// When the oldest of what waits was stored, or a little before; time without power does not count.
    pub oldest: Option<Instant>,
}

/// Records to be written to a lane, in order of sequence.
#[derive(Debug)]
pub struct LaneWrite<R> {
    pub lane: LaneId,
    pub records: Vec<Placed<R>>,
}

impl<R> LaneWrite<R> {
    /// The first sequence after its records.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.records.last().map_or(0, |record| record.sequence + 1)
    }
}

/// What became of a [`LaneWrite`].
#[derive(Debug)]
pub struct Written {
    pub lane: LaneId,
    /// The first sequence after those that were to be written.
    pub end: u64,
    pub outcome: Result<(), DiskError>,
    pub cleared: Vec<Cleared>,
    /// Bytes of the lane on disk, and of the blocks just written.
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Records in them.
    pub stored: u64,
}

impl Written {
    /// Of a write of `lane` that was not even tried, whose records end before `end`.
    #[must_use]
    pub fn refused(lane: LaneId, end: u64, error: DiskError) -> Written {
        Written {
            lane,
            end,
            outcome: Err(error),
            cleared: Vec::new(),
            bytes: 0,
            stored_bytes: 0,
            stored: 0,
        }
    }
}

/// Room that was made on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The sequences whose blocks were deleted ...
    pub sequences: Range<u64>,
    /// ... except these, which were written again.
    pub kept: Ranges,
    pub reason: DropReason,
}

/// What [`Disk::tidy`] did to a lane.
#[derive(Debug)]
pub struct Tidied {
    pub lane: LaneId,
    pub cleared: Vec<Cleared>,
    pub bytes: u64,
}

/// A lane on disk, as of a mark.
#[derive(Debug, Clone, Copy)]
pub struct LaneOnDisk {
    pub bytes: u64,
    /// The first sequence after its oldest generation: when all before it is delivered, the next mark gives that back.
    pub(crate) frees_at: u64,
    /// The marks allow for sequences before this one.
    pub(crate) reserved: u64,
    /// As [`LaneOpened::oldest`].
    pub(crate) oldest: Option<Instant>,
}

/// What [`Disk::mark`] found.
#[derive(Debug)]
pub struct Marked {
    pub lanes: Vec<LaneOnDisk>,
    pub wear: Wear,
    /// How much of the day of [`Wear::today`] has passed, from 0 to 1.
    pub day_passed: f64,
}

/// An answer to a read.
#[derive(Debug)]
pub struct ReadBack<R> {
    pub lane: LaneId,
    /// The sequences that the answer is about; one that is not in `records` is not on disk.
    pub covers: Range<u64>,
    pub records: Vec<Placed<R>>,
    pub findings: Vec<Finding>,
}
