//! Durable, ordered lanes of opaque records.
//!
//! Two halves that meet in values, so that the wait of a slow flash is in nobody's way:
//!
//! - [`Lanes`] is what is in memory: it takes records, hands them out to be sent, and knows what
//!   waits. It uses no clock and no I/O, and decides what is to be written, read or forgotten.
//! - [`Disk`] is what is on disk: it does what it is told, blocking, on a thread of its own. [`Writer`] says which process
//!   calls sled.
//!
//! A record is *accepted* by [`Lanes::append`] and then waits until it is delivered, or dropped by
//! its lane's own budget and counted. Its claim resolves once: when it is on disk for good, or
//! delivered. Order within a lane is kept, sequences are never used again, and what was stored
//! survives a power cut. The crate knows nothing of what a record means or where it goes.

mod lanes;

mod lane;

mod settings;

mod values;

mod window;

mod disk;

mod layout;

mod identity;

mod encode;

mod tail;

mod generation;

mod database;

mod writer;

mod archive;

mod log;

mod marks;

mod clock;

mod wear;

mod frame;

mod setaside;

mod block;

mod codec;

mod keys;

mod encrypted;

mod cbor;

mod ranges;

mod files;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use archive::{GenerationEntry, Inspection, LaneEntry, Verified};
pub use block::{Placed, RECORD_BYTES_MAX};
pub use clock::boot_id;
pub use database::DiskError;
pub use disk::{Disk, capacity};
pub use encrypted::check_sealed;
pub use files::{make_directory, open_private, own_like_directory, write_whole};
pub use keys::{KeyError, KeyId, Keys};
pub use lanes::{Lanes, ReadAsk};
pub use marks::LaneMark;
pub use ranges::Ranges;
pub use settings::{Counts, DropReason, Dropped, LaneSettings, Largest, Next, Order, Refusal};
pub use values::{
    Cleared, FORMAT, Finding, Keep, LaneDisk, LaneOpened, LaneWrite, Marked, OpenError, Opened,
    ReadBack, Tidied, Written,
};
pub use wear::{Wear, written_by_this_process};
pub use writer::{Writer, WriterProcess, serve as write_for_parent};

/// Reads whatever a disk may give back, as blocks, as what is in a block, and as marks: for fuzz/. Returns how many records it took
/// for sound ones.
#[doc(hidden)]
#[must_use]
pub fn decode<R: DeserializeOwned>(read: &[u8]) -> usize {
    let keys = Keys::default();
    let (mut sound, mut from) = (0, 0);
    while let Some(at) = block::find(read, from) {
        let rest = read.get(at..).unwrap_or_default();
        sound += codec::decode::<R>(rest, &keys).map_or(0, |(_, records)| records.len());
        from = at + 1;
    }
    sound += cbor::decode::<Vec<(u64, R)>>(read).map_or(0, |records| records.len());
    for magic in [frame::MARKS, frame::SEAL] {
        sound += usize::from(frame::newest(magic, read).is_some());
    }
    sound
}

/// A record as it stands in a block, before compression: for tests that freeze what is on disk.
#[doc(hidden)]
pub fn encoded(record: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    cbor::append_packed(&mut bytes, record)?;
    Ok(bytes)
}

/// The same the other way.
#[doc(hidden)]
pub fn decoded<R: DeserializeOwned>(encoded: &[u8]) -> std::io::Result<R> {
    cbor::decode(encoded)
}

/// What a lane holds. Cloning is done only for what must be written to disk, and should be cheap.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + 'static {
    /// What [`WhenFull::CoalesceLatest`] keeps the latest record of.
    fn key(&self) -> u64;

    /// What a person knows it by, for what is told of it.
    fn name(&self) -> &str;

    /// Bytes that it takes in memory beyond its encoded length.
    fn surplus(&self) -> usize {
        0
    }
}

/// Resolved once, when the lane has made good its promise for a record.
pub trait Claim {
    /// Whether its source waits for receipts: the commit of what it is of is due at once.
    fn is_awaited(&self) -> bool {
        false
    }

    fn resolve(self, kept: Kept);
}

/// How a record's receipt came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// On disk, flushed.
    Stored,
    /// Delivered before it had to be written.
    Delivered,
    /// Dropped by the lane's own policy, and counted.
    Dropped,
}

/// What a lane does when its budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses what is new: the source keeps it.
    Refuse,
    /// Drops its oldest generation.
    DropOldest,
    /// Drops what is new, and says so; the source may forget it.
    DropNewest,
    /// Keeps only the latest record of each key of its oldest generations, then drops.
    CoalesceLatest,
}

/// Number of a lane: its place in the list that the lanes were opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u8);

impl LaneId {
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
