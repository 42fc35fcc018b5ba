//! The lanes against a plain list: whatever is done to them, and to their disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_buffer::{
    DropReason, Finding, Keep, Kept, Keys, LaneDisk, LaneSettings, Order, WhenFull,
};

use crate::bench::{Bench, LANE, Note, lane, settings};
use crate::harm::{Damage, copy, hurt, stored};

#[derive(Debug, Clone)]
enum Step {
    Append(usize, usize),
    Commit,
    Send(usize),
    Deliver(usize),
    Resend,
    /// A topic is forbidden from here on, or no more: that of odd keys.
    Forbid(bool),
    /// The disk takes no more, or again.
    Fail(bool),
    Mark,
    Tidy(bool),
    Wait(u64),
    Link(bool),
    Restart,
    /// What the kernel has is what is left: `kill -9`.
    Crash,
    /// A crash, and then this becomes of a file.
    Damage(Damage, prop::sample::Index, prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let damage = prop::sample::select(&Damage::ALL[..]);
    let at = any::<prop::sample::Index>();
    let step = prop_oneof![
        8 => (1usize..40, 50usize..600).prop_map(|(count, size)| Step::Append(count, size)),
        1 => (1usize..3, 100_000usize..700_000).prop_map(|(count, size)| Step::Append(count, size)),
        6 => Just(Step::Commit),
        4 => (1usize..80).prop_map(Step::Send),
        4 => (1usize..80).prop_map(Step::Deliver),
        1 => Just(Step::Resend),
        1 => any::<bool>().prop_map(Step::Forbid),
        1 => any::<bool>().prop_map(Step::Fail),
        2 => Just(Step::Mark),
        1 => any::<bool>().prop_map(Step::Tidy),
        1 => (1u64..100_000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Link),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => (damage, at, any::<prop::sample::Index>()).prop_map(|(damage, file, at)| Step::Damage(damage, file, at)),
    ];
    prop::collection::vec(step, 1..80)
}

fn policies() -> impl Strategy<Value = (LaneSettings, LaneDisk)> {
    let order = prop_oneof![Just(Order::InOrder), Just(Order::LiveFirst)];
    let full = prop_oneof![
        Just(WhenFull::Refuse),
        Just(WhenFull::DropOldest),
        Just(WhenFull::DropNewest),
        Just(WhenFull::CoalesceLatest),
    ];
    // Small enough to be used up, or so large that nothing need be dropped.
    let budget = prop_oneof![Just(1u64 << 20), Just(1 << 30)];
    let aged = proptest::option::weighted(0.2, (60u64..200).prop_map(Duration::from_secs));
    let keep = proptest::option::weighted(
        0.2,
        Just(Keep {
            age: Duration::from_secs(90),
            bytes: 400_000,
        }),
    );
    (order, full, budget, any::<bool>(), aged, keep).prop_map(
        |(order, full, budget, coalesce, max_age, keep)| {
            let settings = LaneSettings {
                keeps: keep.is_some(),
                ..settings(order, full, budget)
            };
            let disk = LaneDisk {
                coalesce,
                max_age,
                keep,
                ..lane(&settings)
            };
            (settings, disk)
        },
    )
}

struct World {
    settings: LaneSettings,
    disk: LaneDisk,
    keys: Keys,
    bench: Bench,
    root: tempfile::TempDir,
    in_flight: Vec<(u64, u64)>,
    receipts: BTreeMap<u64, Kept>,
    /// Numbers in the order in which they were delivered.
    arrived: Vec<u64>,
    /// The topic of odd keys is not taken.
    forbidden: bool,
    dropped: BTreeMap<DropReason, u64>,
    /// Records that were in blocks that a damage hit.
    damaged: u64,
    was_damaged: bool,
    marks_hit: bool,
}

impl World {
    fn begin(settings: LaneSettings, disk: LaneDisk, keys: Keys) -> World {
        let root = tempfile::tempdir().unwrap();
        let bench = Bench::open_as(root.path(), &settings, disk.clone(), &keys);
        World {
            settings,
            disk,
            keys,
            bench,
            root,
            in_flight: Vec::new(),
            receipts: BTreeMap::new(),
            arrived: Vec::new(),
            forbidden: false,
            dropped: BTreeMap::new(),
            damaged: 0,
            was_damaged: false,
            marks_hit: false,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(count, size) => (0..*count).for_each(|_| drop(self.bench.append(*size))),
            Step::Commit => self.bench.commit(),
            Step::Send(count) => {
                let sent = self.bench.send(*count);
                let taken = self.defer_forbidden(sent);
                self.in_flight.extend(taken);
            }
            Step::Deliver(count) => {
                let count = (*count).min(self.in_flight.len());
                let landed = self.in_flight.drain(..count).collect();
                let taken = self.defer_forbidden(landed);
                self.arrived.extend(taken.iter().map(|(_, number)| *number));
                self.bench.deliver(&taken);
            }
            Step::Forbid(forbidden) => {
                // What is under way is not taken either.
                let under_way = std::mem::take(&mut self.in_flight);
                self.in_flight = self.defer_forbidden(under_way);
                self.forbidden = *forbidden;
                if !forbidden {
                    self.bench.lanes.retry_deferred();
                }
            }
            Step::Fail(failing) => self.bench.failing = *failing,
            Step::Resend => {
                self.bench.lanes.resend(LANE);
                self.in_flight.clear();
            }
            Step::Mark => self.bench.mark(),
            Step::Tidy(all) => {
                let tidied = self.bench.disk.tidy(self.bench.now, *all).unwrap();
                self.bench.lanes.tidied(&tidied);
            }
            Step::Wait(millis) => self.bench.now += Duration::from_millis(*millis),
            Step::Link(up) => self.bench.outage = !up,
            Step::Restart | Step::Crash => self.reopen(matches!(step, Step::Restart), |_| false),
            Step::Damage(damage, file, at) => self.reopen(false, |root| {
                hurt(root, *damage, file.index(usize::MAX), at.index(usize::MAX))
            }),
        }
        assert!(
            self.bench.account_closes(),
            "{:?} waiting {}",
            self.bench.counts(),
            self.bench.lanes.waiting(LANE)
        );
        let bytes = self.bench.lanes.bytes(LANE).0;
        assert!(bytes <= self.settings.budget, "{bytes} bytes on disk");
    }

    /// Those that are not.
    fn defer_forbidden(&mut self, sent: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        let is_forbidden = |number| self.forbidden && Note::key_of(number) % 2 == 1;
        let (forbidden, taken): (Vec<_>, Vec<_>) = sent
            .into_iter()
            .partition(|(_, number)| is_forbidden(*number));
        for (token, _) in forbidden {
            self.bench.lanes.defer(LANE, token);
        }
        taken
    }

    /// Starts again from what is on disk; a clean end closes it before.
    fn reopen(&mut self, clean: bool, harm: impl FnOnce(&Path) -> bool) {
        let fresh = tempfile::tempdir().unwrap();
        if clean {
            self.bench.commit();
            self.bench.last_mark();
        } else {
            copy(self.root.path(), fresh.path());
        }
        self.receipts.extend(self.bench.receipts.take());
        self.note_drops();
        let (number, delivered, mut sequences, now, outage) = (
            self.bench.number,
            std::mem::take(&mut self.bench.delivered),
            std::mem::take(&mut self.bench.sequences),
            self.bench.now,
            self.bench.outage,
        );
        if clean {
            let next = Bench::open_as(fresh.path(), &self.settings, self.disk.clone(), &self.keys);
            let last = std::mem::replace(&mut self.bench, next);
            last.disk.close().unwrap();
            let dir = tempfile::tempdir().unwrap();
            copy(self.root.path(), dir.path());
            self.root = dir;
        } else {
            let before = stored(fresh.path(), &self.keys);
            if harm(fresh.path()) {
                self.marks_hit = true;
                // What is left of the marks may be older, and say of fewer sequences that they were given out.
                sequences.clear();
            }
            let after = stored(fresh.path(), &self.keys);
            self.damaged += before - after;
            self.was_damaged |= before != after;
            self.root = fresh;
        }
        let fresh = Bench::open_as(
            self.root.path(),
            &self.settings,
            self.disk.clone(),
            &self.keys,
        );
        self.bench = Bench {
            now,
            outage,
            number,
            delivered,
            sequences,
            ..fresh
        };
        self.in_flight.clear();
    }

    fn note_drops(&mut self) {
        let damage = self.bench.dropped(DropReason::Damage);
        // Where a block is missing that the marks know nothing of yet, what was delivered from memory in between
        // and never written counts as missing too. Without the last marks, so does what policy dropped since.
        // The same goes for a record that was dropped as too large: it has a sequence, and was never written.
        let too_large = |world: &World| {
            let before = world.dropped.get(&DropReason::TooLarge);
            before.copied().unwrap_or(0) + world.bench.dropped(DropReason::TooLarge)
        };
        let most = self.damaged + self.bench.delivered.len() as u64 + too_large(self);
        assert!(
            damage <= most || self.marks_hit,
            "{damage} counted as damaged, {most} could be"
        );
        for reason in DropReason::ALL {
            *self.dropped.entry(reason).or_default() += self.bench.dropped(reason);
        }
    }

    fn end(mut self) {
        self.bench.failing = false;
        self.bench.lanes.resend(LANE);
        self.bench.lanes.retry_deferred();
        let rest = self.bench.drain();
        self.arrived.extend(&rest);
        self.bench.delivered.extend(rest);
        self.receipts.extend(self.bench.receipts.take());
        self.note_drops();
        assert_eq!(self.bench.lanes.waiting(LANE), 0);
        let delivered: BTreeSet<u64> = self.bench.delivered.iter().copied().collect();
        let kept = self
            .receipts
            .iter()
            .filter(|(_, kept)| **kept != Kept::Dropped);
        // Damaged marks no longer say what policy dropped last.
        let drops = self.disk.coalesce
            || self.disk.max_age.is_some()
            || !matches!(
                self.settings.when_full,
                WhenFull::Refuse | WhenFull::DropNewest
            );
        let unsaid = self.marks_hit && drops;
        let lost: Vec<u64> = kept
            .map(|(number, _)| *number)
            .filter(|number| !delivered.contains(number))
            .filter(|_| !unsaid)
            .collect();
        // Of the very last that was stored only its own block knows, if it was hit.
        let dropped: u64 = self.dropped.values().sum::<u64>() + self.damaged;
        assert!(
            lost.len() as u64 <= dropped,
            "{} lost with a receipt, {:?} accounted for: {lost:?}",
            lost.len(),
            self.dropped
        );
        self.the_latest_of_each_key_is_there(&delivered);
        if self.settings.order == Order::InOrder {
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for number in self.arrived.iter().filter(|number| seen.insert(**number)) {
                let before = last.insert(Note::key_of(*number), *number);
                assert!(before < Some(*number), "{number} after {before:?}");
            }
        }
    }

    /// However much was coalesced: unless something else was dropped too.
    fn the_latest_of_each_key_is_there(&self, delivered: &BTreeSet<u64>) {
        if self
            .dropped
            .iter()
            .any(|(reason, count)| *reason != DropReason::Coalesced && *count > 0)
            || self.was_damaged
        {
            return;
        }
        let kept = self
            .receipts
            .iter()
            .filter(|(_, kept)| **kept != Kept::Dropped);
        let latest: BTreeMap<u64, u64> = kept
            .map(|(number, _)| (Note::key_of(*number), *number))
            .collect();
        for (key, number) in latest {
            // What came later without a receipt may stand for it.
            let later = delivered
                .range(number..)
                .any(|later| Note::key_of(*later) == key);
            assert!(later, "{number}, the latest of {key}, is lost");
        }
    }
}

proptest! {
    // `PROPTEST_CASES=5000` for more; tests/bars/model does that.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_with_a_receipt_is_lost_unaccounted(
        (settings, disk) in policies(), steps in steps(), encrypted in any::<bool>(),
    ) {
        let keys: Vec<String> = encrypted.then(|| "42".repeat(32)).into_iter().collect();
        let mut world = World::begin(settings, disk, Keys::parse(&keys).unwrap());
        for step in &steps {
            world.take(step);
        }
        world.end();
    }
}

/// Starts after kills leave sequences out that were never given out: they are not lost, whichever block of their generation is damaged.
#[test]
fn what_starts_left_out_is_not_counted_as_damaged() {
    let settings = settings(Order::InOrder, WhenFull::Refuse, 64 << 20);
    let disk = LaneDisk {
        coalesce: true,
        ..lane(&settings)
    };
    // One block of each life of the agent, with this many records.
    for hit in 1..=3 {
        let mut world = World::begin(settings.clone(), disk.clone(), Keys::default());
        for records in 1..=3 {
            for step in [Step::Append(records, 50), Step::Commit, Step::Crash] {
                world.take(&step);
            }
        }
        world.take(&Step::Tidy(true)); // into one generation
        world.take(&Step::Restart);
        world.reopen(false, |root| {
            let log = root.join("lanes/state/00000000000000000000/db");
            std::fs::remove_file(log.with_file_name("sealed")).unwrap();
            let sound = std::fs::read(&log).unwrap();
            let is_hit = |at: usize| {
                let mut bytes = sound.clone();
                bytes[at] ^= 0x10;
                std::fs::write(&log, bytes).unwrap();
                stored(root, &Keys::default()) == 6 - hit
            };
            assert!((0..sound.len()).any(is_hit), "a block of {hit}");
            false
        });
        assert_eq!(world.bench.dropped(DropReason::Damage), hit);
        let is_other =
            |one: &Finding| matches!(one, Finding::Damaged { records, .. } if *records != hit);
        assert!(!world.bench.findings.iter().any(is_other));
        world.end();
    }
}
