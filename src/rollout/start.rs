//! Which configuration a process begins with: that in the file, or what was pulled after it; if that cannot be used, was gone back from, or
//! waits for its time, the one that delivered last; if there is none, as much of the file as reports.

use std::path::{Path, PathBuf};

use adapters::read_clocks;

use super::admission::refusal;
use super::pull;
use super::record::Record;
use super::shelf::Shelf;
use super::waiting::turn;
use super::wave::Moment;
use super::ways::By;
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
    /// Nobody has to do anything.
    pub(super) is_calm: bool,
}

/// # Errors
/// All that is wrong with the file, where nothing can run.
pub(crate) fn start(path: &Path) -> Result<Start, Vec<Problem>> {
    let texts = Texts::readable(path, path);
    let vouchers = config::vouchers(path, path);
    if let Some(start) = pulled(path, &texts) {
        return Ok(start);
    }
    let start = match config::load(path) {
        Ok(loaded) => with(Found::by_file(&loaded, &texts), loaded),
        Err(problems) => without(path, &texts, problems)?,
    };
    Ok(Start { vouchers, ..start })
}

/// What is known where the state is.
struct Found {
    shelf: Shelf,
    noted: Record,
    record: Record,
}

impl Found {
    fn at(state: &Path, texts: &Texts) -> Found {
        let shelf = Shelf::in_state(state);
        let noted = shelf.read();
        let mut record = noted.clone();
        let url = pull::text(shelf.directory());
        record.last.sees(
            &mut record.by,
            Some(&config::sha256(&texts.file)),
            url.as_deref().map(config::sha256).as_deref(),
        );
        Found {
            shelf,
            noted,
            record,
        }
    }

    fn by_file(loaded: &Loaded, texts: &Texts) -> Found {
        Found::at(&loaded.settings.store.state, texts)
    }
}

/// With what was pulled, where that counts; nothing where neither it nor one before it can be used: then the file does.
fn pulled(path: &Path, texts: &Texts) -> Option<Start> {
    let states = states(path, texts).into_iter();
    let mut found = states.map(|state| Found::at(&state, texts));
    let found = found.find(|one| one.noted != Record::default())?;
    if found.record.by == By::File {
        return None;
    }
    let place = pull::place(found.shelf.directory());
    let vouchers = config::vouchers(path, &place);
    let kept = found.record.fleet.as_ref();
    let start = match config::load_pulled(&place, path, kept) {
        Ok(loaded) => with(found, loaded),
        Err(problems) => {
            let proved = found.shelf.proved(&found.record)?.ok()?;
            let line = "the configuration that was pulled cannot be used; the one that delivered last runs instead; put the one at `fleet.url` right";
            let version = Version::of_texts(&config::pulled_texts(&place, path, kept));
            instead(found, proved, version, problems, line)
        }
    };
    Some(Start { vouchers, ..start })
}

impl Found {
    fn start(self, loaded: Loaded, line: Option<String>, instead: bool) -> Start {
        Start {
            loaded,
            told: Told {
                line,
                ..Told::default()
            },
            shelf: self.shelf,
            record: self.record,
            noted: self.noted,
            instead,
            vouchers: String::new(),
        }
    }
}

/// What was delivered is good.
fn with(mut found: Found, loaded: Loaded) -> Start {
    let version = loaded.version().clone();
    if found.record.is_proved(&version) {
        return found.start(loaded, None, false);
    }
    let proved = found.shelf.proved(&found.record).and_then(Result::ok);
    if let Some(why) = refusal(&found.record, &loaded, proved.as_ref()) {
        return not_admitted(found, loaded, proved, why);
    }
    let Some(proved) = proved else {
        return alone(found, loaded);
    };
    if found.record.is_held(&version) {
        let line = "the configuration that was delivered is not tried yet, since what waits on disk has no place in it; the one that delivered last runs";
        let mut start = found.start(proved, Some(line.to_owned()), true);
        start.told.is_calm = true;
        return start;
    }
    let returned = found.record.was_returned(&version).map(ToOwned::to_owned);
    if returned.is_none()
        && let Some(why) = waits(&mut found.record, &loaded, &boot_id())
    {
        let line = format!(
            "the configuration that was delivered is not tried yet ({why}); the one that delivered last runs"
        );
        found.record.why = Some(why);
        let mut start = found.start(proved, Some(line), true);
        start.told.is_calm = true;
        return start;
    }
    let Some(why) = returned.or_else(|| died(&mut found.record, &version)) else {
        return found.start(loaded, None, false);
    };
    found.record.is_still_returned(&version, &why);
    let line = format!(
        "the configuration in the file was gone back from and is not tried again until it, or a file that it refers to, is another ({why}); the one that delivered last runs"
    );
    found.start(proved, Some(line), true)
}

fn not_admitted(mut found: Found, loaded: Loaded, proved: Option<Loaded>, why: String) -> Start {
    let Some(proved) = proved else {
        let line = format!(
            "the configuration in the file would not be tried ({why}); it runs nonetheless, since none that delivered is there to run instead"
        );
        return found.start(loaded, Some(line), false);
    };
    let line = format!(
        "the configuration in the file is not tried ({why}); the one that delivered last runs instead"
    );
    found.record.rejects(loaded.version().clone(), why);
    found.start(proved, Some(line), true)
}

/// It is all that there is.
fn alone(mut found: Found, loaded: Loaded) -> Start {
    let version = loaded.version();
    if found.record.was_returned(version).is_none() {
        died(&mut found.record, version);
    }
    found.start(loaded, None, false)
}

/// Nothing where it is not known.
fn boot_id() -> String {
    buffer::boot_id().unwrap_or_default()
}

/// Why it must not run, if processes before this one died of it.
fn died(record: &mut Record, version: &Version) -> Option<String> {
    let why = record.begins(version, &boot_id()).err()?;
    record.returns(version, &why);
    Some(why)
}

/// When it is tried, in words, if that is not now; `boot` is the present one.
pub(super) fn waits(record: &mut Record, loaded: &Loaded, boot: &str) -> Option<String> {
    let spread = loaded.file.fleet.spread.0;
    let id = &loaded.settings.gateway.identity.id;
    let begun = record.may_begin(loaded.version(), spread, id, &moment(boot));
    begun.err().map(|left| turn(left, read_clocks().wall_us))
}

/// Now, in this boot.
pub(super) fn moment(boot: &str) -> Moment {
    Moment {
        boot: boot.to_owned(),
        at_s: read_clocks().boot_us / 1_000_000,
    }
}

/// What was delivered, `version`, cannot be used, and `loaded` runs instead.
fn instead(
    found: Found,
    loaded: Loaded,
    version: Version,
    problems: Vec<Problem>,
    line: &str,
) -> Start {
    let mut record = found.record;
    let why = problems.first().map(ToString::to_string);
    record.rejects(version, why.unwrap_or_default());
    Start {
        loaded,
        told: Told {
            problems,
            line: Some(line.to_owned()),
            is_calm: false,
        },
        shelf: found.shelf,
        record,
        noted: found.noted,
        instead: true,
        vouchers: String::new(),
    }
}

/// The file cannot be used.
fn without(path: &Path, texts: &Texts, problems: Vec<Problem>) -> Result<Start, Vec<Problem>> {
    let version = Version::of_texts(texts);
    for state in states(path, texts) {
        let found = Found::at(&state, texts);
        if let Some(Ok(proved)) = found.shelf.proved(&found.record) {
            let line = "the configuration in the file cannot be used; the one that delivered last runs instead; put the file right";
            return Ok(instead(found, proved, version, problems, line));
        }
    }
    match config::minimum(texts, path) {
        Some(least) => {
            let found = Found::by_file(&least, texts);
            let line = "the configuration in the file cannot be used, and there is none that delivered before; the agent only reports, and no source runs, until the file is put right";
            Ok(instead(found, least, version, problems, line))
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
