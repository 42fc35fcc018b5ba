//! What could not be delivered, and goes again.

use super::Lane;
use crate::settings::Order;
use crate::window::Flight;
use crate::{Claim, Record};

impl<R: Record, T: Claim> Lane<R, T> {
    /// It cannot be delivered for now: it makes way, and is read again after [`Lane::retry_deferred`].
    pub(crate) fn defer(&mut self, token: u64) {
        self.window.land(token, Flight::Deferred);
    }

    /// It is to be sent again: in order, nothing that is newer is handed out before that.
    pub(crate) fn put_back(&mut self, token: u64) {
        self.defer(token);
        self.retrying |= self.settings.order == Order::InOrder;
    }

    /// What is in flight may come back: in order, nothing more is handed out before it has landed.
    pub(crate) fn hold(&mut self) {
        self.retrying |= self.settings.order == Order::InOrder && self.window.in_flight() > 0;
    }

    /// Nothing more is handed out until that is done: what is newer must not overtake it.
    pub(crate) fn retry_deferred(&mut self) {
        self.retrying |= self.has_deferred();
        self.retry_once_landed();
    }

    /// Once nothing is in flight: what is on disk is read again, and what is not goes back to the front.
    pub(crate) fn retry_once_landed(&mut self) {
        if !self.retrying || self.reading || self.window.in_flight() > 0 {
            return;
        }
        self.retrying = false;
        self.take_back();
        self.ahead_bytes = 0;
        let mut held = Vec::from(std::mem::take(&mut self.ahead));
        held.sort_by_key(|entry| entry.placed.sequence);
        for entry in held.into_iter().rev() {
            self.cursor = self.cursor.min(entry.placed.sequence);
            if entry.placed.sequence < self.stored_to {
                self.memory -= entry.bytes;
            } else {
                self.front.push_front(entry);
            }
        }
        self.cursor = self
            .cursor
            .min(self.deferred_from.take().unwrap_or(self.cursor));
    }

    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred_from.is_some() || self.window.has_deferred()
    }

    /// Everything in flight is to be sent again, in order, and with it what was deferred: what is newer must not overtake it.
    pub(crate) fn resend(&mut self) {
        self.take_back();
        self.retrying |= self.deferred_from.is_some();
        self.retry_once_landed();
    }

    /// Takes back what is in flight.
    pub(crate) fn take_back(&mut self) {
        self.settle();
        let sent: Vec<_> = self.window.take_all().collect();
        for (entry, flight) in sent.into_iter().rev() {
            match flight {
                Flight::Done => self.forget(&entry),
                Flight::Sent | Flight::Deferred => {
                    self.ahead_bytes += entry.bytes;
                    self.ahead.push_front(entry);
                }
            }
        }
    }
}
