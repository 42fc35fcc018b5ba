//! Stopping goes the way the data goes: sources, ingest, commit, then drain for the rest of the grace.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Agent, End};
use crate::health::LastStop;
use crate::keeper::{Answer, Job};
use crate::record::Record;

/// What of the grace is kept for closing the buffer.
const CLOSING: Duration = Duration::from_secs(1);
/// How long a disk may take to close; after it the next start recovers.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);

/// How often a stop looks whether it can go on.
const LOOK: Duration = Duration::from_millis(50);

/// Of each intent, by name, the events that are only in memory, in order.
pub(crate) type Carried = Vec<(String, Vec<Record>)>;

impl Agent {
    /// Returns what is only in memory, which an agent that follows in this process takes over.
    pub(super) async fn stop(mut self, End { reason, anew }: End) -> Carried {
        let begun = Instant::now();
        let grace = if anew {
            CLOSING
        } else {
            crate::supervisor::stopping();
            self.facts.stop_grace.saturating_sub(CLOSING)
        };
        let grace = begun + grace;
        tracing::info!(reason, "stopping: sources first, then the buffer");
        self.report("stop", &json!({ "reason": reason }), begun);
        self.stopping.send_replace(true);
        // A source may wait for receipts that a failing disk does not give: it keeps what has none.
        while !(self.adapters.is_empty() && self.submissions.is_empty()) && Instant::now() < grace {
            let until = self.step(Instant::now());
            while let Some(ended) = self.adapters.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "a source ended badly; what it had not acknowledged stays with it");
                }
            }
            self.wait(until.min(Instant::now() + LOOK)).await;
        }
        let sent = |agent: &Agent| anew || agent.nothing_to_send();
        while Instant::now() < grace && !(self.lanes.all_stored() && sent(&self)) {
            let until = self.step(Instant::now());
            self.wait(until.min(grace)).await;
        }
        self.close().await;
        let left: u64 = self
            .intents
            .iter()
            .map(|(lane, _)| self.lanes.waiting(lane))
            .sum();
        let seconds = begun.elapsed().as_secs_f64();
        LastStop::in_state(&self.facts.state).note(&json!({ "reason": reason, "buffered": left }));
        tracing::info!(reason, buffered = left, seconds, "tidegate stopped");
        let names = self.intents.iter().map(|(_, intent)| intent.name.clone());
        names.zip(self.lanes.into_unstored()).collect()
    }

    /// Everything is delivered, or there is nobody to deliver to.
    fn nothing_to_send(&self) -> bool {
        !self.drain.link.is_up()
            || self
                .intents
                .iter()
                .all(|(lane, _)| self.lanes.waiting(lane) == 0)
    }

    async fn close(&mut self) {
        // What was delivered meanwhile must not be sent again by the next start.
        self.drain.uplink.hurry();
        let now = Instant::now();
        self.drain.listen(&mut self.lanes, now);
        self.lanes.spare_flash(1.0);
        let closed = tokio::time::timeout(CLOSE_PATIENCE, async {
            while !self.lanes.all_stored() {
                self.lanes.urge();
                self.ask_disk(Instant::now());
                // What is not due yet is asked for again.
                let answer = tokio::time::timeout(LOOK, self.keeper.answer()).await;
                let Ok(answer) = answer else { continue };
                let Some(answer) = answer else { return };
                let refused = matches!(&answer, Answer::Written(all) if all.iter().any(|one| one.outcome.is_err()));
                self.answered(answer, Instant::now());
                if refused {
                    break; // what is only in memory has no receipt
                }
            }
            if let Some(note) = self.drain.allowance.note(true) {
                self.keeper.ask(Job::Note(note));
            }
            let marks = self.lanes.marks_at_once();
            self.keeper.ask(Job::Mark(marks));
            self.keeper.ask(Job::Close);
            while let Some(answer) = self.keeper.answer().await {
                let last = matches!(answer, Answer::Closed(_));
                self.answered(answer, Instant::now());
                if last {
                    return;
                }
            }
        });
        if closed.await.is_err() {
            tracing::warn!("the disk did not close in time; the next start recovers it");
        } else {
            self.keeper.join();
        }
    }
}
