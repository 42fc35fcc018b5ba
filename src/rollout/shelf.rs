//! The files of `config/` in the state directory: `proved.toml`, the last configuration that delivered, the register maps that it
//! named in `proved/`, and `state.json`. Each is written whole and durably; one that cannot be read is as one that is not there.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FlockOperation, flock};

use super::record::Record;
use crate::config::{self, Loaded, Problem, Texts};

/// What stands in `proved.toml` behind the text, before the name of the file with its layers.
const LAYERS: &str = "\n# its layers: ";

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

    /// The configuration that delivered last; nothing if there is none.
    pub(super) fn proved(&self) -> Option<Result<Loaded, Vec<Problem>>> {
        let text = std::fs::read_to_string(self.directory.join("proved.toml")).ok()?;
        let texts = self.with_layers(&text)?;
        Some(config::load_texts(texts, &self.directory.join("proved")))
    }

    /// The layers are in a file of their own, which the last line names where there are any.
    fn with_layers(&self, text: &str) -> Option<Texts> {
        let Some((file, name)) = text.rsplit_once(LAYERS) else {
            return Some(Texts::of(text));
        };
        let layers = std::fs::read_to_string(self.directory.join(name.trim_end())).ok()?;
        Some(Texts {
            file: file.to_owned(),
            layers: serde_json::from_str(&layers).ok()?,
        })
    }

    /// Notes how things are.
    pub(super) fn note(&self, record: &Record) -> io::Result<()> {
        self.claim()?;
        let text = serde_json::to_string_pretty(record)?;
        buffer::write_whole(&self.directory.join("state.json"), text.as_bytes())
    }

    /// The maps and layers first, so that no `proved.toml` stands without those that it names.
    pub(super) fn keep(&self, texts: &Texts, maps: &[(PathBuf, String)]) -> io::Result<()> {
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
        let proved = self.directory.join("proved.toml");
        if texts.layers.is_empty() {
            buffer::write_whole(&proved, texts.file.as_bytes())?;
            return self.forget_layers_but("");
        }
        let name = format!("layers-{}.json", texts.mark_of_layers());
        let layers = serde_json::to_string_pretty(&texts.layers)?;
        buffer::write_whole(&self.directory.join(&name), layers.as_bytes())?;
        let text = format!("{}{LAYERS}{name}\n", texts.file);
        buffer::write_whole(&proved, text.as_bytes())?;
        self.forget_layers_but(&name)
    }

    fn forget_layers_but(&self, kept: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b"layers-") && name != kept {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
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
