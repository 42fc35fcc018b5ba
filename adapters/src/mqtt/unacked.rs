//! Messages that wait for their receipt, in the order of arrival.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Outcome, SourceStats};

/// A message that its lane refused is offered again by the broker when we connect anew: after this
/// long, so that other messages of the connection are not repeated all the time.
const REFUSED_RETRY: Duration = Duration::from_secs(5);
/// Messages taken at once that make a pause before the next read worth it.
const GATHER_FROM: usize = 2;
/// Without a refused message there is nothing to connect anew for.
const NEVER: Duration = Duration::from_hours(8760);

#[derive(Debug)]
pub(super) struct Unacked {
    /// Packet identifier and QoS.
    waiting: VecDeque<(u16, u8)>,
    window: usize,
    refused: usize,
    retry_at: Instant,
    last_batch: usize,
}

impl Unacked {
    /// How long a read waits under load for more to arrive.
    pub(super) const GATHER: Duration = Duration::from_millis(2);

    pub(super) fn new(window: u16) -> Unacked {
        Unacked {
            waiting: VecDeque::new(),
            window: usize::from(window),
            refused: 0,
            retry_at: Instant::now() + NEVER,
            last_batch: 0,
        }
    }

    pub(super) fn push(&mut self, packet_id: u16, qos: u8) {
        self.waiting.push_back((packet_id, qos));
    }

    /// The oldest message has its receipt. Returns what is to be acknowledged.
    pub(super) fn settle(&mut self, outcome: Outcome, stats: &SourceStats) -> Option<(u16, u8)> {
        let (packet_id, qos) = self.waiting.pop_front()?;
        match outcome {
            Outcome::Kept | Outcome::Dropped => (qos > 0).then_some((packet_id, qos)),
            Outcome::Refused(_) => {
                stats.refused.fetch_add(1, Ordering::Relaxed);
                if self.refused == 0 && qos > 0 {
                    self.retry_at = Instant::now() + REFUSED_RETRY;
                }
                self.refused += usize::from(qos > 0);
                None
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The broker will send nothing more until it has an acknowledgement.
    pub(super) fn is_full(&self) -> bool {
        !self.waiting.is_empty() && self.waiting.len() + self.refused >= self.window
    }

    /// When to connect anew for what was refused.
    pub(super) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    pub(super) fn arrived(&mut self, batch: usize) {
        self.last_batch = batch;
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.last_batch >= GATHER_FROM
    }
}
