//! Which session with the broker this is.
//!
//! Packet identifiers name a message only within a session. Together with a number for the session,
//! which changes when the broker has forgotten it, they make a mark that is the same when the
//! broker offers a message again, also after a crash on our side, and differs for any other message
//! until the identifiers have come round (65,535 messages; fewer with a broker that uses them again sooner, where [`Repeats`]
//! tells equal messages apart).

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::packet::Message;
use super::repeats::Repeats;

use crate::{WriteWhole, off_task};

#[derive(Debug)]
pub(super) struct SessionFile {
    path: PathBuf,
    write: WriteWhole,
    number: u64,
    repeats: Repeats,
}

impl SessionFile {
    pub(super) async fn open(path: &Path, write: WriteWhole) -> SessionFile {
        let file = path.to_owned();
        let text = off_task(|| fs::read_to_string(file)).await;
        let stored = text.ok().and_then(|text| text.trim().parse().ok());
        SessionFile {
            path: path.to_owned(),
            write,
            number: stored.unwrap_or_else(fresh_number),
            repeats: Repeats::default(),
        }
    }

    /// The broker knows no session: what comes from here on is new. The number is on disk before a message is marked with it.
    pub(super) async fn begin(&mut self) {
        self.number = fresh_number();
        self.repeats.clear();
        let (path, number, write) = (self.path.clone(), self.number.to_string(), self.write);
        if let Err(error) = off_task(move || write(&path, number.as_bytes())).await {
            warn!(path = %self.path.display(), %error, "cannot remember the mqtt session; after a crash repeated events may carry new ids");
        }
    }

    /// The mark of a message of QoS 1 or 2 with this content.
    pub(super) fn mark(&mut self, message: &Message, content: u32) -> u64 {
        let mark = (self.number << 16) | u64::from(message.packet_id);
        match self.repeats.earlier(content, message.dup) {
            0 => mark,
            earlier => mark ^ xxh3_64(&earlier.to_le_bytes()),
        }
    }

    /// The message with this content was acknowledged.
    pub(super) fn acknowledged(&mut self, content: u32) {
        self.repeats.acknowledged(content);
    }
}

fn fresh_number() -> u64 {
    RandomState::new().hash_one(0) >> 16
}
