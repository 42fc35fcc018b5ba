//! A bounded queue for each source, and the agent's turns through them.
//!
//! A queue holds events up to a count and up to a number of bytes (one event always fits). The agent takes from the queues in
//! turns, a few dozen events of each, so that a source with much holds up no other by more than that. A queue whose next event
//! has to wait for room in its lane is *paused*: it stays as it is, in order, and its source is held up by its own back-pressure
//! once it is full. Only queues that have something are looked at: a source that is silent costs nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::pause::Pause;
use crate::{Claim, Event, SourceStats};

/// Events that are taken from one source before the next one has its turn: half a millisecond of work at most.
const TURN: usize = 64;

/// An event on its way in, with the claim to its receipt.
#[derive(Debug)]
pub struct Submission {
    pub event: Event,
    pub claim: Claim,
    pub patience: Patience,
}

/// What happens to an event for which its lane has no room yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Its source can wait: it is paused until there is room.
    Waits,
    /// Its source cannot wait: the lane takes it, and loses something by its policy.
    CannotWait,
}

/// What a queue holds at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    events: usize,
    bytes: usize,
}

impl Bound {
    /// A millisecond of events at the highest rate, and eight records of 32 KiB.
    pub(crate) const SOURCE: Bound = Bound {
        events: 1024,
        bytes: 256 * 1024,
    };
    /// There may be many clients of one source.
    pub(crate) const CLIENT: Bound = Bound {
        events: 256,
        bytes: 64 * 1024,
    };
}

/// Opens a new set of queues: where sources get theirs, and the agent's end of all of them. `W` is what a paused queue waits for.
#[must_use]
pub fn queues<W>() -> (Inlet, Queues<W>) {
    let shared = Arc::new(Shared::default());
    let queues = Queues {
        shared: Arc::clone(&shared),
        batch: Vec::with_capacity(TURN),
        paused: Vec::new(),
    };
    (Inlet(shared), queues)
}

/// Where sources get their queues.
#[derive(Debug, Clone)]
pub struct Inlet(Arc<Shared>);

impl Inlet {
    pub(crate) fn open(&self, source: &str, stats: Arc<SourceStats>, bound: Bound) -> Arc<Queue> {
        Arc::new(Queue {
            source: source.into(),
            stats,
            bound,
            held: Mutex::default(),
            freed: Notify::new(),
            shared: Arc::clone(&self.0),
        })
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Queues that have something and are not paused, in the order of their turns.
    ready: Mutex<VecDeque<Arc<Queue>>>,
    filled: Notify,
    /// The agent has gone.
    closed: AtomicBool,
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Arc<Queue>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, queue: Arc<Queue>) {
        self.ready().push_back(queue);
        self.filled.notify_one();
    }
}

/// Events of one source that wait to be taken.
#[derive(Debug)]
pub(crate) struct Queue {
    source: Box<str>,
    stats: Arc<SourceStats>,
    bound: Bound,
    held: Mutex<Held>,
    /// There is room again.
    freed: Notify,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Held {
    submissions: VecDeque<Submission>,
    bytes: usize,
    /// It is among the ready ones, or paused.
    listed: bool,
}

impl Queue {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn has_room(&self) -> bool {
        let held = self.held();
        held.submissions.len() < self.bound.events && held.bytes < self.bound.bytes
    }

    pub(crate) async fn room(&self) {
        while !self.has_room() && !self.shared.closed.load(Ordering::Relaxed) {
            self.freed.notified().await;
        }
    }

    pub(crate) fn push(self: &Arc<Queue>, submission: Submission) {
        if self.shared.closed.load(Ordering::Relaxed) {
            return; // the claim says that the agent stops
        }
        let mut held = self.held();
        held.bytes += bytes(&submission);
        held.submissions.push_back(submission);
        let listed = std::mem::replace(&mut held.listed, true);
        drop(held);
        if !listed {
            self.shared.list(Arc::clone(self));
        }
    }

    fn pop(&self, most: usize, into: &mut Vec<Submission>) {
        let mut held = self.held();
        let count = most.min(held.submissions.len());
        into.extend(held.submissions.drain(..count));
        held.bytes -= into.iter().map(bytes).sum::<usize>();
    }

    /// What was taken out and not taken in, in order, is its beginning again.
    fn put_back(&self, first: Submission, rest: impl DoubleEndedIterator<Item = Submission>) {
        let mut held = self.held();
        for submission in std::iter::once(first).chain(rest).rev() {
            held.bytes += bytes(&submission);
            held.submissions.push_front(submission);
        }
    }

    /// Whether there is more; if not, the next push lists it again.
    fn has_more(&self) -> bool {
        let mut held = self.held();
        held.listed = !held.submissions.is_empty();
        held.listed
    }
}

fn bytes(submission: &Submission) -> usize {
    submission.event.bytes() + size_of::<Submission>()
}

/// The agent's end of all queues.
#[derive(Debug)]
pub struct Queues<W> {
    shared: Arc<Shared>,
    batch: Vec<Submission>,
    /// Those that are paused, and those that were until a moment ago.
    paused: Vec<(Arc<Queue>, Pause<W>)>,
}

/// A source that is paused, as the status shows it.
#[derive(Debug)]
pub struct Paused<'a, W> {
    pub source: &'a str,
    pub waits_for: &'a W,
}

impl<W> Queues<W> {
    /// Waits until there is something to take. Safe to cancel.
    pub async fn filled(&self) {
        while self.shared.ready().is_empty() {
            self.shared.filled.notified().await;
        }
        // Sources that share the thread have their turn now and then, however much is here.
        tokio::task::coop::consume_budget().await;
    }

    /// Takes up to `most` events, the queues in turns. `take` gives back an event that has to wait, and what for: its queue is
    /// paused.
    pub fn take(
        &mut self,
        most: usize,
        now: Instant,
        mut take: impl FnMut(Submission) -> Result<(), (Box<Submission>, W)>,
    ) {
        let mut left = most;
        while left > 0 {
            let Some(queue) = self.shared.ready().pop_front() else {
                return;
            };
            queue.pop(TURN.min(left), &mut self.batch);
            left -= self.batch.len();
            let mut batch = self.batch.drain(..);
            let refused = batch.by_ref().find_map(|submission| take(submission).err());
            if let Some((first, waits_for)) = refused {
                queue.put_back(*first, batch);
                self.pause(queue, waits_for, now);
                continue;
            }
            drop(batch);
            queue.freed.notify_one();
            if queue.has_more() {
                self.shared.ready().push_back(queue);
            }
        }
    }

    fn pause(&mut self, queue: Arc<Queue>, waits_for: W, now: Instant) {
        if queue.has_room() {
            queue.freed.notify_one();
        }
        let known = self.paused.iter_mut();
        let mut same = known.filter(|(one, _)| Arc::ptr_eq(one, &queue));
        if let Some((_, pause)) = same.next() {
            pause.again(waits_for, now);
        } else {
            queue.stats.pauses.fetch_add(1, Ordering::Relaxed);
            self.paused.push((queue, Pause::new(waits_for, now)));
        }
    }

    /// Gives a turn to each paused queue that need not wait any more.
    pub fn resume(&mut self, now: Instant, mut waits: impl FnMut(&W) -> bool) {
        self.paused.retain_mut(|(queue, pause)| {
            if pause.holds() && !waits(&pause.waits_for) {
                count(queue, pause, now);
                pause.free(now);
                self.shared.list(Arc::clone(queue));
            }
            !pause.is_over(now)
        });
    }

    /// Counts the time of pauses up to now, and says which have lasted long and were not told of yet.
    pub fn tell(&mut self, now: Instant, mut told: impl FnMut(&str, &W, Duration)) {
        for (queue, pause) in &mut self.paused {
            count(queue, pause, now);
            if let Some(lasted) = pause.tell(now) {
                told(&queue.source, &pause.waits_for, lasted);
            }
        }
    }

    /// The sources that are paused, or were within the last second.
    pub fn paused(&self) -> impl Iterator<Item = Paused<'_, W>> {
        self.paused.iter().map(|(queue, pause)| Paused {
            source: &queue.source,
            waits_for: &pause.waits_for,
        })
    }

    /// Nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.ready().is_empty() && !self.paused.iter().any(|(_, pause)| pause.holds())
    }
}

fn count<W>(queue: &Queue, pause: &mut Pause<W>, now: Instant) {
    let more = u64::try_from(pause.count(now).as_micros()).unwrap_or(u64::MAX);
    queue.stats.paused_us.fetch_add(more, Ordering::Relaxed);
}

impl<W> Drop for Queues<W> {
    /// What is left stays with its source: the claims say so.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        let ready = std::mem::take(&mut *self.shared.ready());
        let paused = self.paused.drain(..).map(|(queue, _)| queue);
        for queue in ready.into_iter().chain(paused) {
            let left = std::mem::take(&mut queue.held().submissions);
            drop(left);
            queue.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
