//! Which session with the broker this is.
//!
//! Packet identifiers name a message only within a session. Together with a number for the session,
//! which changes when the broker has forgotten it, they make a mark that is the same when the
//! broker offers a message again, also after a crash on our side, and differs for any other message
//! until the identifiers have come round (65,535 messages).

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

use tracing::warn;

#[derive(Debug)]
pub(super) struct SessionFile {
    path: PathBuf,
    number: u64,
}

impl SessionFile {
    pub(super) fn open(path: &Path) -> SessionFile {
        let stored = fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        SessionFile {
            path: path.to_owned(),
            number: stored.unwrap_or_else(fresh_number),
        }
    }

    /// The broker knows no session: what comes from here on is new.
    pub(super) fn begin(&mut self) {
        self.number = fresh_number();
        if let Err(error) = self.store() {
            warn!(path = %self.path.display(), %error, "cannot remember the mqtt session; after a crash repeated events may carry new ids");
        }
    }

    fn store(&self) -> std::io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let fresh = self.path.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        write!(file, "{}", self.number)?;
        file.sync_data()?;
        fs::rename(&fresh, &self.path)?;
        fs::File::open(directory)?.sync_all()
    }

    /// The mark of the message with this packet identifier.
    pub(super) fn mark(&self, packet_id: u16) -> u64 {
        (self.number << 16) | u64::from(packet_id)
    }
}

fn fresh_number() -> u64 {
    RandomState::new().hash_one(0) >> 16
}
