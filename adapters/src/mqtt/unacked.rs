//! Messages that wait for their receipt, in the order of arrival.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Outcome, SourceStats};

/// A message that its lane refused is offered again by the broker when we connect anew: after this
/// long, so that other messages of the connection are not repeated all the time.
const REFUSED_RETRY: Duration = Duration::from_secs(5);
/// Without a refused message there is nothing to connect anew for.
const NEVER: Duration = Duration::from_hours(8760);

/// A message that is to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unacknowledged {
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    /// Of its topic, its properties and its payload.
    pub(super) bytes: u32,
    /// Tells it from others with its packet identifier.
    pub(super) content: u32,
    pub(super) waits_for: WaitsFor,
}

/// What a message waits for before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsFor {
    Receipt,
    /// The same, of a retained message with this place in the memory of them.
    ReceiptOfRetained(usize),
    /// Nothing but those before it: it is left out, and has no event.
    Turn,
}

impl Unacknowledged {
    pub(super) fn retained(&self) -> Option<usize> {
        match self.waits_for {
            WaitsFor::ReceiptOfRetained(place) => Some(place),
            WaitsFor::Receipt | WaitsFor::Turn => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Unacked {
    waiting: VecDeque<Unacknowledged>,
    bytes: usize,
    /// How many a broker sends before it waits for an acknowledgement, how many we take, and how many bytes of them.
    window: usize,
    most: usize,
    most_bytes: usize,
    refused: usize,
    retry_at: Instant,
}

impl Unacked {
    pub(super) fn new(window: u16, most: usize, most_bytes: usize) -> Unacked {
        Unacked {
            waiting: VecDeque::new(),
            bytes: 0,
            window: usize::from(window),
            most,
            most_bytes,
            refused: 0,
            retry_at: Instant::now() + NEVER,
        }
    }

    pub(super) fn push(&mut self, message: Unacknowledged) {
        self.bytes += message.bytes as usize;
        self.waiting.push_back(message);
    }

    /// The oldest message, where it waits for no receipt; it is to be acknowledged.
    pub(super) fn left_out(&mut self) -> Option<Unacknowledged> {
        let is_next = |message: &Unacknowledged| message.waits_for == WaitsFor::Turn;
        let message = self.waiting.pop_front_if(|message| is_next(message))?;
        self.bytes -= message.bytes as usize;
        Some(message)
    }

    /// The places of the retained messages that have no receipt yet, the oldest message first.
    pub(super) fn retained(&self) -> impl Iterator<Item = Option<usize>> {
        self.waiting.iter().map(Unacknowledged::retained)
    }

    /// The oldest message has its receipt. Returns what is to be acknowledged.
    pub(super) fn settle(
        &mut self,
        outcome: Outcome,
        stats: &SourceStats,
    ) -> Option<Unacknowledged> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.bytes as usize;
        let qos = message.qos;
        match outcome {
            Outcome::Kept | Outcome::Dropped => (qos > 0).then_some(message),
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

    /// Whether one more message may be read: one always may.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.most && self.bytes < self.most_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The broker will send nothing more, or we read nothing more, until there are receipts.
    pub(super) fn is_full(&self) -> bool {
        let waits = self.waiting.len() + self.refused >= self.window || !self.has_room();
        !self.waiting.is_empty() && waits
    }

    /// When to connect anew for what was refused.
    pub(super) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// Whether the broker sends `more` messages before it waits for an acknowledgement.
    pub(super) fn has_room_for(&self, more: usize) -> bool {
        self.waiting.len() + self.refused + more <= self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_acknowledged_in_its_turn() {
        let mut unacked = Unacked::new(200, 100, 1000);
        let message = |packet_id, waits_for| Unacknowledged {
            packet_id,
            qos: 1,
            bytes: 400,
            content: 0,
            waits_for,
        };
        unacked.push(message(1, WaitsFor::ReceiptOfRetained(5)));
        unacked.push(message(2, WaitsFor::Turn));
        unacked.push(message(3, WaitsFor::Receipt));
        assert_eq!(unacked.left_out(), None);
        assert!(unacked.retained().eq([Some(5), None, None]));
        let stats = SourceStats::default();
        let first = unacked.settle(Outcome::Kept, &stats).unwrap();
        let second = unacked.left_out().unwrap();
        assert_eq!((first.packet_id, second.packet_id), (1, 2));
        assert_eq!(unacked.left_out(), None);
        assert!(unacked.has_room(), "only the third takes room");
    }

    #[test]
    fn what_waits_for_receipts_is_bounded_in_messages_and_in_bytes_and_one_message_always_fits() {
        for (bytes, fits) in [(0, 100), (10, 100), (400, 3), (5_000_000, 1)] {
            let mut unacked = Unacked::new(200, 100, 1000);
            let message = Unacknowledged {
                packet_id: 1,
                qos: 1,
                bytes,
                content: 0,
                waits_for: WaitsFor::Receipt,
            };
            let taken = (1..1000).find(|_| {
                unacked.push(message);
                !unacked.has_room()
            });
            assert_eq!(taken, Some(fits), "messages of {bytes} bytes");
            assert!(unacked.is_full(), "early receipts are asked for");
            assert!(unacked.has_room_for(200 - fits) && !unacked.has_room_for(201 - fits));
            while unacked
                .settle(Outcome::Kept, &SourceStats::default())
                .is_some()
            {}
            assert!(unacked.has_room() && unacked.bytes == 0);
        }
    }
}
