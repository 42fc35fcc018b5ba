//! `tidegate config`: what became of the configuration that was delivered.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use adapters::Span;
use clap::Subcommand;

use super::console::{ask, fail, order_retry, say};
use crate::config::{self, STATE_DIR};
use crate::status::{ConfigStatus, Retry};

/// How often an agent is asked that is waited for.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what became of the configuration that was delivered last.
    ///
    /// Exit code 0: it delivers and is kept; 1: rejected; 2: wrong usage, or no agent answers; 3: gone back from; 4: not proved yet.
    Status(ConfigStatusArguments),
    /// Try the configuration in the file again, also if it was gone back from.
    Retry(RetryArguments),
    /// Append a line to the file by which a gateway sees that it is whole, or renew it.
    Seal(SealArguments),
}

#[derive(Debug, clap::Args)]
struct SealArguments {
    /// The configuration, where it is written: seal it before it is signed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RetryArguments {
    /// The configuration file of the agent, for its state directory.
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state: PathBuf,
    /// Also if it has no seal or signature where the one before had, or removes most sources. One that must be signed here is not tried.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct ConfigStatusArguments {
    /// The configuration file of the agent: with `--wait`, what became of the text that is in it now.
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state: PathBuf,
    /// Wait at most so long until there is a verdict: "10m".
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: ConfigArguments) -> ExitCode {
    match arguments.command {
        ConfigCommand::Status(arguments) => status(&arguments),
        ConfigCommand::Retry(arguments) => retry(arguments),
        ConfigCommand::Seal(arguments) => seal(&arguments.file),
    }
}

fn status(arguments: &ConfigStatusArguments) -> ExitCode {
    let (state, sha256) = match &arguments.config {
        None => (arguments.state.clone(), None),
        Some(path) => match of_file(path) {
            Ok((state, sha256)) => (state, Some(sha256)),
            Err(error) => {
                fail(&error);
                return ExitCode::from(2);
            }
        },
    };
    let until = Instant::now() + arguments.wait.map_or(Duration::ZERO, |wait| wait.0);
    loop {
        let asked = ask(&state).map(|snapshot| snapshot.config);
        let is_over = Instant::now() >= until;
        match asked {
            Ok(config) if is_over || is_verdict(&config, sha256.as_deref()) => {
                return told(&config, arguments.json);
            }
            Err(error) if is_over => {
                fail(&*error);
                return ExitCode::from(2);
            }
            Ok(_) | Err(_) => std::thread::park_timeout(ASK_EVERY),
        }
    }
}

fn retry(arguments: RetryArguments) -> ExitCode {
    let state = match arguments.config.as_deref().map(of_file) {
        None => arguments.state,
        Some(Ok((state, _))) => state,
        Some(Err(error)) => return fail(&error),
    };
    let how = if arguments.force {
        Retry::Forced
    } else {
        Retry::Plain
    };
    match order_retry(&state, how) {
        Ok(()) => say(
            "the configuration in the file is tried again; `tidegate config status --wait 12m` tells what becomes of it\n",
        ),
        Err(error) => fail(&*error),
    }
}

fn seal(path: &Path) -> ExitCode {
    let sealed = match std::fs::read_to_string(path) {
        Ok(text) => config::sealed(&text),
        Err(error) => Err(error.to_string()),
    };
    let written = sealed.and_then(|text| replace(path, &text).map_err(|error| error.to_string()));
    match written {
        Ok(()) => say(&format!(
            "{}: sealed; a signature that it had is none for it any more\n",
            path.display()
        )),
        Err(why) => fail(&std::io::Error::other(format!(
            "cannot seal {}: {why}",
            path.display()
        ))),
    }
}

/// Puts another text into its place, whole, for the same who may read it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path)?;
    let before = std::fs::metadata(&path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".sealed");
    let fresh = path.with_file_name(name);
    let written = (|| {
        buffer::open_private(&fresh, false)?.write_all(text.as_bytes())?;
        std::fs::set_permissions(&fresh, before.permissions())?;
        std::fs::rename(&fresh, &path)
    })();
    if written.is_err() {
        std::fs::remove_file(&fresh).ok();
    }
    written
}

/// The state directory that it names, and which text it is.
fn of_file(path: &Path) -> std::io::Result<(PathBuf, String)> {
    let text = std::fs::read_to_string(path)?;
    let state = config::state_of(path).unwrap_or_else(|_| PathBuf::from(STATE_DIR));
    Ok((state, config::sha256(&text)))
}

/// Waiting longer would tell no more; with `sha256`, of that text.
fn is_verdict(config: &ConfigStatus, sha256: Option<&str>) -> bool {
    let is_final = matches!(
        config.state.as_str(),
        "kept" | "rejected" | "returned" | "unproven"
    );
    is_final && sha256.is_none_or(|sha256| config.attempted == sha256)
}

/// The number of a configuration, and who signed it, as far as it has them.
fn vouched(serial: Option<u64>, signer: Option<&str>) -> String {
    let serial = serial.map(|serial| format!(", serial {serial}"));
    let signer = signer.map(|signer| format!(", signed by {signer}"));
    serial.unwrap_or_default() + &signer.unwrap_or_default()
}

fn told(config: &ConfigStatus, json: bool) -> ExitCode {
    if json {
        say(&format!("{:#}\n", serde_json::json!(config)));
    } else {
        let why = config.why.as_deref().map(|why| format!(": {why}"));
        let open = match config.open.join(", ") {
            open if open.is_empty() => String::new(),
            open => format!("\nto be proved: {open}"),
        };
        let (state, attempted, effective) = (&config.state, &config.attempted, &config.effective);
        let of_attempted = vouched(config.attempted_serial, config.attempted_signer.as_deref());
        let of_effective = vouched(config.effective_serial, config.effective_signer.as_deref());
        say(&format!(
            "{state}{}{open}\ndelivered {attempted}{of_attempted}\nruns      {effective}{of_effective}\n",
            why.unwrap_or_default()
        ));
    }
    match config.state.as_str() {
        "kept" => ExitCode::SUCCESS,
        "rejected" => ExitCode::from(1),
        "returned" => ExitCode::from(3),
        _ => ExitCode::from(4),
    }
}
