//! The note of what is used of the link's budgets, in the state directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct LinkUse(PathBuf);

impl LinkUse {
    #[must_use]
    pub(crate) fn in_state(state: &Path) -> LinkUse {
        LinkUse(state.join("link-used.json"))
    }

    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The last note, if there is one.
    #[must_use]
    pub(crate) fn read(&self) -> Option<String> {
        fs::read_to_string(&self.0).ok()
    }

    /// Writes a note, so that after a power cut there is this one or the one before.
    pub(crate) fn write(&self, note: &str) -> io::Result<()> {
        buffer::write_whole(&self.0, note.as_bytes())
    }
}
