//! `tidegate run`: one agent after the other in this process, until one is told to stop.

use std::path::Path;
use std::process::ExitCode;

use crate::agent::{self, AgentError, Carried, End, Ended};
use crate::config::{self, Loaded};
use crate::supervisor::{Ask, Signals};
use crate::{allocator, fail, load, logging, status, supervisor};

/// Of an agent that reads its configuration again.
const RELOAD: &str = "SIGHUP: the configuration is read again";

pub(crate) fn run(path: &Path) -> ExitCode {
    let settled = allocator::settle();
    let mut loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    logging::begin(&loaded.file.log);
    if let Err(error) = settled {
        tracing::warn!(%error, "the allocator keeps its own settings; memory use will be higher");
    }
    let mut carried = Carried::new();
    let mut before = None;
    loop {
        for warning in &loaded.warnings {
            tracing::warn!(file = %path.display(), "{warning}");
        }
        match run_once(path, &loaded, std::mem::take(&mut carried)) {
            Ok(Ended::StartAnew(events)) => carried = events,
            Ok(Ended::Stopped) => return ExitCode::SUCCESS,
            Err(error) => match before.take() {
                Some(good) => {
                    tracing::error!(%error, file = %path.display(), "the agent cannot begin with the new configuration; it goes on with the one before");
                    loaded = good;
                    continue;
                }
                None => return fail(&*error),
            },
        }
        // Else it goes on with what it had.
        if let Some(new) = reloaded(path) {
            before = Some(std::mem::replace(&mut loaded, new));
        }
    }
}

fn run_once(
    path: &Path,
    loaded: &Loaded,
    carried: Carried,
) -> Result<Ended, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Sources share the one thread and need not be able to change it.
    let local = tokio::task::LocalSet::new();
    let path = path.to_owned();
    let outcome: Result<Ended, AgentError> = local.block_on(&runtime, async {
        let port = status::listen(&loaded.file).await?;
        let (agent, asks) = agent::build(&loaded.file, carried)?;
        status::start(&loaded.file, port, asks);
        supervisor::ready();
        // A task of its own: this one is woken whenever a source is.
        match tokio::task::spawn_local(agent.run(end(path))).await {
            Ok(ended) => Ok(ended),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    });
    drop(local);
    // A source may hang in a system call; it holds nothing that is not kept.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    outcome.map_err(Into::into)
}

/// Waits until the agent is to end.
async fn end(path: std::path::PathBuf) -> End {
    let stop = |reason| End {
        reason,
        anew: false,
    };
    let Ok(mut signals) = Signals::new() else {
        return stop("no signals");
    };
    loop {
        match signals.next().await {
            Ask::Stop(signal) => return stop(signal),
            Ask::Reload => {
                supervisor::reloading();
                if reloaded(&path).is_some() {
                    return End {
                        reason: RELOAD,
                        anew: true,
                    };
                }
                supervisor::ready();
            }
        }
    }
}

/// The configuration as it is now, if it is good.
fn reloaded(path: &Path) -> Option<Loaded> {
    let problems = match config::load(path) {
        Ok(loaded) => return Some(loaded),
        Err(problems) => problems,
    };
    for problem in problems {
        tracing::error!(file = %path.display(), "{problem}");
    }
    tracing::error!(file = %path.display(), "the new configuration is not used; the agent goes on with the one it has");
    None
}
