//! What is in the files that a configuration keeps out of itself, part by part.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::settings::Settings;
use super::version::secrets;

/// Hashes of what is in the files that parts of an agent begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// By name.
    pub sources: BTreeMap<String, String>,
    pub keys: String,
}

impl Marks {
    pub(super) fn of(settings: &Settings) -> Marks {
        let mark = |source: &adapters::SourceSettings| {
            let files: Vec<PathBuf> = source.files().into_iter().map(|(_, path)| path).collect();
            (source.name().to_owned(), secrets(&files))
        };
        let keys = settings
            .store
            .keys
            .iter()
            .filter_map(adapters::SecretRef::path);
        Marks {
            sources: settings.sources.iter().map(mark).collect(),
            keys: secrets(&keys.collect::<Vec<_>>()),
        }
    }
}
