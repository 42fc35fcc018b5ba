//! From a checked configuration to a running agent.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use adapters::inference::{Inference, InferenceError};
use adapters::modbus::{Modbus, ModbusSection};
use adapters::mqtt::{Mqtt, MqttError};
use adapters::{Clock, Intake, Urge};
use buffer::{Disk, LaneOpened, Lanes, Notice, Opened};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{
    Agent, BATCH, Carried, DiskState, Facts, Prepared, SUBMISSIONS, StatusRequest, TICK, chain,
};
use crate::address::Addresses;
use crate::allowance::Allowance;
use crate::config::File;
use crate::drain::{self, Drain};
use crate::flash;
use crate::health::{Health, LastStop};
use crate::ingest::Ingest;
use crate::intent::{HEALTH, Intents};
use crate::keeper::Keeper;
use crate::ledger::Ledger;
use crate::record::{Record, Slip};
use crate::router::Router;
use crate::setaside::SetAside;
use crate::shape::Shape;
use crate::shaper::{Found, Shaper};
use crate::status::Meter;
use crate::store::{Store, StoreError};
use crate::template::Identity;
use crate::uplink::{Uplink, UplinkError};

/// Status requests that wait; more than a few at once is nobody's use.
const REQUESTS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot set up the uplink")]
    Uplink(#[from] UplinkError),
    #[error("mqtt source `{name}`")]
    Mqtt { name: String, source: MqttError },
    #[error("inference input `{name}`")]
    Inference {
        name: String,
        source: InferenceError,
    },
    #[error("cannot serve the status on {at}")]
    Status { at: String, source: std::io::Error },
}

/// Opens the buffer, connects nothing yet, and starts the sources. What is `carried` over is accepted first; after an error
/// it is still there.
pub(crate) fn build(
    prepared: Prepared,
    carried: &mut Carried,
) -> Result<(Agent, mpsc::Sender<StatusRequest>), AgentError> {
    let started = Instant::now();
    let Prepared {
        loaded,
        identity,
        intents,
        store,
        uplink,
        mqtt,
        inference,
        ..
    } = prepared;
    let file = &loaded.file;
    let clock = Clock::new(crate::version::BUILT_UNIX_US);
    let (disk, opened, missing) = open(&store, &intents, carried.in_use.as_deref())?;
    let carried = std::mem::take(carried).events;
    let recovered: u64 = opened.lanes.iter().map(|lane| lane.waiting.len()).sum();
    let found: Vec<Found> = opened.lanes.iter().map(Found::of).collect();
    let parts = drain_parts(file, &identity, &intents, clock, uplink, (&found, started));
    let (sender, submissions) = adapters::channel(SUBMISSIONS);
    let (asks, requests) = mpsc::channel(REQUESTS);
    let (stopping, stop) = watch::channel(false);
    let urge = Arc::new(Urge::default());
    let facts = facts(file, &identity, opened.epoch, started);
    let mut agent = Agent {
        lanes: Lanes::new(opened.epoch, intents.lanes(), opened.lanes),
        ingest: Ingest {
            router: Router::new(file, &intents),
            too_large: 0,
            histories: intents.histories(),
        },
        drain: Drain::new(parts, &intents, started),
        keeper: Keeper::start(disk, store),
        health: Health::new(clock, opened.epoch),
        submissions,
        requests,
        urge: Arc::clone(&urge),
        sources: Vec::new(),
        adapters: JoinSet::new(),
        stopping,
        batch: Vec::with_capacity(BATCH),
        next_tick: started + TICK,
        next_heartbeat: started + facts.heartbeat,
        meter: Meter::default(),
        noting: false,
        disk: DiskState::new(started),
        facts,
        intents,
    };
    agent.disk_is(missing);
    agent.take_over(carried, started);
    agent.tell_start(recovered, &opened.notices, started);
    let sources = Sources {
        sender,
        urge,
        clock,
        stop,
    };
    sources.start(&mut agent, mqtt, &file.modbus, inference);
    Ok((agent, asks))
}

/// The buffer, or what keeps it from being opened. Without a disk everything begins at nothing: epoch 0 tells such
/// events from others.
type Start = (Option<Disk<Record>>, Opened, Option<String>);

fn open(store: &Store, intents: &Intents, in_use: Option<&Path>) -> Result<Start, StoreError> {
    match store.open() {
        Ok((disk, opened)) => {
            store.tell_room();
            Ok((Some(disk), opened, None))
        }
        Err(error) if error.may_pass() || error.is_in_use(in_use) => {
            let lanes = intents.iter().map(|_| LaneOpened::default());
            let (lanes, notices) = (lanes.collect(), Vec::new());
            let nothing = Opened {
                epoch: 0,
                lanes,
                notices,
            };
            Ok((None, nothing, Some(chain(&error))))
        }
        Err(error) => Err(error),
    }
}

fn drain_parts(
    file: &File,
    identity: &Identity,
    intents: &Intents,
    clock: Clock,
    uplink: Uplink,
    (found, now): (&[Found], Instant),
) -> drain::Parts {
    let shape = Shape::new(&file.replay, &identity.id);
    let mut allowance = Allowance::new(&file.link, intents, shape.delay);
    recall(&mut allowance, &file.gateway.state_dir);
    drain::Parts {
        uplink,
        addresses: Addresses::new(
            intents.clone(),
            identity.clone(),
            file.uplink.fallback_topic.clone(),
        ),
        shaper: Shaper::new(shape, intents, found, now),
        allowance,
        clock,
        gateway: identity.id.clone(),
        topic_retry: file.uplink.topic_retry.0,
        set_aside: SetAside::new(&file.gateway.state_dir),
        has_backlog: found.iter().any(|lane| lane.waiting > 0),
    }
}

fn recall(allowance: &mut Allowance, state: &Path) {
    let ledger = Ledger::in_state(state);
    let noted = ledger.read().map(|note| allowance.recall(&note));
    if let Some(Err(error)) = noted {
        tracing::warn!(%error, path = %ledger.path().display(), "cannot read what is used of the link's budgets; they begin anew");
    }
}

fn facts(file: &File, identity: &Identity, epoch: u32, started: Instant) -> Facts {
    Facts {
        gateway: identity.id.clone(),
        brokers: file.uplink.brokers.join(","),
        epoch,
        started,
        heartbeat: file.status.heartbeat.0,
        stop_grace: file.gateway.stop_grace.0,
        state: file.gateway.state_dir.clone(),
        life: flash::Life::of(&file.gateway.state_dir),
        write_budget: file.buffer.write_budget.map(|size| size.0),
    }
}

impl Agent {
    /// Sources that have no receipt for such an event offer it again, under the same id.
    fn take_over(&mut self, carried: Vec<(String, Vec<Record>)>, now: Instant) {
        for (name, records) in carried {
            let Some(lane) = self.intents.id(&name) else {
                tracing::error!(intent = %name, events = records.len(), "the new configuration has no such intent; those of its events that are not on disk are with their sources, or lost");
                continue;
            };
            for record in records {
                if let Err(refusal) = self.lanes.append(lane, record, Slip(None), now) {
                    tracing::debug!(?refusal, "the source of this event keeps it");
                }
            }
        }
    }

    fn tell_start(&mut self, recovered: u64, notices: &[Notice], now: Instant) {
        let last_stop = LastStop::in_state(&self.facts.state).take();
        let (epoch, version) = (self.facts.epoch, crate::version::VERSION);
        tracing::info!(gateway = %self.facts.gateway, epoch, recovered, %last_stop, version, "tidegate started");
        let report = json!({ "version": version, "epoch": epoch, "recovered": recovered, "last_stop": last_stop });
        self.report("start", &report, now);
        if let Some(life) = self.facts.life.filter(|life| life.is_short()) {
            tracing::warn!(
                used_percent = life.used_percent,
                reserve = life.reserve,
                "the flash is near the end of its life; replace it"
            );
        }
        self.look_at_calendar(now);
        for notice in notices {
            self.notice(notice, now);
        }
    }
}

struct Sources {
    sender: mpsc::Sender<adapters::Submission>,
    urge: Arc<Urge>,
    clock: Clock,
    stop: adapters::Stop,
}

impl Sources {
    fn start(
        self,
        agent: &mut Agent,
        mqtt: Vec<(String, Mqtt)>,
        modbus: &[ModbusSection],
        inference: Vec<(String, Inference)>,
    ) {
        for (name, source) in mqtt {
            let (intake, receipts) = self.intake(&name, agent);
            agent
                .adapters
                .spawn_local(source.run(intake, receipts, self.stop.clone()));
        }
        for section in modbus {
            let (intake, receipts) = self.intake(&section.name, agent);
            let source = {
                let routes = RefCell::new(&mut agent.ingest.router);
                let (intents, routes) = (&agent.intents, &routes);
                Modbus::new(section, HEALTH, &|origin| {
                    let lane = routes.borrow_mut().lane(origin);
                    intents.get(lane).urgent
                })
            };
            agent
                .adapters
                .spawn_local(source.run(intake, receipts, self.stop.clone()));
        }
        for (name, source) in inference {
            let (intake, receipts) = self.intake(&name, agent);
            agent
                .adapters
                .spawn_local(source.run(intake, receipts, self.stop.clone()));
        }
    }

    fn intake(&self, name: &str, agent: &mut Agent) -> (Intake, adapters::Receipts) {
        let (intake, receipts) =
            Intake::new(self.sender.clone(), Arc::clone(&self.urge), self.clock);
        agent
            .sources
            .push((name.to_owned(), Arc::clone(&intake.stats)));
        (intake, receipts)
    }
}

/// Who the gateway is; its id is the host's name unless the file says otherwise.
#[must_use]
pub(crate) fn identity(file: &File) -> Identity {
    let host = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    Identity {
        id: file.gateway.id.clone().unwrap_or_else(host),
        site: file.gateway.site.clone(),
        region: file.gateway.region.clone(),
        tags: file.gateway.tags.clone(),
    }
}

pub(super) fn client_id(file: &File, gateway: &str) -> String {
    file.uplink
        .client_id
        .clone()
        .unwrap_or_else(|| format!("tidegate-{gateway}"))
}
