//! Stopping goes the way the data goes: sources, ingest, commit, then what is under way. What is safe on disk is not waited for.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Agent, End, Ended, Orders, Prepared};
use crate::ingest::Record;
use crate::state::LastStop;
use crate::state::{Answer, Job};

/// What of the grace is kept for closing the buffer.
const CLOSING: Duration = Duration::from_secs(1);
/// How long a disk may take to close; after it the next start recovers.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);
/// A stop does not wait for a disk that has answered nothing for this long: longer than any flash takes to erase what it must.
const HUNG: Duration = Duration::from_secs(5);

/// How long sources and lanes have where another agent follows: an exchange on a serial line takes its time.
const HANDING_OVER: Duration = Duration::from_secs(3);
/// What is under way when all is stored has so long to land, so that it need not go again; less where another agent waits.
const LANDING: Duration = Duration::from_secs(1);
const LANDING_BEFORE_NEXT: Duration = Duration::from_millis(200);
/// How often a stop looks whether it can go on.
const LOOK: Duration = Duration::from_millis(50);

/// What an agent leaves to one that follows it in this process.
#[derive(Default)]
pub(crate) struct Carried {
    /// Of each intent, by name, the events that are only in memory, in order.
    pub(super) events: Vec<(String, Vec<Record>)>,
    /// The state directory, if a disk that hangs keeps it in use.
    pub(super) in_use: Option<std::path::PathBuf>,
}

impl Carried {
    /// A disk that an agent before the last one left hanging may hang still.
    pub(crate) fn after(self, before: Carried) -> Carried {
        Carried {
            in_use: self.in_use.or(before.in_use),
            ..self
        }
    }
}

impl Agent {
    pub(super) async fn stop(mut self, end: End, orders: &mut Orders) -> Ended {
        let (mut reason, mut next) = match end {
            End::StartAnew(reason, next) => (reason, Some(next)),
            End::Stop(reason) | End::Change(reason, _) => (reason, None),
        };
        let begun = Instant::now();
        tracing::info!(reason, "stopping: sources first, then the buffer");
        self.notice("stop", &json!({ "reason": reason }), begun);
        self.stopping = true;
        self.sources.stop();
        let mut grace = begun + self.grace(next.as_deref());
        let mut stored = None;
        loop {
            let now = Instant::now();
            // A source may wait for receipts that a failing disk does not give: it keeps what has none.
            self.look_after_parts(now);
            let sources = !(self.sources.have_ended() && self.queues.is_empty());
            let unstored = sources || !self.lanes.all_stored() || !self.drain.rejected.is_written();
            let patience = if next.is_some() {
                LANDING_BEFORE_NEXT
            } else {
                LANDING
            };
            let waits = if unstored {
                !self.is_hung(now)
            } else {
                now < *stored.get_or_insert(now) + patience && self.is_sending()
            };
            if !waits || now >= grace {
                break;
            }
            let until = self.step(now).min(grace).min(now + LOOK);
            tokio::select! {
                biased;
                signal = orders.stop(), if next.is_some() => {
                    tracing::info!(reason = signal, "no agent is to follow");
                    (reason, next) = (signal, None);
                    grace = now + self.grace(None);
                }
                () = self.wait(until) => {}
            }
        }
        let closed = self.close().await;
        let left: u64 = self
            .intents
            .iter()
            .map(|(lane, _)| self.lanes.waiting(lane))
            .sum();
        let seconds = begun.elapsed().as_secs_f64();
        let note = json!({ "reason": reason, "buffered": left });
        LastStop::in_state(&self.facts.state).note(&note).await;
        tracing::info!(reason, buffered = left, seconds, "tidegate stopped");
        let Some(next) = next else {
            return Ended::Stopped;
        };
        let in_use = (!closed).then(|| self.facts.state.clone());
        let names = self.intents.iter().map(|(_, intent)| intent.name.clone());
        let events = names.zip(self.lanes.into_unstored()).collect();
        Ended::StartAnew(next, Carried { events, in_use })
    }

    /// How long sources and lanes have. An agent that follows sends what is left; without one, as long as the configuration says.
    fn grace(&self, next: Option<&Prepared>) -> Duration {
        if next.is_some() {
            return HANDING_OVER;
        }
        crate::process::supervisor::stopping();
        self.facts.stop_grace.saturating_sub(CLOSING)
    }

    /// Neither a source nor a lane gets anything from the disk any more.
    fn is_hung(&self, now: Instant) -> bool {
        self.keeper.silent_for(now) > HUNG
    }

    /// Something is under way, and likely to land.
    fn is_sending(&self) -> bool {
        let mut lanes = self.intents.iter();
        self.drain.link.is_up() && lanes.any(|(lane, _)| self.lanes.in_flight(lane) > 0)
    }

    /// Says whether the disk closed.
    async fn close(&mut self) -> bool {
        // What was delivered meanwhile must not be sent again by the next start.
        self.drain.uplink.hurry();
        let now = Instant::now();
        self.drain.listen(&mut self.lanes, now);
        self.lanes.spare_flash(1.0);
        let closed = self.store_and_close(now + CLOSE_PATIENCE).await;
        if closed {
            self.keeper.join();
        } else {
            tracing::warn!("the disk did not close in time; the next start recovers it");
        }
        self.set_aside().await;
        closed
    }

    /// Has the disk write the last that is in memory, and close, until `end` or as long as it answers. Says whether it closed.
    async fn store_and_close(&mut self, end: Instant) -> bool {
        let mut closing = false;
        loop {
            let now = Instant::now();
            if now >= end || self.is_hung(now) {
                return false;
            }
            if !closing {
                self.lanes.urge_all();
                self.ask_disk(now);
                closing = self.lanes.all_stored();
                if closing {
                    self.ask_to_close();
                }
            }
            // What is not due yet is asked for again.
            let answer = tokio::time::timeout(LOOK, self.keeper.answer()).await;
            let Ok(answer) = answer else { continue };
            let Some(answer) = answer else { return true };
            let last = matches!(answer, Answer::Closed(_));
            let refused = matches!(&answer, Answer::Written(all) if all.iter().any(|one| one.outcome.is_err()));
            self.answered(answer, Instant::now());
            if last {
                return true;
            }
            if refused && !closing {
                closing = true; // what is only in memory has no receipt
                self.ask_to_close();
            }
        }
    }

    fn ask_to_close(&mut self) {
        if let Some(note) = self.drain.allowance.note(true) {
            self.keeper.ask(Job::Note(note));
        }
        if let Some(note) = self.timekeeper.note(true) {
            self.keeper.ask(Job::NoteClock(note));
        }
        let marks = self.lanes.last_marks();
        self.keeper.ask(Job::Mark(marks));
        self.keeper.ask(Job::Close);
    }

    /// Waits for the last records that the cluster will never take to be written.
    async fn set_aside(&self) {
        let written = tokio::time::timeout(CLOSING, async {
            while !self.drain.rejected.is_written() {
                tokio::time::sleep(LOOK).await;
            }
        });
        if written.await.is_err() {
            tracing::error!(
                "the disk does not take the last records that the cluster rejected; they are lost"
            );
        }
    }
}
