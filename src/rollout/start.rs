//! Which configuration a process begins with: that in the file; if it cannot be used, or was gone back from, the one that delivered
//! last; if there is none, as much of the file as reports.

use std::path::{Path, PathBuf};

use super::record::Record;
use super::shelf::Shelf;
use crate::config::{self, Loaded, Problem, STATE_DIR, Texts, Version};

/// What a process begins with.
pub(crate) struct Start {
    pub(crate) loaded: Loaded,
    /// What is said of it once there is a log.
    pub(super) told: Told,
    pub(super) shelf: Shelf,
    pub(super) record: Record,
    /// As it is on disk.
    pub(super) noted: Record,
    /// It is another than that in the file.
    pub(super) instead: bool,
}

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) problems: Vec<Problem>,
    pub(super) line: Option<String>,
}

/// # Errors
/// All that is wrong with the file, where nothing can run.
pub(crate) fn start(path: &Path) -> Result<Start, Vec<Problem>> {
    match config::load(path) {
        Ok(loaded) => Ok(with(loaded)),
        Err(problems) => without(path, problems),
    }
}

/// The file is good.
fn with(loaded: Loaded) -> Start {
    let shelf = Shelf::in_state(&loaded.settings.store.state);
    let noted = shelf.read();
    let mut record = noted.clone();
    let version = loaded.version().clone();
    let start = |record: Record, loaded, line, instead| Start {
        loaded,
        told: Told {
            problems: Vec::new(),
            line,
        },
        shelf: shelf.clone(),
        record,
        noted: noted.clone(),
        instead,
    };
    if record.is_proved(&version) {
        return start(record, loaded, None, false);
    }
    let returned = record.was_returned(&version).map(ToOwned::to_owned);
    let why = match (returned, buffer::boot_id()) {
        (Some(why), _) => why,
        (None, boot) => match record.begins(&version, &boot.unwrap_or_default()) {
            Ok(()) => return start(record, loaded, None, false),
            Err(why) => {
                record.returns(&version, &why);
                why
            }
        },
    };
    let Some(Ok(proved)) = shelf.proved() else {
        // It is all that there is.
        return start(record, loaded, None, false);
    };
    record.is_still_returned(&version, &why);
    let line = format!(
        "the configuration in the file was gone back from and is not tried again until it, or a file that it refers to, is another ({why}); the one that delivered last runs"
    );
    start(record, proved, Some(line), true)
}

/// The file cannot be used.
fn without(path: &Path, problems: Vec<Problem>) -> Result<Start, Vec<Problem>> {
    let texts = Texts::readable(path, path);
    let version = Version::of_texts(&texts);
    let why = problems.first().map(ToString::to_string);
    let begin = |shelf: Shelf, loaded, line: &str| {
        let noted = shelf.read();
        let mut record = noted.clone();
        record.rejects(version.clone(), why.clone().unwrap_or_default());
        Start {
            loaded,
            told: Told {
                problems: problems.clone(),
                line: Some(line.to_owned()),
            },
            shelf,
            record,
            noted,
            instead: true,
        }
    };
    for state in states(&texts) {
        let shelf = Shelf::in_state(&state);
        if let Some(Ok(proved)) = shelf.proved() {
            let line = "the configuration in the file cannot be used; the one that delivered last runs instead; put the file right";
            return Ok(begin(shelf, proved, line));
        }
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    match config::minimum(&texts, beside) {
        Some(least) => {
            let shelf = Shelf::in_state(&least.settings.store.state);
            let line = "the configuration in the file cannot be used, and there is none that delivered before; the agent only reports, and no source runs, until the file is put right";
            Ok(begin(shelf, least, line))
        }
        None => Err(problems),
    }
}

/// Where the state may be, by a file that cannot be used: what it says of that, what systemd says, and what is usual.
fn states(texts: &Texts) -> Vec<PathBuf> {
    let said = config::state_dir(texts);
    let systemd = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    said.into_iter()
        .chain(systemd)
        .chain([PathBuf::from(STATE_DIR)])
        .collect()
}
