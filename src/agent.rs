//! The agent: one task that owns lanes, routes and the way out, and does what is due.
//!
//! ```text
//! submissions ─▶ ingest ─▶ lanes ─▶ drain ─▶ uplink
//!                            ▲ │
//!                            │ ▼
//!                          keeper (the disk, on its own thread)
//! ```

mod build;

mod stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::{SourceStats, Submission, Urge};
use buffer::{Lanes, Notice};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub(crate) use build::{AgentError, build};

use crate::drain::{Drain, Left};
use crate::health::Health;
use crate::ingest::Ingest;
use crate::intent::{HEALTH, Intents};
use crate::keeper::{Answer, Job, Keeper};
use crate::link::Change;
use crate::record::{Record, Slip};
use crate::status::Snapshot;

/// Submissions taken in at once.
const BATCH: usize = 256;
/// Submissions that wait to be taken in, of all sources together.
const SUBMISSIONS: usize = 1024;
/// How often the agent looks at what nobody tells it: stalls, drops, rates.
const TICK: Duration = Duration::from_secs(1);
/// How often a disk that failed is asked whether it is well again.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Every record in flight is noticed to be due within this, even if nothing else happens.
const HALF_STALL: Duration = Duration::from_secs(2);

/// Somebody wants to know how the agent is.
pub(crate) type StatusRequest = oneshot::Sender<Snapshot>;

pub(crate) struct Agent {
    lanes: Lanes<Record, Slip>,
    intents: Intents,
    ingest: Ingest,
    drain: Drain,
    keeper: Keeper,
    health: Health,
    submissions: mpsc::Receiver<Submission>,
    requests: mpsc::Receiver<StatusRequest>,
    urge: Arc<Urge>,
    sources: Vec<(String, Arc<SourceStats>)>,
    adapters: JoinSet<()>,
    stopping: watch::Sender<bool>,
    facts: Facts,
    batch: Vec<Submission>,
    next_tick: Instant,
    next_heartbeat: Instant,
    meter: crate::status::Meter,
    disk_error: Option<String>,
    next_probe: Instant,
    probing: bool,
}

/// What does not change while the agent runs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub gateway: String,
    pub brokers: String,
    pub epoch: u32,
    pub started: Instant,
    pub heartbeat: Duration,
    pub stop_grace: Duration,
    pub state: std::path::PathBuf,
}

impl Agent {
    /// Runs until `stop` is resolved with a reason, then stops the way the data goes.
    pub(crate) async fn run(
        mut self,
        stop: impl Future<Output = &'static str>,
    ) -> Result<(), AgentError> {
        let mut stop = std::pin::pin!(stop);
        let reason = loop {
            let until = self.step(Instant::now());
            tokio::select! {
                biased;
                reason = &mut stop => break reason,
                () = self.wait(until) => {}
            }
        };
        self.stop(reason).await
    }

    /// Does everything that is due, and says until when nothing is.
    fn step(&mut self, now: Instant) -> Instant {
        for change in self.drain.listen(&mut self.lanes, now) {
            self.link_changed(change, now);
        }
        if now >= self.next_tick {
            self.tick(now);
        }
        if self.urge.take() {
            self.lanes.urge();
        }
        let left = self.drain.pump(&mut self.lanes, now);
        self.ask_disk(now);
        let mut until = self.next_tick.min(self.drain.uplink.due());
        match left {
            Left::More => until = now,
            Left::Until(at) => until = until.min(at),
            Left::Nothing => {}
        }
        self.lanes
            .next_due(self.outage())
            .map_or(until, |due| until.min(due))
    }

    fn ask_disk(&mut self, now: Instant) {
        let writes = self.lanes.commit(now, self.outage());
        if !writes.is_empty() {
            self.keeper.ask(Job::Write(writes));
        }
        if let Some(marks) = self.lanes.marks(now) {
            self.keeper.ask(Job::Mark(marks));
        }
        if self.drain.link.is_up() {
            for ask in self.lanes.reads() {
                self.keeper.ask(Job::Read(ask));
            }
        }
    }

    /// Finds out whether a disk that failed is well again, also when there is nothing to write.
    fn probe_disk(&mut self, now: Instant) {
        if self.disk_error.is_some() && !self.probing && now >= self.next_probe {
            self.next_probe = now + PROBE_EVERY;
            self.probing = true;
            self.keeper.ask(Job::Probe);
        }
    }

    fn outage(&self) -> bool {
        !self.drain.link.is_up() || *self.stopping.borrow()
    }

    /// Waits until `until`, or until something happens.
    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            biased;
            Some(answer) = self.keeper.answer() => self.answered(answer, Instant::now()),
            count = self.submissions.recv_many(&mut self.batch, BATCH), if !self.submissions.is_closed() || !self.submissions.is_empty() => {
                let now = Instant::now();
                for submission in self.batch.drain(..count) {
                    self.ingest.take(&mut self.lanes, submission, now);
                }
            }
            () = self.urge.asked() => {}
            Some(request) = self.requests.recv() => {
                let snapshot = self.snapshot(Instant::now());
                if request.send(snapshot).is_err() {
                    tracing::debug!("whoever asked for the status has gone");
                }
            }
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }

    fn answered(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Written(written) => {
                // A small write may fit where the next does not: only a probe says that all is well.
                let error = written.iter().find_map(|lane| lane.outcome.as_ref().err());
                if let Some(error) = error {
                    self.disk_is(Some(chain(error)));
                }
                self.lanes.written(&written, now, self.outage());
            }
            Answer::Read(Ok(mut back)) => {
                for notice in back.notices.drain(..) {
                    self.notice(&notice, now);
                }
                self.lanes.read_back(back, now);
            }
            Answer::Read(Err((lane, error))) => {
                self.disk_is(Some(chain(&error)));
                self.lanes.read_failed(lane);
            }
            Answer::Marked(Ok(bytes)) => self.lanes.marked(Some(&bytes)),
            Answer::Marked(Err(error)) => {
                self.disk_is(Some(chain(&error)));
                self.lanes.marked(None);
            }
            Answer::Probed(outcome) => {
                self.probing = false;
                self.disk_is(outcome.err().map(|error| chain(&error)));
            }
            Answer::Closed(Ok(())) => {}
            Answer::Closed(Err(error)) => tracing::warn!(
                error = chain(&error),
                "the buffer was not closed cleanly; the next start recovers it"
            ),
        }
    }

    /// Tells when the disk begins to fail and when it is well again, once each.
    fn disk_is(&mut self, error: Option<String>) {
        match (&self.disk_error, &error) {
            (None, Some(error)) => {
                self.next_probe = Instant::now() + PROBE_EVERY;
                tracing::error!(
                    error,
                    "the disk does not take what must be kept; going on from memory and holding back receipts; free space or replace the disk"
                );
            }
            (Some(_), None) => tracing::info!("the disk takes what must be kept again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.disk_error = error;
    }

    fn notice(&mut self, notice: &Notice, now: Instant) {
        let report = match notice {
            Notice::Damaged {
                generation,
                reason,
                salvaged_blocks,
                kept_at,
            } => {
                tracing::error!(generation = %generation.display(), reason, salvaged_blocks, kept_at = %kept_at.display(),
                    "a part of the buffer is damaged; what can be read is kept, what is lost will be counted; look at the disk");
                json!({ "generation": generation, "reason": reason, "salvaged_blocks": salvaged_blocks, "kept_at": kept_at })
            }
            Notice::MarksLost { kept_at } => {
                tracing::warn!(kept_at = %kept_at.display(), "the buffer's marks are damaged; some delivered events will be sent again with the same ids");
                json!({ "marks": "lost", "kept_at": kept_at })
            }
            Notice::Orphan { lane, bytes } => {
                tracing::warn!(
                    lane,
                    bytes,
                    "the buffer holds events of an intent that the configuration no longer names; they stay until an [[intent]] of that name is back"
                );
                json!({ "orphan": lane, "bytes": bytes })
            }
        };
        self.report("damage", &report, now);
    }

    fn report(&mut self, kind: &'static str, report: &serde_json::Value, now: Instant) {
        let event = self.health.event(kind, report);
        let lane = self
            .intents
            .id(HEALTH)
            .expect("the health intent is built in");
        Ingest::report(&mut self.lanes, lane, event, now);
    }

    fn link_changed(&mut self, change: Change, now: Instant) {
        let backlog: u64 = self
            .intents
            .iter()
            .map(|(lane, _)| self.lanes.waiting(lane))
            .sum();
        match change {
            Change::Up { outage } => {
                tracing::info!(cluster = %self.facts.brokers, ?outage, backlog, "uplink up");
                self.report(
                    "link",
                    &json!({ "up": true, "outage_s": outage.as_secs_f64(), "backlog": backlog }),
                    now,
                );
            }
            Change::Down => {
                tracing::warn!(cluster = %self.facts.brokers, backlog, "uplink lost; events are kept on disk until it is back");
                self.report("link", &json!({ "up": false, "backlog": backlog }), now);
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        self.next_tick = now + TICK.min(HALF_STALL);
        self.meter.measure(&self.lanes, &self.intents, now);
        for (lane, intent) in self.intents.clone().iter() {
            for drop in self.lanes.take_drops(lane) {
                tracing::warn!(lane = %intent.name, reason = drop.reason.name(), count = drop.count, first = drop.first, last = drop.last, "events dropped");
                if intent.name == HEALTH {
                    continue; // a report on it would be dropped as well
                }
                let report = json!({ "lane": intent.name, "reason": drop.reason.name(), "count": drop.count,
                    "first_seq": drop.first, "last_seq": drop.last });
                self.report("drops", &report, now);
            }
        }
        self.probe_disk(now);
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.facts.heartbeat;
            let report = self.snapshot(now).heartbeat();
            self.report("heartbeat", &report, now);
        }
        crate::supervisor::alive();
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// What a snapshot is made from.
impl Agent {
    pub(crate) fn lanes(&self) -> &Lanes<Record, Slip> {
        &self.lanes
    }

    pub(crate) fn intents(&self) -> &Intents {
        &self.intents
    }

    pub(crate) fn drain(&self) -> &Drain {
        &self.drain
    }

    pub(crate) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    pub(crate) fn meter(&self) -> &crate::status::Meter {
        &self.meter
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn sources(&self) -> &[(String, Arc<SourceStats>)] {
        &self.sources
    }

    pub(crate) fn disk_error(&self) -> Option<&str> {
        self.disk_error.as_deref()
    }
}
