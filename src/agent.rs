//! The agent: one task that owns lanes, routes and the way out, and does what is due.
//!
//! ```text
//! submissions ─▶ ingest ─▶ lanes ─▶ drain ─▶ uplink
//!                            ▲ │
//!                            │ ▼
//!                          keeper (the disk, on its own thread)
//! ```

mod arrivals;

mod build;

mod calendar;

mod change;

mod disk;

mod orders;

mod prepare;

mod health;

mod journal;

mod proving;

mod snapshot;

mod sources;

mod stop;

mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::{Queues, Urge};
use buffer::Lanes;
use tokio::sync::mpsc;

use disk::DiskState;

pub(crate) use build::{WithoutKeys, build};
use orders::Request;
pub(crate) use orders::{GOES_ON, Orders};
use prepare::Change;
pub(crate) use prepare::{AgentError, Prepared, Unopened, prepare};
pub(crate) use stop::Carried;

use crate::config::Intents;
use crate::drain::{Drain, Left};
use crate::ingest::Ingest;
use crate::ingest::{Claim, Need, Record};
use crate::process::clock::Timekeeper;
use crate::process::flash;
use crate::state::Keeper;
use crate::status::{Ask, Meter, Serving};
use health::Health;
use proving::Proving;
use sources::Sources;

/// How often the agent looks at what nobody tells it: stalls, drops, rates.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Agent {
    lanes: Lanes<Record, Claim>,
    intents: Intents,
    ingest: Ingest,
    drain: Drain,
    keeper: Keeper,
    health: Health,
    queues: Queues<Need>,
    asks: mpsc::Receiver<Ask>,
    urge: Arc<Urge>,
    sources: Sources,
    serving: Serving,
    /// Systemd's watchdog is no longer fed.
    starving: bool,
    stopping: bool,
    facts: Facts,
    next_tick: Instant,
    next_heartbeat: Instant,
    meter: Meter,
    /// A note of what is used of the link's budgets is being written.
    noting: bool,
    timekeeper: Timekeeper,
    disk: DiskState,
    proving: Proving,
}

/// How the agent ended.
pub(crate) enum Ended {
    Stopped,
    /// One is to follow that is built from this, and goes on with these events.
    StartAnew(Box<Prepared>, Carried),
}

/// Why it is to end, or to be another.
enum End {
    /// By the signal of this name.
    Stop(&'static str),
    /// For this reason, and one is to follow that is built from this.
    StartAnew(&'static str, Box<Prepared>),
    /// For this reason it goes on with this, and does not end.
    Change(&'static str, Box<Change>),
}

/// What the agent goes by, and only another configuration changes.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub gateway: String,
    pub brokers: String,
    pub epoch: u32,
    pub started: Instant,
    pub heartbeat: Duration,
    pub stop_grace: Duration,
    pub state: std::path::PathBuf,
    /// What the flash said of its wear at the start.
    pub life: Option<flash::Life>,
    /// Bytes a day.
    pub write_budget: Option<u64>,
}

impl Agent {
    /// Runs until it is to end, then stops the way the data goes.
    pub(crate) async fn run(mut self, orders: &mut Orders) -> Ended {
        let end = loop {
            let until = self.step(Instant::now());
            if std::mem::take(&mut self.disk.can_be_used) {
                match orders.again() {
                    Some(next) => {
                        break End::StartAnew("the state directory can be used", Box::new(next));
                    }
                    // A later probe tries again.
                    None => self.disk_is(Some("it could not be put to use".into())),
                }
            }
            let end = if let Some(end) = self.prove(orders, Instant::now()) {
                end
            } else {
                tokio::select! {
                    biased;
                    request = orders.next() => match request {
                        Request::Stop(signal) => End::Stop(signal),
                        Request::Read(reason) => {
                            self.show_backlogs(&mut orders.rollout);
                            let Some(end) = orders.read_again(reason) else { continue };
                            end
                        }
                    },
                    () = self.wait(until) => continue,
                }
            };
            match end {
                End::Change(reason, change) => Box::pin(self.change(reason, *change, orders)).await,
                End::Stop(_) | End::StartAnew(..) => break end,
            }
        };
        self.stop(end, orders).await
    }

    /// Does everything that is due, and says until when nothing is.
    #[inline(never)] // three loops call it
    fn step(&mut self, now: Instant) -> Instant {
        for change in self.drain.listen(&mut self.lanes, now) {
            self.link_changed(change, now);
        }
        if now >= self.next_tick {
            self.tick(now);
        }
        if self.sources.are_ending() {
            self.look_after_parts(now);
        }
        if self.urge.take() {
            self.lanes.urge();
        }
        let everything = self.stopping || self.sources.are_ending();
        self.drain.release(&self.lanes, everything);
        let left = self.drain.pump(&mut self.lanes, now);
        self.resume(now);
        self.ask_disk(now);
        let mut until = self.next_tick.min(self.drain.uplink.due());
        match left {
            Left::More => until = now,
            Left::Until(at) => until = until.min(at),
            Left::Nothing => {}
        }
        let due = self.disk_due().into_iter().chain(self.sources.due(now));
        due.fold(until, Instant::min)
    }

    /// It has its disk.
    pub(crate) fn is_whole(&self) -> bool {
        self.facts.epoch > 0
    }

    fn outage(&self) -> bool {
        !self.drain.link.is_up() || self.stopping
    }

    /// Waits until `until`, or until something happens.
    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            biased;
            Some(answer) = self.keeper.answer() => self.answered(answer, Instant::now()),
            () = self.queues.filled() => self.take_in(Instant::now()),
            () = self.urge.asked() => {}
            Some(ask) = self.asks.recv() => self.answer(ask),
            () = until_or_next(until) => {}
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(asker) => {
                if asker.send(self.snapshot(Instant::now())).is_err() {
                    tracing::debug!("whoever asked for the status has gone");
                }
            }
            Ask::Order(order, by) => self.proving.order = Some((order, by)),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.next_tick = now + TICK;
        self.meter.measure(&self.lanes, now);
        self.drain.observe(&self.lanes, now);
        self.follow_clock(now);
        self.follow_calendar(now);
        for (lane, intent) in self.intents.clone().iter() {
            for drop in self.lanes.take_drops(lane) {
                self.tell_drop(intent, &drop, now);
                self.lanes.told(lane, self.health_lane());
            }
        }
        self.look_after_disk(now);
        self.look_after_parts(now);
        self.tell_pauses(now);
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.facts.heartbeat;
            let notice = self.snapshot(now).heartbeat();
            self.notice("heartbeat", &notice, now);
        }
        self.feed_watchdog(now);
    }
}

/// Waits until `until`; if that is over, sources have their turn first: a drain is never so busy that it keeps an alarm
/// from being taken in.
async fn until_or_next(until: Instant) {
    if until > Instant::now() {
        tokio::time::sleep_until(until.into()).await;
    } else {
        tokio::task::yield_now().await;
    }
}
