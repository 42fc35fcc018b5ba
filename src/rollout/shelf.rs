//! The files of `config/` in the state directory: `proved.toml`, the last configuration that delivered, the register maps that it
//! named in `proved/`, and `state.json`. Each is written whole and durably; one that cannot be read is as one that is not there.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FlockOperation, flock};

use super::record::Record;
use crate::config::{self, Loaded, Problem, Version};

#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    directory: PathBuf,
    /// Held as long as the process lives: a second one on the same state leaves all of it alone.
    lock: Arc<OnceLock<File>>,
}

impl Shelf {
    pub(crate) fn in_state(state: &Path) -> Shelf {
        Shelf {
            directory: state.join("config"),
            lock: Arc::default(),
        }
    }

    pub(crate) fn read(&self) -> Record {
        let text = std::fs::read_to_string(self.directory.join("state.json")).ok();
        let record = text.and_then(|text| serde_json::from_str(&text).ok());
        record.unwrap_or_default()
    }

    /// The configuration that delivered last; nothing if there is none. What vouched for it when it came is in the record.
    pub(super) fn proved(&self, record: &Record) -> Option<Result<Loaded, Vec<Problem>>> {
        let text = std::fs::read_to_string(self.directory.join("proved.toml")).ok()?;
        let sha256 = config::sha256(&text);
        let noted = record.proved.as_ref().filter(|one| one.sha256 == sha256);
        let trust = noted.map(Version::trust).unwrap_or_default();
        let beside = self.directory.join("proved");
        Some(config::load_text(&text, &beside, trust))
    }

    /// Notes how things are.
    pub(super) fn note(&self, record: &Record) -> io::Result<()> {
        self.claim()?;
        let text = serde_json::to_string_pretty(record)?;
        buffer::write_whole(&self.directory.join("state.json"), text.as_bytes())
    }

    /// The maps first, so that no `proved.toml` stands without those that it names.
    pub(super) fn keep(&self, text: &str, maps: &[(PathBuf, String)]) -> io::Result<()> {
        self.claim()?;
        for (name, text) in maps {
            let mut parts = name.components();
            if !parts.all(|part| matches!(part, Component::Normal(_))) {
                continue; // it is read from where it is
            }
            let path = self.directory.join("proved").join(name);
            if let Some(parent) = path.parent() {
                buffer::make_directory(parent)?;
            }
            buffer::write_whole(&path, text.as_bytes())?;
        }
        buffer::write_whole(&self.directory.join("proved.toml"), text.as_bytes())
    }

    fn claim(&self) -> io::Result<()> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        buffer::make_directory(&self.directory)?;
        let lock = buffer::open_private(&self.directory.join("lock"), true)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        // Nobody else of this process claims it meanwhile: one note is written after the other.
        self.lock.set(lock).ok();
        Ok(())
    }
}
