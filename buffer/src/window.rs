//! The window: records that were handed out to be sent and are not yet settled.

use std::collections::VecDeque;
use std::time::Instant;

use crate::block::Placed;

/// A record in memory.
#[derive(Debug)]
pub(crate) struct Entry<R, T> {
    pub(crate) placed: Placed<R>,
    /// Gone once the receipt was given.
    pub(crate) claim: Option<T>,
    pub(crate) bytes: usize,
    pub(crate) arrived: Instant,
    /// Read back from disk.
    pub(crate) replay: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flight {
    Sent,
    /// Delivered or dropped: leaves with the next [`Window::settle`].
    Done,
    /// Cannot be delivered for now; leaves once it is stored.
    Deferred,
}

#[derive(Debug)]
pub(crate) struct Window<R, T> {
    sent: VecDeque<(Entry<R, T>, Flight)>,
    /// Token of the first record of `sent`.
    base: u64,
    /// Records in it whose delivery is awaited, and their bytes.
    in_flight: usize,
    bytes: usize,
    deferred: usize,
}

impl<R, T> Window<R, T> {
    pub(crate) fn new() -> Self {
        Window {
            sent: VecDeque::new(),
            base: 0,
            in_flight: 0,
            bytes: 0,
            deferred: 0,
        }
    }

    /// Records whose delivery is awaited.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// It holds records that cannot be delivered for now, and leave it once they are stored.
    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred > 0
    }

    /// Bytes of the records in flight.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn next_token(&self) -> u64 {
        self.base + self.sent.len() as u64
    }

    pub(crate) fn push(&mut self, entry: Entry<R, T>) {
        self.in_flight += 1;
        self.bytes += entry.bytes;
        self.sent.push_back((entry, Flight::Sent));
    }

    /// Its delivery is no longer awaited. Returns it if it was in flight.
    pub(crate) fn land(&mut self, token: u64, as_what: Flight) -> Option<&mut Entry<R, T>> {
        let index = usize::try_from(token.checked_sub(self.base)?).ok()?;
        let (entry, flight) = self.sent.get_mut(index)?;
        if *flight != Flight::Sent {
            return None;
        }
        *flight = as_what;
        self.in_flight -= 1;
        self.bytes -= entry.bytes;
        self.deferred += usize::from(as_what == Flight::Deferred);
        Some(entry)
    }

    /// The record of this token, if it is in flight.
    pub(crate) fn sent(&self, token: u64) -> Option<&Entry<R, T>> {
        let index = usize::try_from(token.checked_sub(self.base)?).ok()?;
        let (entry, flight) = self.sent.get(index)?;
        (*flight == Flight::Sent).then_some(entry)
    }

    /// Takes from the front what is done, and what is deferred and stored; in a lane that `keeps`, only what is stored.
    pub(crate) fn settle(&mut self, stored_to: u64, keeps: bool) -> Option<(Entry<R, T>, Flight)> {
        let leaves = |(entry, flight): &(Entry<R, T>, Flight)| match flight {
            Flight::Sent => false,
            Flight::Done => !keeps || entry.placed.sequence < stored_to,
            Flight::Deferred => entry.placed.sequence < stored_to,
        };
        let gone = self.sent.pop_front_if(|item| leaves(item))?;
        self.base += 1;
        self.deferred -= usize::from(gone.1 == Flight::Deferred);
        Some(gone)
    }

    /// Takes all out, to be sent again.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (Entry<R, T>, Flight)> {
        self.base += self.sent.len() as u64;
        (self.in_flight, self.bytes, self.deferred) = (0, 0, 0);
        std::mem::take(&mut self.sent).into_iter()
    }

    /// Entries that are not done, in the order of sending.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Entry<R, T>> {
        self.sent
            .iter()
            .filter(|(_, flight)| *flight != Flight::Done)
            .map(|(entry, _)| entry)
    }

    /// Entries that are to be on disk, in the order of sending.
    pub(crate) fn to_store(&self, keeps: bool) -> impl Iterator<Item = &Entry<R, T>> {
        let wanted = move |(_, flight): &&(Entry<R, T>, Flight)| keeps || *flight != Flight::Done;
        self.sent.iter().filter(wanted).map(|(entry, _)| entry)
    }

    pub(crate) fn open_mut(&mut self) -> impl Iterator<Item = &mut Entry<R, T>> {
        self.sent
            .iter_mut()
            .filter(|(_, flight)| *flight != Flight::Done)
            .map(|(entry, _)| entry)
    }

    pub(crate) fn last_sequence(&self) -> Option<u64> {
        self.sent.back().map(|(entry, _)| entry.placed.sequence)
    }
}
