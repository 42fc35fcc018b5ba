//! What the cluster got, watched by a consumer while it is produced: the mock keeps little.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use load::consume::Reader;

use super::{DemoError, tell};
use crate::status::Snapshot;

pub(super) const TOPICS: [&str; 5] = [
    "tidegate.critical",
    "tidegate.state",
    "tidegate.feature",
    "tidegate.diagnostic",
    "tidegate.health",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Before,
    During,
    Draining,
    After,
}

/// What arrived, by lane, and how long alarms took, by the phase in which they were raised.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    ids: BTreeMap<String, HashSet<String>>,
    alarms: Vec<(u64, u64)>,
}

pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// When each phase began, microseconds since 1970.
    phases: Vec<(Phase, u64)>,
}

impl Watch {
    pub(super) fn start(brokers: &str) -> Watch {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (noted, brokers) = (Arc::clone(&seen), brokers.to_owned());
        std::thread::spawn(move || {
            let mut reader = Reader::new(&brokers, &TOPICS, &[]);
            loop {
                let Some(record) = reader.next(Duration::from_millis(100)) else {
                    continue;
                };
                let mut seen = lock(&noted);
                seen.records += 1;
                let id = record.header("ce_id").to_owned();
                let fresh = seen
                    .ids
                    .entry(record.header("tg-lane").to_owned())
                    .or_default()
                    .insert(id);
                if let (true, "critical", Ok(event)) = (
                    fresh,
                    record.header("tg-lane"),
                    load::Numbered::parse(&record.payload),
                ) {
                    seen.alarms
                        .push((event.t, record.received.saturating_sub(event.t)));
                }
            }
        });
        Watch {
            seen,
            phases: Vec::new(),
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phases.push((phase, load::unix_us()));
    }

    pub(super) fn line(&self) -> String {
        let seen = lock(&self.seen);
        let distinct: usize = seen.ids.values().map(HashSet::len).sum();
        format!(
            "the cluster has {} records, {distinct} of them different",
            seen.records
        )
    }

    /// Compares the agent's account with what arrived, and prints both.
    pub(super) fn finish(&self, last: &Snapshot) -> Result<(), DemoError> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) && self.differences(last).is_some() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        self.tell_lanes(last);
        self.tell_alarms();
        match self.differences(last) {
            None => {
                tell(
                    "the account closes: accepted = delivered + dropped, and the cluster has every delivered event",
                );
                Ok(())
            }
            Some(difference) => Err(DemoError::Account(difference)),
        }
    }

    fn tell_lanes(&self, last: &Snapshot) {
        tell("\nthe account:");
        tell(&format!(
            "{:<12}{:>10}{:>11}{:>9}{:>10}",
            "lane", "accepted", "delivered", "dropped", "arrived"
        ));
        let seen = lock(&self.seen);
        for lane in &last.lanes {
            let arrived = seen.ids.get(&lane.name).map_or(0, HashSet::len);
            tell(&format!(
                "{:<12}{:>10}{:>11}{:>9}{arrived:>10}",
                lane.name,
                lane.accepted,
                lane.delivered,
                lane.dropped_in_all()
            ));
        }
        let distinct: u64 = seen.ids.values().map(|ids| ids.len() as u64).sum();
        tell(&format!("duplicates: {}", seen.records - distinct));
    }

    fn tell_alarms(&self) {
        let seen = lock(&self.seen);
        for (index, (phase, from)) in self.phases.iter().enumerate() {
            let to = self.phases.get(index + 1).map_or(u64::MAX, |next| next.1);
            let mut took: Vec<u64> = seen
                .alarms
                .iter()
                .filter(|(at, _)| (*from..to).contains(at))
                .map(|a| a.1)
                .collect();
            took.sort_unstable();
            let at = |percent: usize| {
                took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)))
            };
            let ms = |us: Option<&u64>| {
                us.map_or("-".into(), |us| {
                    format!("{}.{} ms", us / 1000, us % 1000 / 100)
                })
            };
            let name = match phase {
                Phase::Before => "before the outage",
                Phase::During => "during the outage",
                Phase::Draining => "while the backlog drained",
                Phase::After => "after",
            };
            tell(&format!(
                "alarms raised {name}: {}, p50 {}, p99 {}",
                took.len(),
                ms(at(50)),
                ms(at(99))
            ));
        }
    }

    fn differences(&self, last: &Snapshot) -> Option<String> {
        let seen = lock(&self.seen);
        last.lanes.iter().find_map(|lane| {
            let arrived = seen.ids.get(&lane.name).map_or(0, |ids| ids.len() as u64);
            let closes = lane.recovered + lane.accepted
                == lane.delivered + lane.dropped_in_all() + lane.buffered;
            // Reports of the gateway on itself go on while the account is drawn up.
            let complete = lane.name == crate::config::HEALTH || arrived >= lane.delivered;
            (!(closes && complete)).then(|| format!("{}: {lane:?}, {arrived} arrived", lane.name))
        })
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
