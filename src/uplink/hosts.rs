//! Hosts of brokers that lead somewhere else than they did.
//!
//! Once connected, librdkafka knows the brokers by the addresses that the cluster named, and goes on trying these, also where
//! the names it was configured with have come to lead to others, as after a move of the cluster (seen with 2.12.1; relative of
//! confluentinc/librdkafka issue 5605). A producer that is begun anew asks by name.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::callbacks::lock;

/// How often names are looked up while no broker is connected.
const EVERY: Duration = Duration::from_secs(10);
const PORT: &str = "9092";

type Addresses = BTreeSet<SocketAddr>;

#[derive(Debug)]
pub(super) struct Hosts {
    /// `host:port` of those brokers that are configured with a name.
    names: Vec<String>,
    /// Where they led when a broker was connected last, or when they were looked up last.
    known: Addresses,
    /// They are known as of the present connection.
    settled: bool,
    found: Arc<Mutex<Addresses>>,
    asking: Arc<AtomicBool>,
    next: Instant,
}

impl Hosts {
    pub(super) fn new(brokers: &[String], now: Instant) -> Hosts {
        let plain = brokers
            .iter()
            .map(|one| one.rsplit("://").next().unwrap_or(one).trim());
        let named = plain.filter(|one| one.parse::<SocketAddr>().is_err());
        let with_port = |one: &str| {
            if one.contains(':') {
                one.to_owned()
            } else {
                format!("{one}:{PORT}")
            }
        };
        Hosts {
            names: named.map(with_port).collect(),
            known: Addresses::new(),
            settled: false,
            found: Arc::default(),
            asking: Arc::default(),
            next: now,
        }
    }

    /// As they are configured.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Looks them up now and then. Returns whether they lead somewhere else than they did, and no broker is connected.
    pub(super) fn moved(&mut self, connected: bool, now: Instant) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let found = std::mem::take(&mut *lock(&self.found));
        let moved = self.take(found, connected);
        if now >= self.next && !self.settled {
            self.next = now + EVERY;
            self.ask();
        }
        moved
    }

    /// Takes in where they lead; nowhere, where that could not be found out.
    fn take(&mut self, found: Addresses, connected: bool) -> bool {
        self.settled &= connected;
        if found.is_empty() || self.settled {
            return false;
        }
        let is_new = !found.is_subset(&self.known);
        let moved = !connected && !self.known.is_empty() && is_new;
        self.settled = connected;
        if connected || is_new {
            self.known = found;
        }
        moved
    }

    /// On a thread of its own: a name server that is away takes its time.
    fn ask(&self) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (names, found) = (self.names.clone(), Arc::clone(&self.found));
        let (asking, undone) = (Arc::clone(&self.asking), Arc::clone(&self.asking));
        let asker = std::thread::Builder::new().name("kafka-hosts".into());
        let spawned = asker.spawn(move || {
            let led = names.iter().filter_map(|name| name.to_socket_addrs().ok());
            let all: Addresses = led.flatten().collect();
            *lock(&found) = all;
            asking.store(false, Ordering::Release);
        });
        if let Err(error) = spawned {
            undone.store(false, Ordering::Release);
            tracing::debug!(%error, "no thread to look up the names of brokers on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_told_once_and_only_while_no_broker_is_connected() {
        let at = |last: u8| Addresses::from([SocketAddr::from(([127, 0, 0, last], 9092))]);
        let mut hosts = Hosts::new(&["a.test".into(), "b.test:1".into()], Instant::now());
        assert_eq!(hosts.names, ["a.test:9092", "b.test:1"]);
        for (found, connected, moved) in [
            (Addresses::new(), false, false),
            (at(1), false, false),
            (at(1), true, false),
            // Connected, it is known where they led when that began.
            (at(2), true, false),
            (Addresses::new(), false, false),
            (at(1), false, false),
            (&at(2) | &at(1), false, true),
            // Not all names can be looked up each time.
            (at(1), false, false),
            (at(2), false, false),
            (at(3), true, false),
            (at(2), false, true),
        ] {
            assert_eq!(hosts.take(found, connected), moved);
        }
    }

    #[test]
    fn addresses_are_no_names() {
        let brokers = ["127.0.0.1:9092", "[::1]:9092", "PLAINTEXT://10.0.0.1:9092"];
        let hosts = Hosts::new(&brokers.map(Into::into), Instant::now());
        assert!(hosts.names.is_empty());
    }
}
