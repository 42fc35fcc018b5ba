//! What is known of one connection's way to the cluster, and how much may be on it. Pure: time comes in as an argument.
//!
//! Behind the lanes there is no priority and no shaping: what waits in librdkafka or in the kernel goes out before
//! all that comes later. So no more is handed over than the link delivers in a second and a few round trips: enough to
//! keep it busy, also while a lost packet is sent again. A slower link or broker delivers less, and is given less;
//! errors halve it; a quota of the cluster is found from its throttling, and kept under by pacing.

mod quota;

use std::time::{Duration, Instant};

use self::quota::Quota;
use crate::pace::number;
use crate::pace::pacer::Pacer;
use crate::pace::room::Room;

/// Always allowed in flight, in bytes: what is known after the first answers takes it from there.
const CAP_MIN: f64 = 64.0 * 1024.0;
/// Handed over ahead, as time on the link.
const AHEAD: Duration = Duration::from_secs(1);
const ROUND_TRIPS: u32 = 4;
/// Goodput is taken over this time, and the best of so many such times counts: a loss or a leader's pause moves bytes
/// from one to the next.
const WINDOW: Duration = Duration::from_secs(1);
const WINDOWS: usize = 10;
/// What a window with errors leaves of the allowance, and what one without gives back.
const BACK: f64 = 0.5;
const RETURN: f64 = 1.25;
const ALLOWANCE_MIN: f64 = 1.0 / 64.0;

/// What keeps records from being handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// As many are on their way as the link delivers.
    Link,
    /// The rate that a client quota on the cluster allows.
    Quota,
}

/// Of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    /// Never more than this in flight, in bytes.
    most: f64,
    in_flight: usize,
    /// Bytes a second of the last windows, the newest first.
    goodput: [f64; WINDOWS],
    since: Instant,
    delivered: usize,
    failed: bool,
    /// Share of what the link delivers; less after errors.
    allowance: f64,
    /// The least round trip of a request since the connection began.
    round_trip: Option<Duration>,
    hold: Option<Hold>,
    quota: Quota,
    /// Counts in seconds, since the rate of a quota changes.
    pacer: Pacer,
}

impl Flow {
    #[must_use]
    pub(crate) fn new(most: usize, now: Instant) -> Flow {
        Flow {
            most: float(most),
            in_flight: 0,
            goodput: [0.0; WINDOWS],
            since: now,
            delivered: 0,
            failed: false,
            allowance: 1.0,
            round_trip: None,
            hold: None,
            quota: Quota::default(),
            pacer: Pacer::new(1.0),
        }
    }

    /// Bytes that may leave now; or none, until a moment or until something comes back. `next` is the size of the
    /// record that is to leave; one larger than all that is allowed goes alone.
    pub(crate) fn ask(&mut self, next: usize, now: Instant) -> Room {
        self.end_window(now);
        let mut room = self.cap(now).saturating_sub(self.in_flight);
        if self.in_flight == 0 {
            room = room.max(next);
        }
        if room < next {
            self.hold = Some(Hold::Link);
            return Room::WhenDelivered;
        }
        let paced = self.quota.rate(now).and(self.pacer.next_turn(now));
        self.hold = paced.map(|_| Hold::Quota);
        match paced {
            Some(until) => Room::Until(until),
            None => Room::Now(room),
        }
    }

    /// As much is under way as librdkafka sends before it has an answer.
    pub(crate) fn filled(&mut self) {
        self.hold = Some(Hold::Link);
    }

    /// Bytes under way.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn cap(&self, now: Instant) -> usize {
        let ahead = AHEAD + self.round_trip.unwrap_or_default() * ROUND_TRIPS;
        // What a broker takes after a silence is no measure of what it allows.
        let rate = self.quota.rate(now).unwrap_or(f64::INFINITY);
        let carried = self.goodput().min(rate) * ahead.as_secs_f64();
        number::bytes((carried.max(CAP_MIN) * self.allowance).min(self.most))
    }

    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) {
        self.in_flight += bytes;
        if let Some(rate) = self.quota.rate(now) {
            self.pacer.charge(float(bytes) / rate, 1.0, now);
        }
    }

    /// `bytes` no longer count, and say nothing of the link.
    pub(crate) fn forget(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// `bytes` came back, delivered or not.
    pub(crate) fn landed(&mut self, bytes: usize, delivered: bool, now: Instant) {
        self.end_window(now);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if delivered {
            self.delivered += bytes;
            self.quota.delivered(bytes, now);
        }
        self.failed |= !delivered;
    }

    /// Ends a window that is over. One in which nothing came back says nothing.
    fn end_window(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        if took < WINDOW {
            return;
        }
        if self.delivered > 0 {
            self.goodput.rotate_right(1);
            self.goodput[0] = float(self.delivered) / took.as_secs_f64();
        }
        self.allowance = match (self.failed, self.delivered) {
            (true, _) => (self.allowance * BACK).max(ALLOWANCE_MIN),
            (false, 0) => self.allowance,
            (false, _) => (self.allowance * RETURN).min(1.0),
        };
        (self.since, self.delivered, self.failed) = (now, 0, false);
    }

    /// Statistics: the least round trip of the last requests.
    pub(crate) fn took(&mut self, round_trip: Duration) {
        let least = self
            .round_trip
            .map_or(round_trip, |least| least.min(round_trip));
        self.round_trip = Some(least);
    }

    /// A broker took more than a quota allows, and stays silent for `wait`.
    pub(crate) fn throttled(&mut self, wait: Duration, now: Instant) {
        self.quota.throttled(wait, now);
    }

    /// What keeps records waiting, if something does.
    #[must_use]
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// The least round trip of a request.
    #[must_use]
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Bytes a second that were delivered in the best of the last windows.
    #[must_use]
    pub(crate) fn goodput(&self) -> f64 {
        self.goodput.iter().copied().fold(0.0, f64::max)
    }

    /// Bytes a second that a quota of the cluster was found to allow.
    #[must_use]
    pub(crate) fn quota(&self, now: Instant) -> Option<f64> {
        self.quota.rate(now)
    }
}

fn float(bytes: usize) -> f64 {
    number::float(bytes as u64)
}

#[cfg(test)]
mod replayed;
#[cfg(test)]
mod tests;
