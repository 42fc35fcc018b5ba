//! Tidegate: an edge gateway agent.

mod allocator;

mod cli;

mod config;

mod logging;

mod agent;

mod run;

mod ingest;

mod router;

mod intent;

mod template;

mod record;

mod keeper;

mod store;

mod drain;

mod shaper;

mod shape;

mod pacer;

mod link;

mod address;

mod allowance;

mod ledger;

mod number;

mod plan;

#[cfg(feature = "simulate")]
mod simulate;

mod holdback;

mod setaside;

mod uplink;

mod health;

mod inspect;

mod doctor;

mod flash;

mod flow;

mod status;

mod supervisor;

mod version;

#[cfg(feature = "demo")]
mod demo;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Arguments, Command};
use config::Loaded;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, print } => check(&config, print),
        Command::Status {
            config,
            state,
            json,
        } => show_status(config.as_deref(), state, json),
        Command::Plan(arguments) => plan_outage(&arguments),
        Command::Buffer(arguments) => look_into(&arguments),
        Command::Modbus(arguments) => {
            match doctor::run(&arguments, &mut std::io::stdout().lock()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            }
        }
        Command::Version => say(&version::long()),
        Command::Schema => say(&format!(
            "{:#}\n",
            schemars::schema_for!(config::File).to_value()
        )),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut script);
            say(&String::from_utf8_lossy(&script))
        }
        Command::Man => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Arguments::command()).render(&mut page) {
                Ok(()) => say(&String::from_utf8_lossy(&page)),
                Err(error) => fail(&error),
            }
        }
        #[cfg(feature = "simulate")]
        Command::Simulate(what) => simulate(&what),
        #[cfg(feature = "demo")]
        Command::Demo { quick } => {
            demo::run(quick).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
        }
    }
}

fn check(path: &Path, print: bool) -> ExitCode {
    match load(path) {
        Ok(loaded) => {
            if print {
                return match toml::to_string(&loaded.file) {
                    Ok(text) => say(&text),
                    Err(error) => fail(&error),
                };
            }
            let warnings: String = loaded
                .warnings
                .iter()
                .map(|warning| format!("{}: {warning}\n", path.display()))
                .collect();
            say(&format!("{warnings}{}: good\n", path.display()))
        }
        Err(code) => code,
    }
}

fn show_status(config: Option<&Path>, state: std::path::PathBuf, json: bool) -> ExitCode {
    let state = match config.map(load) {
        None => state,
        Some(Ok(loaded)) => loaded.file.gateway.state_dir,
        Some(Err(code)) => return code,
    };
    match ask(&state) {
        Ok(snapshot) if json => say(&format!("{:#}\n", serde_json::json!(snapshot))),
        Ok(snapshot) => say(&status::table(&snapshot)),
        Err(error) => fail(&*error),
    }
}

#[cfg(feature = "simulate")]
fn simulate(what: &simulate::Simulation) -> ExitCode {
    let file = match &what.config {
        None => config::File::of_defaults(),
        Some(path) => match load(path) {
            Ok(loaded) => loaded.file,
            Err(code) => return code,
        },
    };
    match what.run(&file) {
        Ok(table) => say(&table),
        Err(error) => fail(&error),
    }
}

/// Asks the running agent how it is.
fn ask(state: &Path) -> Result<status::Snapshot, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(status::ask(state))?)
}

fn plan_outage(arguments: &cli::PlanArguments) -> ExitCode {
    let file = match load(&arguments.config) {
        Ok(loaded) => loaded.file,
        Err(code) => return code,
    };
    let measured = match arguments.measured.then(|| ask(&file.gateway.state_dir)) {
        None => None,
        Some(Ok(snapshot)) => Some(snapshot),
        Some(Err(error)) => return fail(&*error),
    };
    let rates = plan::Rates {
        given: &arguments.rate,
        measured: measured.as_ref(),
    };
    let intents = intent::Intents::new(&file);
    let rates = match rates.of(&file, &intents) {
        Ok(rates) => rates,
        Err(error) => return fail(&error),
    };
    let id = agent::identity(&file).id;
    let (shape, outage) = (shape::Shape::new(&file.replay, &id), arguments.outage.0);
    let link = arguments.link.map(|size| number::float(size.0));
    let plans = plan::plan(&intents, &shape, &rates, outage, link);
    say(&plan::table(&plans, outage))
}

fn look_into(arguments: &inspect::BufferArguments) -> ExitCode {
    let (state, keys) = match arguments.config.as_deref().map(load) {
        None => (arguments.state.clone(), Ok(buffer::Keys::default())),
        Some(Ok(loaded)) => (
            loaded.file.gateway.state_dir.clone(),
            store::keys(&loaded.file),
        ),
        Some(Err(code)) => return code,
    };
    keys.map_or_else(
        |error| fail(&error),
        |keys| match inspect::run(&state, &keys, &arguments.what) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read it has seen enough.
            Err(inspect::InspectError::Output(error))
                if error.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
    )
}

/// Loads a configuration, or prints all that is wrong with it.
fn load(path: &Path) -> Result<Loaded, ExitCode> {
    config::load(path).map_err(|problems| {
        let errors = problems.iter().filter(|problem| !problem.warning).count();
        let lines: String = problems
            .iter()
            .map(|problem| format!("{}: {problem}\n", path.display()))
            .collect();
        complain(&format!(
            "{lines}{}: {errors} to be put right\n",
            path.display()
        ));
        ExitCode::from(1)
    })
}

fn say(text: &str) -> ExitCode {
    // A reader that has gone (a closed pipe) wants no more.
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn complain(text: &str) {
    if std::io::stderr().write_all(text.as_bytes()).is_err() {}
}

/// Prints an error and its causes once.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let chain = causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    complain(&format!("tidegate: {chain}\n"));
    ExitCode::from(1)
}
