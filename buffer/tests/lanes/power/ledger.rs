//! What a worker promised, and whether a buffer keeps it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use tidegate_buffer::{DropReason, Keys, LaneDisk, LaneSettings, Order, WhenFull};

use crate::bench::{Bench, LANE};
use crate::harm::{copy, stored};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Had a receipt for being on disk.
    stored: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    dropped: Vec<RangeInclusive<u64>>,
}

impl Ledger {
    pub(super) fn read<'a>(said: impl Iterator<Item = &'a str>) -> Ledger {
        let mut ledger = Ledger::default();
        for line in said {
            let mut words = line.split(' ');
            let word = words.next().unwrap();
            let numbers: Vec<u64> = words.map(|number| number.parse().unwrap()).collect();
            match word {
                "stored" => drop(ledger.stored.insert(numbers[0])),
                "delivered" => drop(ledger.delivered.insert(numbers[0])),
                "dropped" => ledger.dropped.push(numbers[0]..=numbers[1]),
                "begun" => {}
                other => panic!("nobody says {other}"),
            }
        }
        ledger
    }

    /// As [`Ledger::check`], on a copy, of a buffer that nobody harmed.
    pub(super) fn check_copy(&self, root: &Path, policy: &(LaneSettings, LaneDisk), what: &str) {
        let directory = tempfile::tempdir().unwrap();
        copy(root, directory.path());
        self.check(directory.path(), policy, what, |_| false);
    }

    /// The buffer in `root` opens, also after `harm`, which says whether it was done to the marks, and everything
    /// with a receipt comes back as it was and in order, unless it was dropped, and that said, or hit itself.
    pub(super) fn check(
        &self,
        root: &Path,
        (settings, disk): &(LaneSettings, LaneDisk),
        what: &str,
        harm: impl FnOnce(&Path) -> bool,
    ) {
        std::fs::create_dir_all(root.join("lanes")).unwrap();
        let keys = Keys::default();
        let before = stored(root, &keys);
        let marks_hit = harm(root);
        let hit = before - stored(root, &keys);
        let mut bench = Bench::open_as(root, settings, disk.clone(), &keys);
        let found = bench.drain();
        assert!(bench.account_closes(), "{what}: {:?}", bench.counts());
        if settings.order == Order::InOrder {
            assert!(found.is_sorted(), "{what}: {found:?}");
        }
        let mut said = self.dropped.clone();
        let drops = bench.lanes.take_drops(LANE).into_iter();
        let by_policy = drops.filter(|drop| drop.reason != DropReason::Damage);
        said.extend(by_policy.map(|drop| drop.first..=drop.last));
        said.sort_by_key(|span| *span.start());
        // For each span, where the furthest of it and those before it ends.
        let ends = said.iter().scan(0, |furthest, span| {
            *furthest = (*span.end()).max(*furthest);
            Some(*furthest)
        });
        let ends: Vec<u64> = ends.collect();
        let was_said = |number: u64| {
            let begun = said.partition_point(|span| *span.start() <= number);
            begun
                .checked_sub(1)
                .is_some_and(|last| ends[last] >= number)
        };
        let found: BTreeSet<u64> = found.into_iter().collect();
        let lost = self.stored.iter().filter(|number| {
            let there = found.contains(number) || self.delivered.contains(number);
            !there && !was_said(**number)
        });
        let lost: Vec<&u64> = lost.collect();
        // Without the marks, nothing says what policy dropped last.
        let unsaid = marks_hit && settings.when_full != WhenFull::Refuse;
        assert!(
            lost.len() as u64 <= hit || unsaid,
            "{what}: {} lost with a receipt, {hit} were hit: {lost:?}\n{:?}",
            lost.len(),
            bench.findings
        );
        bench.mark();
        bench.disk.close().unwrap();
        let again = Bench::open_as(root, settings, disk.clone(), &keys);
        assert_eq!(again.counts().recovered, 0, "{what}: it was all delivered");
    }
}
