//! The sockets of all connections are set as they come and go.

use std::time::{Duration, Instant};

use super::Uplink;
use super::sockets::{self, Wish};

/// How often sockets are looked up and set.
const SET_SOCKETS: Duration = Duration::from_secs(5);
impl Uplink {
    /// Sockets come and go with brokers, so they are looked up each time.
    pub(super) fn set_sockets(&mut self, now: Instant) {
        if self.next_set.is_none_or(|due| now < due) {
            return;
        }
        self.next_set = Some(now + SET_SOCKETS);
        let wishes = self
            .connections
            .iter()
            .enumerate()
            .map(|(number, one)| Wish {
                number,
                dscp: if one.is_urgent() {
                    self.dscp.urgent
                } else {
                    self.dscp.other
                },
            });
        if let Err(error) = sockets::set(&wishes.collect::<Vec<_>>()) {
            tracing::warn!(%error, "the kernel lets no socket be set: packets carry no DSCP marks, and a dead route is noticed late");
            self.next_set = None;
        }
    }
}
