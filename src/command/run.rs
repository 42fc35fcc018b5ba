//! `tidegate run`: one agent after the other in this process, until one is told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::console::{fail, refuse, runtime};
use crate::agent::{self, AgentError, Carried, Ended, Orders, Prepared, Unopened, WithoutKeys};
use crate::config::Loaded;
use crate::process::supervisor::{self, Signals};
use crate::process::{allocator, chain, logging};
use crate::rollout::{self, Rollout};
use crate::uplink;

/// Before a configuration is tried again that an agent has run with, and with which the next could not begin.
const AGAIN: Duration = Duration::from_secs(2);
/// A source may hang in a system call at the end; it holds nothing that is not kept.
const LEFT_BEHIND: Duration = Duration::from_millis(200);
/// Producers have delivered what they will; where a name is not resolved they take long to see that.
const PRODUCERS_END: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct RunArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

pub(super) fn run(path: &Path) -> ExitCode {
    let settled = allocator::settle();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    // Listened to from here on to the end, whatever agent there is.
    let signals = match runtime.block_on(async { Signals::new() }) {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    let (mut rollout, loaded) = match rollout::start(path) {
        Ok(start) => Rollout::new(start),
        Err(problems) => return refuse(path, &problems),
    };
    logging::begin(&loaded.settings.log);
    rollout.tell(path);
    if let Err(error) = settled {
        tracing::warn!(%error, "the allocator keeps its own settings; memory use will be higher");
    }
    let outcome = runtime.block_on(async {
        let first = first(&loaded, path, &mut rollout)?;
        Box::pin(agents(first, Orders::new(path, signals, rollout))).await
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    uplink::wait_for_ends(PRODUCERS_END);
    outcome.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// What the first agent takes; of what delivered last, where that of the file cannot be had.
fn first(loaded: &Arc<Loaded>, path: &Path, rollout: &mut Rollout) -> Result<Prepared, AgentError> {
    let error = match agent::prepare(loaded, None, Unopened::Fails) {
        Ok(prepared) => return Ok(prepared),
        Err(error) => error,
    };
    let Some(proved) = rollout.other_than(loaded) else {
        return agent::prepare(loaded, None, Unopened::IsTriedAgain);
    };
    tracing::error!(error = chain(&error), file = %path.display(), "the agent cannot begin with the configuration in the file; the one that delivered last runs instead; put the file right");
    rollout.rejects(&loaded.texts, chain(&error));
    agent::prepare(&proved, None, Unopened::IsTriedAgain)
}

async fn agents(first: Prepared, mut orders: Orders) -> Result<(), AgentError> {
    let mut next = first;
    // What an agent has run with, in this process or before it, and what the last had only in memory when it ended.
    let mut good = orders.rollout.other_than(&next.loaded);
    let mut carried = Carried::default();
    loop {
        let loaded = Arc::clone(&next.loaded);
        let without_keys = match &good {
            Some(good) if !Arc::ptr_eq(good, &loaded) => WithoutKeys::Fails,
            Some(_) | None => WithoutKeys::GoesOn,
        };
        orders.rollout.is_about_to_run(&loaded).await;
        let (ended, back) = run_one(next, &mut carried, without_keys, orders).await;
        orders = back;
        let then = match ended {
            Ok(Ended::Stopped) => None,
            Ok(Ended::StartAnew(prepared, events)) => {
                // It may have taken another meanwhile.
                good = orders.loaded().cloned();
                carried = events.after(carried);
                Some(*prepared)
            }
            Err(error) => match &good {
                Some(good) => fall_back(&error, good, &loaded, &mut orders).await,
                None => return Err(error),
            },
        };
        let Some(prepared) = then else {
            orders.rollout.stops().await;
            return Ok(());
        };
        next = prepared;
    }
}

/// Builds an agent and runs it to its end.
async fn run_one(
    prepared: Prepared,
    carried: &mut Carried,
    without_keys: WithoutKeys,
    mut orders: Orders,
) -> (Result<Ended, AgentError>, Orders) {
    let (loaded, port) = (Arc::clone(&prepared.loaded), prepared.port.clone());
    orders.tell_warnings(&loaded);
    // Sources share the one thread and need not be able to change it.
    let local = tokio::task::LocalSet::new();
    let whole = local.run_until(async {
        let agent = match agent::build(prepared, carried, without_keys) {
            Ok(agent) => agent,
            Err(error) => return (Err(error), orders),
        };
        orders.begins_with(&loaded, port.as_ref(), agent.is_whole());
        supervisor::ready();
        // A task of its own: this one is woken whenever a source is.
        let running = tokio::task::spawn(async move {
            let ended = Box::pin(agent.run(&mut orders)).await;
            (Ok(ended), orders)
        });
        match running.await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    });
    Box::pin(whole).await
}

/// No agent can begin with what was `tried`: goes back to what the last one ran with, until it can be used; none if somebody
/// says stop before that.
async fn fall_back(
    error: &AgentError,
    good: &Arc<Loaded>,
    tried: &Arc<Loaded>,
    orders: &mut Orders,
) -> Option<Prepared> {
    let file = orders.path().display().to_string();
    tracing::error!(error = chain(error), file, "{}", agent::GOES_ON);
    orders.rollout.rejects(&tried.texts, chain(error));
    let mut pause = Arc::ptr_eq(tried, good);
    loop {
        if pause && orders.stopped_within(AGAIN).await {
            return None;
        }
        match orders.prepare(good) {
            Ok(prepared) => return Some(prepared),
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    file,
                    "the agent cannot begin with the configuration that it had; trying again"
                );
            }
        }
        pause = true;
    }
}
