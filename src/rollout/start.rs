//! Which configuration a process begins with: that in the file; if it cannot be used, or was gone back from, the one that delivered
//! last; if there is none, as much of the file as reports.

use std::path::{Path, PathBuf};

use super::admission::refusal;
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
    /// Which signature was beside the file, before it was read.
    pub(super) vouchers: String,
}

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) problems: Vec<Problem>,
    pub(super) line: Option<String>,
}

/// # Errors
/// All that is wrong with the file, where nothing can run.
pub(crate) fn start(path: &Path) -> Result<Start, Vec<Problem>> {
    let vouchers = config::vouchers(path);
    let start = match config::load(path) {
        Ok(loaded) => with(loaded),
        Err(problems) => without(path, problems)?,
    };
    Ok(Start { vouchers, ..start })
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
        vouchers: String::new(),
    };
    if record.is_proved(&version) {
        return start(record, loaded, None, false);
    }
    let proved = shelf.proved(&record).and_then(Result::ok);
    if let Some(why) = refusal(&record, &loaded, proved.as_ref()) {
        let Some(proved) = proved else {
            let line = format!(
                "the configuration in the file would not be tried ({why}); it runs nonetheless, since none that delivered is there to run instead"
            );
            return start(record, loaded, Some(line), false);
        };
        let line = format!(
            "the configuration in the file is not tried ({why}); the one that delivered last runs instead"
        );
        record.rejects(version, why);
        return start(record, proved, Some(line), true);
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
    let Some(proved) = proved else {
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
            vouchers: String::new(),
        }
    };
    for state in states(path, &texts) {
        let shelf = Shelf::in_state(&state);
        if let Some(Ok(proved)) = shelf.proved(&shelf.read()) {
            let line = "the configuration in the file cannot be used; the one that delivered last runs instead; put the file right";
            return Ok(begin(shelf, proved, line));
        }
    }
    match config::minimum(&texts, path) {
        Some(least) => {
            let shelf = Shelf::in_state(&least.settings.store.state);
            let line = "the configuration in the file cannot be used, and there is none that delivered before; the agent only reports, and no source runs, until the file is put right";
            Ok(begin(shelf, least, line))
        }
        None => Err(problems),
    }
}

/// Where the state may be, by a file that cannot be used: what it says of that, what systemd says, and what is usual. One that
/// should be signed and is not is asked last.
fn states(path: &Path, texts: &Texts) -> Vec<PathBuf> {
    let said = config::state_dir(texts);
    let first = if config::may_be_believed(path, &texts.file) {
        said.clone()
    } else {
        config::state_dir(&Texts::default()) // as the environment says
    };
    let systemd = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    first
        .into_iter()
        .chain(systemd)
        .chain([PathBuf::from(STATE_DIR)])
        .chain(said)
        .collect()
}
