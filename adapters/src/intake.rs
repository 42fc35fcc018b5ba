//! The way in: a source's events go into its queue, and receipts come back in the order of submission.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::queue::{Bound, Inlet, Patience, Queue, Submission};
use crate::receipt::Claimant;
use crate::{Clock, Event, Receipts, SourceStats, Stamp};

/// The way in for one source, or for one of its clients.
#[derive(Debug)]
pub struct Intake {
    inlet: Inlet,
    queue: Arc<Queue>,
    claimant: Claimant,
    urge: Arc<Urge>,
    clock: Clock,
    pub stats: Arc<SourceStats>,
}

impl Intake {
    #[must_use]
    pub fn new(
        source: &str,
        inlet: &Inlet,
        urge: Arc<Urge>,
        clock: Clock,
        stats: Arc<SourceStats>,
    ) -> (Intake, Receipts) {
        Intake::bounded(source, inlet, urge, clock, stats, Bound::SOURCE)
    }

    /// Another way in with a queue and receipts of its own, for a source with several clients: one that is paused holds up no
    /// other.
    #[must_use]
    pub fn split(&self) -> (Intake, Receipts) {
        let (urge, stats) = (Arc::clone(&self.urge), Arc::clone(&self.stats));
        let source = self.queue.source();
        let clock = self.clock.clone();
        Intake::bounded(source, &self.inlet, urge, clock, stats, Bound::CLIENT)
    }

    fn bounded(
        source: &str,
        inlet: &Inlet,
        urge: Arc<Urge>,
        clock: Clock,
        stats: Arc<SourceStats>,
        bound: Bound,
    ) -> (Intake, Receipts) {
        let queue = inlet.open(source, Arc::clone(&stats), bound);
        let (claimant, receipts) = Receipts::new();
        let intake = Intake {
            inlet: inlet.clone(),
            queue,
            claimant,
            urge,
            clock,
            stats,
        };
        (intake, receipts)
    }

    /// Hands an event over; waits while the queue is full. After the agent has gone the receipt says
    /// [`crate::Refused::Stopping`].
    pub async fn submit(&self, event: Event, patience: Patience) {
        self.room().await;
        self.stats.received.fetch_add(1, Ordering::Relaxed);
        let claim = self.claimant.open();
        self.queue.push(Submission {
            event,
            claim,
            patience,
        });
    }

    /// Whether [`Intake::submit`] would not wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Waits until the queue has room. Safe to cancel.
    pub async fn room(&self) {
        self.queue.room().await;
    }

    /// Asks for the receipts of what was submitted as soon as may be: the source will send nothing until it has some, or all.
    pub fn urge(&self) {
        self.claimant.awaits();
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
