//! Receipts come back in the order of submission.
//!
//! They are not a future an event but a queue a source: MQTT wants its acknowledgements in the
//! order of arrival anyway, and a queue costs a few nanoseconds where a channel an event costs a
//! microsecond.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

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

#[derive(Debug, Default)]
struct Claims {
    queue: Mutex<Queue>,
    changed: Notify,
    /// The source waits for the receipts of claims before this number.
    awaited_to: AtomicU64,
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

/// Where one source's claims are opened.
#[derive(Debug)]
pub(crate) struct Claimant(Arc<Claims>);

impl Claimant {
    /// The source waits for the receipts of all claims that are open.
    pub(crate) fn awaits(&self) {
        let queue = self.0.queue();
        let end = queue.base + queue.outcomes.len() as u64;
        self.0.awaited_to.store(end, Ordering::Relaxed);
    }

    /// The next claim; its receipt comes after those of all claims before it.
    pub(crate) fn open(&self) -> Claim {
        let mut queue = self.0.queue();
        queue.outcomes.push_back(None);
        let number = queue.base + queue.outcomes.len() as u64 - 1;
        Claim {
            open: Some((Arc::clone(&self.0), number)),
        }
    }
}

/// The claim to the receipt of an event. One that is lost says "stopping".
#[derive(Debug)]
pub struct Claim {
    open: Option<(Arc<Claims>, u64)>,
}

impl Claim {
    /// Whether its source waits for its receipt.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|(claims, number)| *number < claims.awaited_to.load(Ordering::Relaxed))
    }

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
    /// The receipts of one source, and where its claims are opened.
    pub(crate) fn new() -> (Claimant, Receipts) {
        let claims = Arc::new(Claims::default());
        (Claimant(Arc::clone(&claims)), Receipts { claims })
    }

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
        let (claimant, mut receipts) = Receipts::new();
        let claims: Vec<Claim> = (0..3).map(|_| claimant.open()).collect();
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

    #[test]
    fn a_source_waits_for_what_it_has_submitted_and_not_for_what_comes_after() {
        let (claimant, mut receipts) = Receipts::new();
        let first = claimant.open();
        assert!(!first.is_awaited());
        claimant.awaits();
        assert!(first.is_awaited() && !claimant.open().is_awaited());
        first.resolve(Outcome::Kept);
        assert_eq!(receipts.ready(), Some(Outcome::Kept));
        let last = claimant.open();
        assert!(!last.is_awaited());
        claimant.awaits();
        assert!(last.is_awaited());
    }
}
