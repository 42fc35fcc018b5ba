//! Messages that wait for their receipt, in the order of arrival.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Outcome, SourceStats};

/// A message that its lane refused is offered again by the broker when we connect anew: after this
/// long, so that other messages of the connection are not repeated all the time.
const REFUSED_RETRY: Duration = Duration::from_secs(5);
/// Messages taken at once that make a pause before the next read worth it.
const GATHER_FROM: usize = 2;
/// mosquitto 2.0.11 sends nothing more on a connection on which it had to repeat QoS 2 messages: when
/// it is silent for so long after that, we connect anew.
const REPEATED_SILENCE: Duration = Duration::from_secs(2);
/// Without a refused message there is nothing to connect anew for.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
pub(super) struct Unacked {
    /// Packet identifier and QoS.
    waiting: VecDeque<(u16, u8)>,
    window: usize,
    refused: usize,
    retry_at: Instant,
    last_batch: usize,
    /// The broker repeated a PUBREL, and when it last sent something.
    repeated: Option<Instant>,
    /// QoS 2 messages of this connection that wait for their PUBREL.
    unreleased: HashSet<u16>,
}

impl Unacked {
    /// How long a read waits under load for more to arrive.
    pub(super) const GATHER: Duration = Duration::from_millis(1);

    pub(super) fn new(window: u16) -> Unacked {
        Unacked {
            waiting: VecDeque::new(),
            window: usize::from(window),
            refused: 0,
            retry_at: Instant::now() + NEVER,
            last_batch: 0,
            repeated: None,
            unreleased: HashSet::new(),
        }
    }

    /// `repeated` says that the broker offers it again (DUP).
    pub(super) fn push(&mut self, packet_id: u16, qos: u8, repeated: bool) {
        if repeated && qos == 2 {
            self.repeated();
        }
        self.waiting.push_back((packet_id, qos));
    }

    /// The oldest message has its receipt. Returns what is to be acknowledged.
    pub(super) fn settle(&mut self, outcome: Outcome, stats: &SourceStats) -> Option<(u16, u8)> {
        let (packet_id, qos) = self.waiting.pop_front()?;
        match outcome {
            Outcome::Kept | Outcome::Dropped => {
                if qos == 2 {
                    self.unreleased.insert(packet_id);
                }
                (qos > 0).then_some((packet_id, qos))
            }
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

    /// When to connect anew, for what was refused or because the broker may be stuck.
    pub(super) fn retry_at(&self) -> Instant {
        self.repeated.map_or(self.retry_at, |silent| {
            self.retry_at.min(silent + REPEATED_SILENCE)
        })
    }

    pub(super) fn arrived(&mut self, batch: usize) {
        self.last_batch = batch;
        if self.repeated.is_some() {
            self.repeated = Some(Instant::now());
        }
    }

    /// A PUBREL came for this message.
    pub(super) fn released(&mut self, packet_id: u16) {
        if !self.unreleased.remove(&packet_id) {
            self.repeated();
        }
    }

    /// The broker repeats a PUBREL of an earlier connection.
    pub(super) fn repeated(&mut self) {
        self.repeated = Some(Instant::now());
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.last_batch >= GATHER_FROM
    }
}
