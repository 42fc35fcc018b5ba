//! What was pulled last, as it is on disk: `pulled.toml`, as it came, and `pulled.json`, what is known of it; beside them its signature, where that is asked for.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{sha256, signature_of};

/// `pulled.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Pulled {
    /// Where it is from.
    pub(super) url: String,
    /// The server's name for this version of it.
    pub(super) etag: Option<String>,
    /// Of `pulled.toml`.
    pub(super) sha256: String,
    /// When the server last said that it is this one, by the system's clock: seconds since 1970.
    pub(super) asked_s: u64,
}

/// Where the text is.
pub(crate) fn place(directory: &Path) -> PathBuf {
    directory.join("pulled.toml")
}

/// The text that was pulled last.
pub(crate) fn text(directory: &Path) -> Option<String> {
    std::fs::read_to_string(place(directory)).ok()
}

/// What is known of it; nothing where that is of another text, as after a power cut between the two.
pub(super) fn read(directory: &Path) -> Pulled {
    let read = std::fs::read_to_string(directory.join("pulled.json")).ok();
    let read: Option<Pulled> = read.and_then(|read| serde_json::from_str(&read).ok());
    let text = text(directory).map(|text| sha256(&text));
    let known = read.filter(|read| text.as_deref() == Some(&read.sha256));
    known.unwrap_or_default()
}

/// The signature that came with it; empty where there is none.
pub(super) fn signature(directory: &Path) -> String {
    std::fs::read_to_string(signature_of(&place(directory))).unwrap_or_default()
}

pub(super) fn write_signature(directory: &Path, signature: &str) -> io::Result<()> {
    buffer::write_whole(&signature_of(&place(directory)), signature.as_bytes())
}

/// The text first, so that nothing is said of one that is not there.
pub(super) fn write(directory: &Path, text: Option<&str>, pulled: &Pulled) -> io::Result<()> {
    if let Some(text) = text {
        buffer::write_whole(&place(directory), text.as_bytes())?;
    }
    let known = serde_json::to_string_pretty(pulled)?;
    buffer::write_whole(&directory.join("pulled.json"), known.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_of_the_text_that_is_there_or_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        assert_eq!(read(at), Pulled::default());
        let pulled = Pulled {
            url: "https://a/".into(),
            etag: Some("\"1\"".into()),
            sha256: sha256("one"),
            asked_s: 5,
        };
        write(at, Some("one"), &pulled).unwrap();
        assert_eq!((read(at), text(at)), (pulled, Some("one".to_owned())));
        std::fs::write(at.join("pulled.toml"), "two").unwrap();
        assert_eq!(read(at), Pulled::default());
        std::fs::write(at.join("pulled.json"), "{").unwrap();
        assert_eq!(read(at), Pulled::default());
    }
}
