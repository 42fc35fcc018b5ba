//! The way in: events go to the agent, receipts come back in the order of submission.
//!
//! Receipts are not a future an event but a queue a source: MQTT wants its acknowledgements in the
//! order of arrival anyway, and a queue costs a few nanoseconds where a channel an event costs a
//! microsecond.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::{Clock, Event, Stamp};

/// An event on its way in, with the claim to its receipt.
#[derive(Debug)]
pub struct Submission {
    pub event: Event,
    pub claim: Claim,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The agent answers for it from now on.
    Kept,
    /// Dropped on purpose, by its lane's policy or because no lane could ever take it, and counted:
    /// offering it again would not help.
    Dropped,
    Refused(Refused),
}

/// The event is still the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its lane is full and is set to refuse.
    Full,
    /// The agent stopped before the event was kept.
    Stopping,
}

/// The way in for one source.
#[derive(Debug)]
pub struct Intake {
    sender: mpsc::Sender<Submission>,
    claims: Arc<Claims>,
    urge: Arc<Urge>,
    clock: Clock,
    pub stats: Arc<SourceStats>,
}

/// What an operator wants to know of a source.
#[derive(Debug, Default)]
pub struct SourceStats {
    pub connected: AtomicBool,
    pub received: AtomicU64,
    pub refused: AtomicU64,
    /// Failures to connect or to read, since the start.
    pub errors: AtomicU64,
    last_error: Mutex<String>,
}

impl SourceStats {
    pub fn up(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    pub fn down(&self, why: &dyn ToString) {
        self.connected.store(false, Ordering::Relaxed);
        self.error(why);
    }

    pub fn error(&self, why: &dyn ToString) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = why.to_string();
    }

    #[must_use]
    pub fn last_error(&self) -> String {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The agent's end of the way in: the events of all sources.
#[must_use]
pub fn channel(room: usize) -> (mpsc::Sender<Submission>, mpsc::Receiver<Submission>) {
    mpsc::channel(room)
}

impl Intake {
    #[must_use]
    pub fn new(
        sender: mpsc::Sender<Submission>,
        urge: Arc<Urge>,
        clock: Clock,
    ) -> (Intake, Receipts) {
        let claims = Arc::new(Claims::default());
        let intake = Intake {
            sender,
            claims: Arc::clone(&claims),
            urge,
            clock,
            stats: Arc::default(),
        };
        (intake, Receipts { claims })
    }

    /// Another way in with receipts of its own, for a source with several clients.
    #[must_use]
    pub fn split(&self) -> (Intake, Receipts) {
        let (intake, receipts) =
            Intake::new(self.sender.clone(), Arc::clone(&self.urge), self.clock);
        (
            Intake {
                stats: Arc::clone(&self.stats),
                ..intake
            },
            receipts,
        )
    }

    /// Hands an event over, waiting for room: the agent's queue is bounded. After the agent has gone
    /// the receipt says [`Refused::Stopping`].
    pub async fn submit(&self, event: Event) {
        self.stats.received.fetch_add(1, Ordering::Relaxed);
        let claim = Claims::open(&self.claims);
        let submission = Submission { event, claim };
        if let Err(mpsc::error::SendError(submission)) = self.sender.send(submission).await {
            submission
                .claim
                .resolve(Outcome::Refused(Refused::Stopping));
        }
    }

    /// Asks for receipts as soon as may be: the source will send nothing until it has some.
    pub fn urge(&self) {
        self.urge.asked.store(true, Ordering::Relaxed);
        self.urge.notify.notify_one();
    }

    #[must_use]
    pub fn now(&self) -> Stamp {
        self.clock.stamp()
    }
}

/// A source's wish for an early commit.
#[derive(Debug, Default)]
pub struct Urge {
    asked: AtomicBool,
    notify: Notify,
}

impl Urge {
    pub async fn asked(&self) {
        self.notify.notified().await;
    }

    /// Whether it was asked since the last call.
    pub fn take(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Claims {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Number of the first of `outcomes`.
    base: u64,
    outcomes: VecDeque<Option<Outcome>>,
}

impl Claims {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(claims: &Arc<Claims>) -> Claim {
        let mut queue = claims.queue();
        queue.outcomes.push_back(None);
        let number = queue.base + queue.outcomes.len() as u64 - 1;
        Claim {
            open: Some((Arc::clone(claims), number)),
        }
    }

    fn resolve(&self, number: u64, outcome: Outcome) {
        let mut queue = self.queue();
        let index = usize::try_from(number - queue.base).unwrap_or(usize::MAX);
        if let Some(slot) = queue.outcomes.get_mut(index) {
            *slot = Some(outcome);
        }
        // Only the head can let receipts out; anything else changes nothing for the reader.
        if index == 0 {
            self.changed.notify_one();
        }
    }
}

/// The claim to the receipt of an event. One that is lost says "stopping".
#[derive(Debug)]
pub struct Claim {
    open: Option<(Arc<Claims>, u64)>,
}

impl Claim {
    pub fn resolve(mut self, outcome: Outcome) {
        if let Some((claims, number)) = self.open.take() {
            claims.resolve(number, outcome);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((claims, number)) = self.open.take() {
            claims.resolve(number, Outcome::Refused(Refused::Stopping));
        }
    }
}

/// Receipts of one source, in the order of submission.
#[derive(Debug)]
pub struct Receipts {
    claims: Arc<Claims>,
}

impl Receipts {
    /// The next receipt if it is there.
    pub fn ready(&mut self) -> Option<Outcome> {
        let mut queue = self.claims.queue();
        let outcome = queue.outcomes.front().copied().flatten()?;
        queue.outcomes.pop_front();
        queue.base += 1;
        Some(outcome)
    }

    /// Waits until [`Receipts::ready`] may have something. Safe to cancel.
    pub async fn changed(&self) {
        self.claims.changed.notified().await;
    }

    /// The next receipt.
    pub async fn next(&mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.ready() {
                return outcome;
            }
            self.changed().await;
        }
    }

    /// Waits for all of them.
    pub async fn all(&mut self) {
        while self.outstanding() > 0 {
            self.next().await;
        }
    }

    /// Submitted events whose receipt was not taken yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.claims.queue().outcomes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_leave_in_the_order_of_submission_whatever_the_order_they_come_in() {
        let claims = Arc::new(Claims::default());
        let mut receipts = Receipts {
            claims: Arc::clone(&claims),
        };
        let claims: Vec<Claim> = (0..3).map(|_| Claims::open(&claims)).collect();
        let [first, second, third] = <[Claim; 3]>::try_from(claims).unwrap();
        third.resolve(Outcome::Kept);
        drop(second);
        assert_eq!(receipts.ready(), None);
        first.resolve(Outcome::Dropped);
        let all: Vec<_> = std::iter::from_fn(|| receipts.ready()).collect();
        assert_eq!(
            all,
            [
                Outcome::Dropped,
                Outcome::Refused(Refused::Stopping),
                Outcome::Kept
            ]
        );
        assert_eq!(receipts.outstanding(), 0);
    }
}
