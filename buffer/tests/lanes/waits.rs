//! What can wait, waits for the disk: nothing of it is dropped for a full memory while the disk works.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_buffer::{DropReason, LaneSettings, Order, WhenFull};

use crate::bench::{Bench, LANE, Note, noise, settings};

fn small(when_full: WhenFull, budget: u64) -> LaneSettings {
    LaneSettings {
        burst: 16 * 1024,
        // The memory alone makes a commit due.
        persist_after: Duration::from_mins(1),
        commit_every: Duration::from_mins(1),
        ..settings(Order::InOrder, when_full, budget)
    }
}

/// Whether a record of `size` bytes would have to wait.
fn waits(bench: &mut Bench, size: usize) -> bool {
    let note = Note {
        key: 0,
        number: 0,
        body: noise(0, size),
    };
    bench.lanes.must_wait(LANE, &note).is_some()
}

/// Appends until a record has to wait, or until there are `most` of them.
fn fill(bench: &mut Bench, size: usize, most: u64) -> u64 {
    let mut taken = 0;
    while taken < most && !waits(bench, size) {
        bench.append(size).unwrap();
        taken += 1;
    }
    taken
}

#[test]
fn a_record_waits_for_a_commit_that_is_due_at_once_and_no_longer() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(root.path(), &small(WhenFull::DropOldest, 64 << 20));
    let taken = fill(&mut bench, 1000, 1000);
    assert!((20..40).contains(&taken), "{taken} fill 32 KiB");
    assert!(bench.lanes.next_due(true).unwrap() <= bench.now);
    bench.commit();
    assert!(!waits(&mut bench, 1000), "the disk has made room");
    assert_eq!(bench.counts().dropped.iter().sum::<u64>(), 0);
}

#[test]
fn a_delivery_makes_room_as_well() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(root.path(), &small(WhenFull::DropOldest, 64 << 20));
    let taken = fill(&mut bench, 1000, 1000);
    let sent = bench.send(10);
    bench.deliver(&sent);
    assert!(!waits(&mut bench, 1000));
    assert!(taken > 10 && fill(&mut bench, 1000, 1000) >= 8);
}

#[test]
fn nothing_waits_for_a_disk_that_fails_and_policy_decides() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(root.path(), &small(WhenFull::DropOldest, 64 << 20));
    bench.failing = true;
    fill(&mut bench, 1000, 1000);
    bench.commit();
    assert_eq!(fill(&mut bench, 1000, 100), 100, "it is taken");
    assert!(bench.dropped(DropReason::Memory) > 0);
    bench.failing = false;
    bench.now += Duration::from_secs(10);
    bench.commit();
    assert!(fill(&mut bench, 1000, 1000) < 100, "it waits again");
}

#[test]
fn a_lane_that_refuses_does_so_only_when_its_budget_is_full() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(root.path(), &small(WhenFull::Refuse, 2 << 20));
    let mut taken = 0;
    loop {
        if waits(&mut bench, 1000) {
            bench.commit();
        } else if bench.append(1000).is_err() {
            break;
        } else {
            taken += 1;
        }
    }
    assert!(taken > 1200, "{taken} in a budget of 2 MiB");
    assert_eq!(bench.counts().dropped.iter().sum::<u64>(), 0);
}

proptest! {
    /// Records of any size, commits and deliveries at any time: what waits when it is told to is never dropped for memory, memory
    /// stays within its limit and one record, and one record always fits at last.
    #[test]
    fn what_waits_is_not_dropped_for_memory(
        steps in prop::collection::vec((1_usize..90_000, 0_u8..3), 1..60),
        live_first in any::<bool>(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let order = if live_first { Order::LiveFirst } else { Order::InOrder };
        let settings = LaneSettings { order, ..small(WhenFull::DropOldest, 64 << 20) };
        let mut bench = Bench::open(root.path(), &settings);
        for (size, what) in steps {
            let mut waited = 0;
            while waits(&mut bench, size) {
                waited += 1;
                prop_assert!(waited < 10, "it waits for nothing");
                prop_assert!(bench.lanes.next_due(true).is_some_and(|due| due <= bench.now));
                bench.commit();
            }
            bench.append(size).unwrap();
            match what {
                0 => bench.commit(),
                1 => {
                    let sent = bench.send(3);
                    bench.deliver(&sent);
                }
                _ => {}
            }
            bench.now += Duration::from_millis(10);
        }
        prop_assert_eq!(bench.dropped(DropReason::Memory), 0);
        prop_assert!(bench.account_closes());
    }
}

#[test]
fn what_is_newer_waits_for_what_may_come_back() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(root.path(), &small(WhenFull::DropOldest, 64 << 20));
    for _ in 0..6 {
        bench.append(100).unwrap();
    }
    let sent = bench.send(3);
    bench.lanes.hold(LANE);
    bench.lanes.retry_deferred();
    assert_eq!(
        bench.send(1),
        [],
        "the client library was asked for it back"
    );
    bench.deliver(&sent[..1]);
    for (token, _) in &sent[1..] {
        bench.lanes.put_back(LANE, *token);
    }
    bench.lanes.settle();
    let numbers: Vec<u64> = bench.send(9).iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // Nothing is under way: there is nothing to wait for.
    let mut idle = Bench::open(
        tempfile::tempdir().unwrap().path(),
        &small(WhenFull::DropOldest, 64 << 20),
    );
    idle.append(100).unwrap();
    idle.lanes.hold(LANE);
    assert_eq!(idle.send(1).len(), 1);
}
