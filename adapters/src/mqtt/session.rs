//! Which session with the broker this is.
//!
//! Packet identifiers name a message only within a session. Together with a number for the session,
//! which changes when the broker has forgotten it, they make a mark that is the same when the
//! broker offers a message again, also after a crash on our side, and differs for any other message
//! until the identifiers have come round (65,535 messages).

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::{off_task, write_whole};

#[derive(Debug)]
pub(super) struct SessionFile {
    path: PathBuf,
    number: u64,
}

impl SessionFile {
    pub(super) async fn open(path: &Path) -> SessionFile {
        let file = path.to_owned();
        let text = off_task(|| fs::read_to_string(file)).await;
        let stored = text.ok().and_then(|text| text.trim().parse().ok());
        SessionFile {
            path: path.to_owned(),
            number: stored.unwrap_or_else(fresh_number),
        }
    }

    /// The broker knows no session: what comes from here on is new. The number is on disk before a message is marked with it.
    pub(super) async fn begin(&mut self) {
        self.number = fresh_number();
        let (path, number) = (self.path.clone(), self.number.to_string());
        if let Err(error) = off_task(move || write_whole(&path, &number)).await {
            warn!(path = %self.path.display(), %error, "cannot remember the mqtt session; after a crash repeated events may carry new ids");
        }
    }

    /// The mark of the message with this packet identifier.
    pub(super) fn mark(&self, packet_id: u16) -> u64 {
        (self.number << 16) | u64::from(packet_id)
    }
}

fn fresh_number() -> u64 {
    RandomState::new().hash_one(0) >> 16
}
