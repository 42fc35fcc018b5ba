//! From a checked configuration to a running agent.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::{Clock, Urge};
use buffer::{Disk, Finding, LaneOpened, Lanes, Opened};
use serde_json::json;
use tokio::sync::mpsc;

use super::disk::DiskState;
use super::health::Health;
use super::prepare::{AgentError, Prepared};
use super::proving::Proving;
use super::sources::Sources;
use super::stop::Carried;
use super::{Agent, Facts, TICK};
use crate::config::{Intents, Settings};
use crate::drain::{self, Drain, Rejected, Way};
use crate::ingest::{Claim, Ingest, Record, Router};
use crate::pace::{Allowance, Recovered, Shaper};
use crate::process::clock::Timekeeper;
use crate::process::{chain, flash, version};
use crate::state::{ClockNote, Keeper, LastStop, LinkUse, Store, StoreError};
use crate::status::{Meter, Serving};
use crate::uplink::Uplink;

/// Asks that wait; more than a few at once is nobody's use.
const ASKS: usize = 16;

/// What an agent does that has not the keys of its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutKeys {
    /// There is nothing better than to go on from memory, and to leave the disk as it is.
    GoesOn,
    /// Another configuration can be gone back to.
    Fails,
}

/// Opens the buffer, connects nothing yet, and starts the sources and the status server. What is `carried` over is accepted first; after an error
/// it is still there.
pub(crate) fn build(
    prepared: Prepared,
    carried: &mut Carried,
    without_keys: WithoutKeys,
) -> Result<Agent, AgentError> {
    let started = Instant::now();
    let loaded = Arc::clone(&prepared.loaded);
    let settings = &loaded.settings;
    let (intents, store) = (settings.intents.clone(), prepared.store);
    let note = ClockNote::in_state(&settings.store.state).read();
    let timekeeper = Timekeeper::new(note.as_deref(), version::BUILT_UNIX_US);
    let clock = timekeeper.clock();
    let may_pass = |error: &StoreError| {
        error.may_pass()
            || error.is_in_use(carried.in_use.as_deref())
            || (error.is_of_keys() && without_keys == WithoutKeys::GoesOn)
    };
    let (disk, opened, missing) = open(&store, &intents, may_pass)?;
    let carried = std::mem::take(&mut carried.events);
    let recovered: u64 = opened.lanes.iter().map(|lane| lane.waiting.len()).sum();
    let found: Vec<Recovered> = opened.lanes.iter().map(Recovered::of).collect();
    let rejected = Rejected::new(&settings.store.state, store.keys().ok());
    let (uplink, clocked) = (prepared.uplink, clock.clone());
    let parts = drain_parts(settings, clocked, uplink, rejected, &found, started);
    let (inlet, queues) = adapters::queues();
    let (asker, asks) = mpsc::channel(ASKS);
    let urge = Arc::new(Urge::default());
    let life = flash::Life::of(&settings.store.state);
    let facts = facts(settings, opened.epoch, started, life);
    let serving = Serving::new(&settings.status, prepared.port, asker);
    let mut agent = Agent {
        lanes: Lanes::new(opened.epoch, intents.lanes(), opened.lanes),
        ingest: ingest(settings),
        drain: Drain::new(parts, started),
        keeper: Keeper::start(disk, store, missing.clone()),
        health: Health::new(clock.clone(), opened.epoch),
        queues,
        asks,
        urge: Arc::clone(&urge),
        sources: Sources::new(Arc::clone(&loaded), inlet, urge, clock),
        serving,
        starving: false,
        stopping: false,
        next_tick: started + TICK,
        next_heartbeat: started + facts.heartbeat,
        meter: Meter::default(),
        noting: false,
        timekeeper,
        disk: DiskState::new(started),
        proving: Proving::new(started),
        facts,
        intents,
    };
    agent.disk_is(missing);
    agent.take_over(carried, started);
    agent.tell_start(recovered, &opened.findings, started);
    tell_metered(settings);
    agent.start_sources(prepared.sources, started);
    agent.serving.start(started);
    Ok(agent)
}

/// The buffer, or what keeps it from being opened. Without a disk everything begins at nothing: epoch 0 tells such
/// events from others.
type Start = (Option<Disk<Record>>, Opened, Option<String>);

fn open(
    store: &Store,
    intents: &Intents,
    may_pass: impl Fn(&StoreError) -> bool,
) -> Result<Start, StoreError> {
    match store.open() {
        Ok((disk, opened)) => {
            store.tell_room();
            Ok((Some(disk), opened, None))
        }
        Err(error) if may_pass(&error) => {
            if error.is_of_keys() {
                tracing::error!(
                    error = chain(&error),
                    "the buffer is not opened, and nothing in it is touched: its key is missing or another one; events are kept in memory only, and receipts are given when they are delivered; what is in the buffer waits for its key"
                );
            }
            let lanes = intents.iter().map(|_| LaneOpened::default());
            let (lanes, findings) = (lanes.collect(), Vec::new());
            let nothing = Opened {
                epoch: 0,
                lanes,
                findings,
            };
            Ok((None, nothing, Some(chain(&error))))
        }
        Err(error) => Err(error),
    }
}

fn drain_parts(
    settings: &Settings,
    clock: Clock,
    uplink: Uplink,
    rejected: Rejected,
    found: &[Recovered],
    now: Instant,
) -> drain::Parts {
    let shape = settings.replay.clone();
    let mut way = way(settings);
    recall(&mut way.allowance, &settings.store.state);
    drain::Parts {
        uplink,
        returning: shape.returning(),
        shaper: Shaper::new(shape, &way.paces, found, now),
        way,
        clock,
        gateway: settings.gateway.identity.id.clone(),
        rejected,
        backlog: age(found, now),
    }
}

pub(super) fn way(settings: &Settings) -> Way {
    let paces = settings.intents.paces();
    Way {
        addresses: settings.addresses(),
        allowance: Allowance::new(&settings.link, &paces, settings.replay.delay),
        topic_retry: settings.drain.topic_retry,
        paces,
    }
}

/// How long the oldest of what waits has waited; a backlog of unknown age is an old one.
fn age(found: &[Recovered], now: Instant) -> Duration {
    let waits = found.iter().filter(|lane| lane.waiting > 0);
    let ages = waits.map(|lane| {
        let since = lane
            .oldest
            .map(|oldest| now.saturating_duration_since(oldest));
        since.unwrap_or(Duration::MAX / 2)
    });
    ages.max().unwrap_or_default()
}

fn recall(allowance: &mut Allowance, state: &Path) {
    let link_use = LinkUse::in_state(state);
    let noted = link_use.read().map(|note| allowance.recall(&note));
    if let Some(Err(error)) = noted {
        tracing::warn!(%error, path = %link_use.path().display(), "cannot read what is used of the link's budgets; they begin anew");
    }
}

pub(super) fn ingest(settings: &Settings) -> Ingest {
    Ingest {
        router: Router::new(settings.routes.clone(), settings.route_bytes),
        histories: settings.intents.histories(),
    }
}

pub(super) fn facts(
    settings: &Settings,
    epoch: u32,
    started: Instant,
    life: Option<flash::Life>,
) -> Facts {
    Facts {
        gateway: settings.gateway.identity.id.clone(),
        brokers: settings.cluster().section.brokers.join(","),
        epoch,
        started,
        heartbeat: settings.status.heartbeat,
        stop_grace: settings.gateway.stop_grace,
        state: settings.store.state.clone(),
        life,
        write_budget: settings.gateway.write_budget,
    }
}

impl Agent {
    /// Sources that have no receipt for such an event offer it again, under the same id.
    fn take_over(&mut self, carried: Vec<(String, Vec<Record>)>, now: Instant) {
        for (name, records) in carried {
            let Some(lane) = self.intents.id(&name) else {
                if records.is_empty() {
                    continue;
                }
                tracing::error!(intent = %name, events = records.len(), "the new configuration has no such intent; those of its events that are not on disk are with their sources, or lost");
                continue;
            };
            for record in records {
                if let Err(refusal) = self.lanes.append(lane, record, Claim(None), now) {
                    tracing::debug!(?refusal, "the source of this event keeps it");
                }
            }
        }
    }

    fn tell_start(&mut self, recovered: u64, findings: &[Finding], now: Instant) {
        let last_stop = LastStop::in_state(&self.facts.state).take();
        let (epoch, version) = (self.facts.epoch, version::VERSION);
        tracing::info!(gateway = %self.facts.gateway, epoch, recovered, %last_stop, version, "tidegate started");
        let notice = json!({ "version": version, "epoch": epoch, "recovered": recovered, "last_stop": last_stop });
        self.notice("start", &notice, now);
        if let Some(life) = self.facts.life.filter(|life| life.is_short()) {
            tracing::warn!(
                used_percent = life.used_percent,
                reserve = life.reserve,
                "the flash is near the end of its life; replace it"
            );
        }
        self.follow_calendar(now);
        for finding in findings {
            self.finding(finding, now);
        }
    }
}

pub(super) fn tell_metered(settings: &Settings) {
    if !settings.link.metered {
        return;
    }
    let bulk = settings.intents.iter().filter(|(_, one)| !one.pace.urgent);
    let lingers = bulk.map(|(_, one)| format!("{} {:?}", one.name, one.pace.linger));
    let lingers = lingers.collect::<Vec<_>>().join(", ");
    tracing::info!(%lingers, "the link is metered: events wait up to their linger for others to leave with; `link.metered = false`, or `linger` in an [[intent]], sends them sooner");
}
