//! `tidegate config`: what became of the configuration that was delivered.

mod diff;

mod history;

mod seal;

mod waves;

mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use adapters::Span;
use clap::Subcommand;

use super::console::{ask, complain, fail, order, say};
use crate::config::{self, STATE_DIR, Texts, Version};
use crate::status::{ConfigStatus, Order};

/// How often an agent is asked that is waited for.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The exit code where there is no verdict.
const NOT_YET: u8 = 4;

#[derive(Debug, clap::Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what became of the configuration that was delivered last.
    ///
    /// Exit code 0: it delivers and is kept; 1: rejected; 2: wrong usage, or no agent answers; 3: gone back from; 4: not proved yet, or not looked at.
    Status(ConfigStatusArguments),
    /// Say what is set: by the file, by its layers in `FILE.d`, and by the environment.
    Show(show::ShowArguments),
    /// Say what a file sets otherwise than the configuration that delivered last: `-` what that says, `+` what the file says.
    Diff(diff::DiffArguments),
    /// Say what became of the last configurations, and who did what about them by hand.
    History(history::HistoryArguments),
    /// Go back to the configuration that delivered before the one that runs; that one is not tried again until it is another.
    Return(AgentArguments),
    /// Try the configuration in the file again, also if it was gone back from.
    Retry(RetryArguments),
    /// Append a line to the file by which a gateway sees that it is whole, or renew it.
    Seal(seal::SealArguments),
    /// Say when each of some gateways would try a file, by its `fleet.spread`.
    ///
    /// Reads their ids from standard input, one a line; prints the seconds since a gateway first sees the file and its id, in that order.
    Waves(waves::WavesArguments),
}

/// Which agent.
#[derive(Debug, clap::Args)]
struct AgentArguments {
    /// The configuration file of the agent, for its state directory.
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RetryArguments {
    #[command(flatten)]
    agent: AgentArguments,
    /// Also if it has no seal or signature where the one before had, or removes most sources. One that must be signed here is not tried.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct ConfigStatusArguments {
    /// The configuration file of the agent: with `--wait`, what became of the text that is in it now.
    #[arg(short, long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The file in whose place that was put, for the layers that are beside it.
    #[arg(long, value_name = "FILE", requires = "config")]
    in_place_of: Option<PathBuf>,
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
        ConfigCommand::Show(arguments) => show::run(&arguments),
        ConfigCommand::Diff(arguments) => diff::run(&arguments),
        ConfigCommand::History(arguments) => history::run(&arguments),
        ConfigCommand::Return(arguments) => return_to_before(arguments),
        ConfigCommand::Retry(arguments) => retry(arguments),
        ConfigCommand::Seal(arguments) => seal::run(&arguments),
        ConfigCommand::Waves(arguments) => waves::run(&arguments),
    }
}

fn status(arguments: &ConfigStatusArguments) -> ExitCode {
    let (state, version) = match &arguments.config {
        None => (arguments.state.clone(), None),
        Some(path) => match of_file(path, arguments.in_place_of.as_deref()) {
            Ok((state, version)) => (state, Some(version)),
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
            Ok(config) if is_verdict(&config, version.as_ref()) => {
                return told(&config, arguments.json);
            }
            Ok(config) if is_over => {
                let code = told(&config, arguments.json);
                // What became of another text is no answer to who waits for this one.
                let is_other = version.is_some_and(|version| !is_of(&config, &version));
                return if is_other && arguments.wait.is_some() {
                    complain("the text in the file was not looked at by the agent yet\n");
                    ExitCode::from(NOT_YET)
                } else {
                    code
                };
            }
            Err(error) if is_over => {
                fail(&*error);
                return ExitCode::from(2);
            }
            Ok(_) | Err(_) => std::thread::park_timeout(ASK_EVERY),
        }
    }
}

impl AgentArguments {
    fn state(self) -> std::io::Result<PathBuf> {
        match &self.config {
            None => Ok(self.state),
            Some(path) => of_file(path, None).map(|(state, _)| state),
        }
    }
}

fn return_to_before(arguments: AgentArguments) -> ExitCode {
    let state = match arguments.state() {
        Ok(state) => state,
        Err(error) => return fail(&error),
    };
    let before = match ask(&state) {
        Ok(snapshot) => snapshot.config.before,
        Err(error) => return fail(&*error),
    };
    let Some(before) = before else {
        return fail(&std::io::Error::other(
            "no configuration has delivered before the one that runs: there is none to go back to",
        ));
    };
    match order(&state, Order::Return) {
        Ok(()) => say(&format!(
            "the configuration {before} runs again, and the one that ran is not tried again until it is another, or `tidegate config retry`\n"
        )),
        Err(error) => fail(&*error),
    }
}

fn retry(arguments: RetryArguments) -> ExitCode {
    let how = if arguments.force {
        Order::Force
    } else {
        Order::Retry
    };
    let state = match arguments.agent.state() {
        Ok(state) => state,
        Err(error) => return fail(&error),
    };
    match order(&state, how) {
        Ok(()) => say(
            "the configuration in the file is tried again; `tidegate config status --wait 12m` tells what becomes of it\n",
        ),
        Err(error) => fail(&*error),
    }
}

/// The state directory that it names, and which texts it has.
fn of_file(path: &Path, place: Option<&Path>) -> std::io::Result<(PathBuf, Version)> {
    std::fs::metadata(path)?;
    let place = place.unwrap_or(path);
    let state = config::state_of(place).unwrap_or_else(|_| PathBuf::from(STATE_DIR));
    Ok((state, Version::of_texts(&Texts::readable(path, place))))
}

/// Waiting longer would tell no more; with `version`, of those texts.
fn is_verdict(config: &ConfigStatus, version: Option<&Version>) -> bool {
    let is_final = matches!(
        config.state.as_str(),
        "kept" | "rejected" | "returned" | "unproven"
    );
    is_final && version.is_none_or(|version| is_of(config, version))
}

fn is_of(config: &ConfigStatus, version: &Version) -> bool {
    // What was pulled after it counts in its place.
    let is_followed = config.by == "url" && config.file == version.sha256;
    is_followed
        || (&config.attempted, &config.attempted_layers) == (&version.sha256, &version.layers)
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
        let by = match config.by.as_str() {
            "url" => " by url (pulled)",
            "file" => " by file (dropped)",
            _ => "",
        };
        let failed = config.pull_error.as_deref();
        let failed = failed.map(|error| format!("cannot be pulled: {error}\n"));
        say(&format!(
            "{state}{}{open}\ndelivered {attempted}{of_attempted}{by}\nruns      {effective}{of_effective}\n{}",
            why.unwrap_or_default(),
            failed.unwrap_or_default()
        ));
    }
    match config.state.as_str() {
        "kept" => ExitCode::SUCCESS,
        "rejected" => ExitCode::from(1),
        "returned" => ExitCode::from(3),
        _ => ExitCode::from(NOT_YET),
    }
}
