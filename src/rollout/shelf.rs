//! The files of `config/` in the state directory: `proved.toml`, the last configuration that delivered, the register maps that it
//! named in `proved/`, its layers, the same of the one `before`, `state.json`, and what was pulled (`pull`). Each is written whole and durably; one that cannot be read is as one that is not there.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::record::Record;
use crate::config::{self, Loaded, Problem, Texts, Version};

/// By these names configurations are kept: `proved.toml` with its register maps in `proved/`.
const PROVED: &str = "proved";
const BEFORE: &str = "before";
/// What stands in `proved.toml` behind the text, before the name of the file with its layers.
const LAYERS: &str = "\n# its layers: ";

#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    directory: PathBuf,
    /// Held as long as the process lives: a second one on the same state leaves all of it alone.
    lock: Arc<Mutex<Option<File>>>,
}

impl Shelf {
    pub(crate) fn in_state(state: &Path) -> Shelf {
        Shelf {
            directory: state.join("config"),
            lock: Arc::default(),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn read(&self) -> Record {
        let text = std::fs::read_to_string(self.directory.join("state.json")).ok();
        let record = text.and_then(|text| serde_json::from_str(&text).ok());
        record.unwrap_or_default()
    }

    /// The configuration that delivered last, or the one before where its file is damaged; nothing if there is none. What vouched for it
    /// when it came is in the record.
    pub(super) fn proved(&self, record: &Record) -> Option<Result<Loaded, Vec<Problem>>> {
        match self.kept(PROVED, record.proved.as_ref(), record) {
            Some(Ok(proved)) => Some(Ok(proved)),
            damaged => self.before(record).map(Ok).or(damaged),
        }
    }

    /// The one before that.
    pub(super) fn before(&self, record: &Record) -> Option<Loaded> {
        self.kept(BEFORE, record.before.as_ref(), record)?.ok()
    }

    fn kept(
        &self,
        name: &str,
        noted: Option<&Version>,
        record: &Record,
    ) -> Option<Result<Loaded, Vec<Problem>>> {
        let texts = self.texts(name)?;
        let found = Version::of_texts(&texts);
        // It is written before the record is: then it is what was tried last. Half of a text may be a good one.
        let mut known = [&record.before, &record.proved].into_iter().flatten();
        let is_known = known.any(|one| one.has_texts_of(&found));
        if record.proved.is_some() && !is_known && !record.attempted.has_texts_of(&found) {
            return None;
        }
        let noted = noted.filter(|one| one.has_texts_of(&found));
        let trust = noted.map(Version::trust).unwrap_or_default();
        Some(config::load_texts(texts, &self.directory.join(name), trust))
    }

    pub(super) fn proved_texts(&self) -> Option<Texts> {
        self.texts(PROVED)
    }

    fn texts(&self, name: &str) -> Option<Texts> {
        let text = std::fs::read_to_string(self.file(name)).ok()?;
        self.with_layers(&text)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.toml"))
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

    /// Keeps what delivered last and what did before it, if there is that.
    pub(super) fn keep(&self, proved: Option<&Loaded>, before: Option<&Loaded>) -> io::Result<()> {
        self.claim()?;
        if let Some(before) = before {
            self.put(BEFORE, before)?;
        } else if let Err(error) = std::fs::remove_file(self.file(BEFORE))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        if let Some(proved) = proved {
            self.put(PROVED, proved)?;
        }
        self.forget_layers()
    }

    /// The maps and layers first, so that no text stands without those that it names.
    fn put(&self, name: &str, loaded: &Loaded) -> io::Result<()> {
        for (map, text) in &loaded.maps {
            let mut parts = map.components();
            if !parts.all(|part| matches!(part, Component::Normal(_))) {
                continue; // it is read from where it is
            }
            let path = self.directory.join(name).join(map);
            if let Some(parent) = path.parent() {
                buffer::make_directory(parent)?;
            }
            buffer::write_whole(&path, text.as_bytes())?;
        }
        let texts = &loaded.texts;
        if texts.layers.is_empty() {
            return buffer::write_whole(&self.file(name), texts.file.as_bytes());
        }
        let layers = format!("layers-{}.json", texts.mark_of_layers());
        let written = serde_json::to_string_pretty(&texts.layers)?;
        buffer::write_whole(&self.directory.join(&layers), written.as_bytes())?;
        let text = format!("{}{LAYERS}{layers}\n", texts.file);
        buffer::write_whole(&self.file(name), text.as_bytes())
    }

    /// Those that neither of them has.
    fn forget_layers(&self) -> io::Result<()> {
        let read = |name| std::fs::read_to_string(self.file(name)).unwrap_or_default();
        let kept = [read(PROVED), read(BEFORE)];
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_named = |text: &String| text.ends_with(&format!("{LAYERS}{name}\n"));
            if name.starts_with("layers-") && !kept.iter().any(is_named) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// Another process has it, or the disk does not take it.
    pub(super) fn claim(&self) -> io::Result<()> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        buffer::make_directory(&self.directory)?;
        let lock = buffer::open_private(&self.directory.join("lock"), true)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        *held = Some(lock);
        Ok(())
    }
}
