//! What was delivered last, by whichever way, and when it is tried.

use std::path::{Path, PathBuf};

use super::super::pull::{self, Pull};
use super::super::start::{moment, waits};
use super::super::ways::By;
use super::Rollout;
use crate::config::{self, Loaded, Problem, PullSettings, Texts};

/// A configuration that was delivered, and read.
pub(crate) struct Delivered {
    /// Where it is.
    pub(crate) file: PathBuf,
    pub(crate) loaded: Result<Loaded, Vec<Problem>>,
}

impl Rollout {
    /// Reads what was delivered last: the file at `path`, or what was pulled.
    pub(crate) fn delivered(&mut self, path: &Path) -> Delivered {
        let file = self.place_of_last(path);
        let loaded = match self.record.by {
            By::Url => config::load_pulled(&file, path, self.record.fleet.as_ref()),
            By::File => config::load(path),
        };
        Delivered { file, loaded }
    }

    /// What is in `file`, which was delivered for the one at `path`, cannot be used.
    pub(crate) fn rejects_delivered(&mut self, file: &Path, path: &Path, why: String) {
        let texts = self.texts_of(file, path);
        self.rejects(&texts, why);
    }

    /// Whether another text was delivered than the last one, and than the one that runs.
    pub(crate) fn is_delivered_anew(&mut self, path: &Path) -> bool {
        let file = self.place_of_last(path);
        // Before the texts: what comes meanwhile is news the next time.
        let vouchers = config::vouchers(path, &file);
        let texts = self.texts_of(&file, path);
        file.exists() && self.is_news(&texts, vouchers)
    }

    /// The text that was delivered last is tried whatever vouches for it; where it must be signed, this changes nothing.
    pub(crate) fn forces(&mut self, path: &Path) {
        let file = self.place_of_last(path);
        let texts = self.texts_of(&file, path);
        self.forces_texts(&texts);
    }

    fn texts_of(&self, file: &Path, path: &Path) -> Texts {
        match self.record.by {
            By::Url => config::pulled_texts(file, path, self.record.fleet.as_ref()),
            By::File => Texts::readable(path, path),
        }
    }

    /// Where that is which counts; says it where that is another than before.
    fn place_of_last(&mut self, path: &Path) -> PathBuf {
        let dropped = std::fs::read_to_string(path).ok();
        let pulled = pull::text(self.shelf.directory());
        let sum = |text: &Option<String>| text.as_deref().map(config::sha256);
        let (file, url) = (sum(&dropped), sum(&pulled));
        let last = &mut self.record.last;
        if last.sees(&mut self.record.by, file.as_deref(), url.as_deref()) {
            let path = path.display();
            match self.record.by {
                By::File => {
                    tracing::info!(by = "file", file = %path, "the file was dropped after the last configuration was pulled, and so it is the one that counts; what is pulled counts again when it is another");
                }
                By::Url => {
                    tracing::info!(by = "url", file = %path, "another configuration was pulled after the file was dropped, and so that is the one that counts; the file counts again when it is another");
                }
            }
        }
        match self.record.by {
            By::File => path.to_owned(),
            By::Url => pull::place(self.shelf.directory()),
        }
    }

    /// Whether this one waits for its time, as it asks for.
    pub(crate) fn waits(&mut self, loaded: &Loaded) -> bool {
        let why = waits(&mut self.record, loaded, &self.boot);
        self.instead = why.is_some();
        if why.is_some() {
            self.record.why = why;
        }
        self.instead
    }

    /// Whether the time of what waits has come.
    pub(super) fn is_time(&mut self) -> bool {
        self.record.wave.is_some() && self.record.is_time(&moment(&self.boot))
    }

    /// Configurations for the file at `path` are pulled from now on as this one says.
    pub(crate) fn pulls_by(&self, pull: &mut Pull, loaded: &Loaded, path: &Path) {
        let id = &loaded.settings.gateway.identity.id;
        let settings = PullSettings::new(&loaded.file.fleet, id);
        pull.follow(settings, &self.shelf, &self.record.last.url, path);
    }
}
