//! Logs: one line a change of state, for people, for machines or for journald.

mod line;

mod lines;

mod quota;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use lines::{Lines, To};

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// `"auto"`: journald under systemd, else lines for people.
    pub format: LogFormat,
    /// `"error"`, `"warn"`, `"info"`, `"debug"`, `"trace"`, or a filter like `"info,rdkafka=debug"`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
    Journald,
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection {
            format: LogFormat::Auto,
            level: "info".into(),
        }
    }
}

/// Libraries that say each failure of an outage again; what matters of it Tidegate says itself.
const QUIET: &str = "rdkafka=error,librdkafka=off,sled=error,rumqttc=off";

/// What is logged; `level` is one of the five, or a list like `info,rdkafka=debug`.
pub(crate) fn filter(level: &str) -> Result<Targets, ParseError> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    // A word alone would be taken for the name of a module.
    let meant = level
        .split(',')
        .all(|part| part.contains('=') || levels.contains(&part.trim()));
    let text = if meant {
        format!("{QUIET},{level}")
    } else {
        format!("{level}=?")
    };
    text.parse()
}

fn filter_or_info(level: &str) -> Targets {
    filter(level).unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO))
}

/// What is logged, which can be changed.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Takes another level. Another format takes another process.
pub(crate) fn change(old: &LogSection, new: &LogSection) {
    if old.format != new.format {
        tracing::warn!(
            "another `log.format` is taken when the process starts: restart it, as with `systemctl restart tidegate`"
        );
    }
    let Some(filter) = FILTER.get().filter(|_| old.level != new.level) else {
        return;
    };
    match filter.reload(filter_or_info(&new.level)) {
        Ok(()) => tracing::info!(level = new.level, "the log has another level"),
        Err(error) => tracing::warn!(%error, "the log goes on with the level that it had"),
    }
}

/// Begins logging; a second call changes nothing.
pub(crate) fn begin(section: &LogSection) {
    let (filter, handle) = reload::Layer::new(filter_or_info(&section.level));
    let registry = tracing_subscriber::registry().with(filter);
    let under_systemd =
        std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal();
    let to_journal = section.format == LogFormat::Journald
        || (section.format == LogFormat::Auto && under_systemd);
    let to = match (section.format, to_journal.then(To::journal)) {
        (_, Some(Ok(journal))) => journal,
        (LogFormat::Json, _) => To::Json,
        (LogFormat::Auto | LogFormat::Human | LogFormat::Journald, _) => To::Human {
            colours: std::io::stderr().is_terminal(),
        },
    };
    match registry.with(Lines::new(to)).try_init() {
        Ok(()) => drop(FILTER.set(handle)),
        Err(error) => tracing::debug!(%error, "logging had begun before"),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// A panic is a line of the log as any other, whatever was in the values that it names. What follows from it is said by whoever
/// waits for its task or thread.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = panic.location().map(ToString::to_string);
    let reason = panic.payload_as_str().unwrap_or("no reason given");
    tracing::error!(
        thread,
        place,
        reason,
        "the agent panicked, which is a fault of its code; report this line"
    );
}
