//! The promises of the buffer, on real directories.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod awaited;

mod bench;

mod harm;

mod large;

mod model;

mod pace;

mod power;

mod reads;

mod shapes;

mod waits;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bench::{Bench, LANE, Note, lane, settings};
use proptest::prelude::*;
use tidegate_buffer::{Disk, DropReason, Kept, Keys, LaneDisk, Order, Refusal, WhenFull};

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Commit,
    Send(usize),
    Deliver(usize),
    Resend,
    /// So many of what is in flight fail, and the producer with them: all is to be sent again.
    Fail(usize),
    Mark,
    /// Killed: what was only in memory is gone.
    Kill,
    Link(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..40).prop_map(Step::Append),
        3 => Just(Step::Commit),
        3 => (1usize..60).prop_map(Step::Send),
        3 => (1usize..60).prop_map(Step::Deliver),
        1 => Just(Step::Resend),
        1 => (1usize..60).prop_map(Step::Fail),
        1 => Just(Step::Mark),
        1 => Just(Step::Kill),
        1 => any::<bool>().prop_map(Step::Link),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a plain list: nothing with a receipt is lost, first deliveries are in order, and the
    /// account closes after every step, kills included.
    #[test]
    fn what_has_a_receipt_is_delivered_in_order(steps in steps(), live_first in any::<bool>()) {
        let root = tempfile::tempdir().unwrap();
        let order = if live_first { Order::LiveFirst } else { Order::InOrder };
        let settings = settings(order, WhenFull::DropOldest, 64 << 20);
        let mut bench = Bench::open(root.path(), &settings);
        let mut in_flight = Vec::new();
        let mut receipts = BTreeMap::new();
        for step in steps {
            match step {
                Step::Append(count) => for _ in 0..count { bench.append(200).unwrap(); },
                Step::Commit => bench.commit(),
                Step::Send(count) => in_flight.extend(bench.send(count)),
                Step::Deliver(count) => {
                    let count = count.min(in_flight.len());
                    let sent: Vec<_> = in_flight.drain(..count).collect();
                    bench.deliver(&sent);
                }
                Step::Resend => { bench.lanes.resend(LANE); in_flight.clear(); }
                Step::Fail(count) => {
                    for (token, _) in in_flight.drain(..).take(count) {
                        bench.lanes.defer(LANE, token);
                    }
                    bench.lanes.settle();
                    bench.lanes.resend(LANE);
                }
                Step::Mark => bench.mark(),
                Step::Link(up) => bench.outage = !up,
                Step::Kill => {
                    let Bench { lanes, disk, receipts: given, number, delivered, sequences, .. } = bench;
                    drop((lanes, disk));
                    receipts.extend(given.take());
                    in_flight.clear();
                    bench = Bench { number, delivered, sequences, ..Bench::open(root.path(), &settings) };
                    prop_assert!(bench.findings.is_empty(), "{:?}", bench.findings);
                }
            }
            prop_assert!(bench.account_closes(), "{:?} waiting {}", bench.counts(), bench.lanes.waiting(LANE));
        }
        bench.lanes.resend(LANE);
        let last = bench.drain();
        bench.delivered.extend(last);
        receipts.extend(bench.receipts.take());
        for (number, kept) in receipts.iter().filter(|(_, kept)| **kept != Kept::Dropped) {
            prop_assert!(bench.delivered.contains(number), "{number} had receipt {kept:?} and was lost");
        }
        if !live_first {
            let mut seen = std::collections::BTreeSet::new();
            let first: Vec<_> = bench.delivered.iter().filter(|number| seen.insert(**number)).collect();
            prop_assert!(first.is_sorted(), "{first:?}");
        }
        prop_assert_eq!(bench.dropped(DropReason::Damage), 0);
    }
}

#[test]
fn a_backlog_far_beyond_memory_comes_back_in_order_after_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::DropOldest, 1 << 30);
    let mut bench = Bench::open(root.path(), &settings);
    for _ in 0..2_000 {
        for _ in 0..20 {
            bench.append(300).unwrap();
        }
        bench.commit();
        assert!(
            bench.lanes.bytes(LANE).1 <= settings.memory,
            "memory is bounded"
        );
    }
    drop(bench);
    let mut bench = Bench::open(root.path(), &settings);
    assert_eq!(bench.counts().recovered, 40_000);
    assert_eq!(bench.drain(), (0..40_000).collect::<Vec<_>>());
    bench.mark();
    assert!(
        bench.lanes.bytes(LANE).0 < 1 << 20,
        "what was delivered is deleted"
    );
}

#[test]
fn a_full_lane_that_refuses_stays_within_its_budget_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::Refuse, 2 << 20);
    let mut bench = Bench::open(root.path(), &settings);
    let refused_at = loop {
        match bench.append(400) {
            Ok(_) => bench.commit(),
            Err(Refusal::Full(_)) => break bench.number,
        }
    };
    assert!(refused_at > 2_000);
    assert!(bench.lanes.bytes(LANE).0 <= settings.budget);
    assert_eq!(bench.drain(), (0..refused_at).collect::<Vec<_>>());
}

#[test]
fn a_full_lane_that_drops_its_oldest_says_which() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::DropOldest, 2 << 20);
    let mut bench = Bench::open(root.path(), &settings);
    for _ in 0..400 {
        for _ in 0..40 {
            bench.append(400).unwrap();
        }
        bench.commit();
        assert!(bench.lanes.bytes(LANE).0 <= settings.budget);
        assert!(bench.account_closes());
    }
    let dropped = bench.dropped(DropReason::Budget);
    assert!(dropped > 8_000, "{dropped}");
    let ranges = bench.lanes.take_drops(LANE);
    assert_eq!(ranges.iter().map(|drop| drop.count).sum::<u64>(), dropped);
    assert_eq!(bench.drain(), (dropped..16_000).collect::<Vec<_>>());
}

#[test]
fn a_full_lane_that_coalesces_keeps_the_latest_of_each_key() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::CoalesceLatest, 2 << 20);
    let mut bench = Bench::open(root.path(), &settings);
    for _ in 0..400 {
        for _ in 0..40 {
            bench.append(400).unwrap();
        }
        bench.commit();
        assert!(
            bench.account_closes(),
            "{:?} {}",
            bench.counts(),
            bench.lanes.waiting(LANE)
        );
    }
    assert!(bench.dropped(DropReason::Coalesced) > 8_000);
    assert_eq!(bench.dropped(DropReason::Budget), 0);
    drop(bench);
    let mut bench = Bench::open(root.path(), &settings);
    let left = bench.drain();
    assert!(left.is_sorted());
    assert_eq!(
        (bench.dropped(DropReason::Damage), left.last()),
        (0, Some(&15_999))
    );
}

#[test]
fn a_burst_that_the_disk_cannot_follow_is_coalesced_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::CoalesceLatest, 2 << 20);
    let mut bench = Bench::open(root.path(), &settings);
    for _ in 0..20_000 {
        bench.append(400).unwrap();
    }
    assert!(bench.dropped(DropReason::Coalesced) > 10_000);
    assert_eq!(bench.dropped(DropReason::Memory), 0);
    assert!(bench.account_closes());
    let left = bench.drain();
    assert!(left.is_sorted());
    assert_eq!(left.last(), Some(&19_999));
}

#[test]
fn a_damaged_generation_is_set_aside_salvaged_and_its_loss_counted() {
    for (damage, at) in [("flip", 0.5), ("zero", 0.3), ("zero", 0.7), ("cut", 0.6)] {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(Order::InOrder, WhenFull::DropOldest, 1 << 30);
        let mut bench = Bench::open(root.path(), &settings);
        for _ in 0..100 {
            for _ in 0..40 {
                bench.append(400).unwrap();
            }
            bench.commit();
        }
        bench.mark();
        drop(bench);
        damage_a_generation(root.path(), damage, at);
        let mut bench = Bench::open(root.path(), &settings);
        let left = bench.drain();
        let lost = bench.dropped(DropReason::Damage);
        assert!(left.is_sorted(), "{damage} at {at}");
        assert_eq!(
            left.len() as u64 + lost,
            4_000,
            "{damage} at {at}: every record is there or counted"
        );
        assert!(
            damage == "cut" || lost <= 120,
            "{damage} at {at}: {lost} lost"
        );
        assert!(bench.account_closes());
    }
}

fn damage_a_generation(root: &Path, damage: &str, at: f64) {
    let mut logs: Vec<_> = std::fs::read_dir(root.join("lanes/state"))
        .unwrap()
        .map(|e| e.unwrap().path().join("db"))
        .collect();
    logs.sort();
    let log = logs.first().unwrap();
    let mut bytes = std::fs::read(log).unwrap();
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a small file"
    )]
    let place = (used as f64 * at) as usize;
    match damage {
        "flip" => bytes[place] ^= 0x10,
        "zero" => bytes[place..place + 4096].fill(0),
        "cut" => bytes.truncate(place),
        other => unreachable!("no damage is called {other}"),
    }
    std::fs::write(log, bytes).unwrap();
}

#[test]
fn deferred_records_make_way_and_come_back() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(
        root.path(),
        &settings(Order::InOrder, WhenFull::DropOldest, 1 << 30),
    );
    for _ in 0..30 {
        bench.append(100).unwrap();
    }
    let sent = bench.send(30);
    let (odd, even): (Vec<_>, Vec<_>) = sent.into_iter().partition(|(_, number)| number % 2 == 1);
    for (token, _) in odd {
        bench.lanes.defer(LANE, token);
    }
    bench.deliver(&even);
    bench.now += Duration::from_secs(2);
    bench.commit();
    bench.deliver(&[]);
    bench.lanes.retry_deferred();
    assert_eq!(
        bench.drain(),
        (0..30).filter(|number| number % 2 == 1).collect::<Vec<_>>()
    );
    assert!(bench.account_closes() && bench.lanes.waiting(LANE) == 0);
}

/// Made by the version that wrote format 1: 300 records, of which the first 100 were delivered and marked.
#[test]
fn a_buffer_of_format_1_is_read() {
    let root = tempfile::tempdir().unwrap();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lanes/format-1.tar.gz");
    let unpacked = std::process::Command::new("tar")
        .args(["-xzf", archive, "-C"])
        .arg(root.path())
        .status();
    assert!(unpacked.unwrap().success());
    let settings = settings(Order::InOrder, WhenFull::DropOldest, 2 << 20);
    let mut bench = Bench::open(root.path(), &settings);
    assert_eq!(bench.number, 300);
    for _ in 0..10 {
        bench.append(100).unwrap();
    }
    bench.commit();
    assert_eq!(bench.drain(), (100..310).collect::<Vec<_>>());
    let format = std::fs::read_to_string(root.path().join("FORMAT")).unwrap();
    assert_eq!((format.trim(), bench.findings.len()), ("3", 0));
}

/// 10 hours of an outage in which 20 devices say how they are every 6 seconds.
#[test]
fn a_lane_that_coalesces_keeps_about_one_record_of_each_device_however_long_the_outage() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::CoalesceLatest, 2 << 20);
    let disk = LaneDisk {
        coalesce: true,
        ..lane(&settings)
    };
    let mut bench = Bench::open_as(root.path(), &settings, disk, &Keys::default());
    for minute in 0..600 {
        for _ in 0..200 {
            bench.append(100).unwrap();
        }
        bench.commit();
        bench.now += Duration::from_mins(1);
        if minute % 5 == 0 {
            let tidied = bench.disk.tidy(bench.now, false).unwrap();
            bench.lanes.tidied(&tidied);
        }
    }
    let tidied = bench.disk.tidy(bench.now, true).unwrap();
    bench.lanes.tidied(&tidied);
    assert!(bench.account_closes());
    let left = bench.drain();
    assert!(left.len() < 60, "{} left of 120,000", left.len());
    // The latest of each of the 20 devices is there, and the last of them.
    let latest = 120_000 - 20..120_000;
    assert!(
        latest.clone().all(|number| left.contains(&number)),
        "{left:?}"
    );
}

#[test]
fn a_newer_layout_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    drop(Bench::open(
        root.path(),
        &settings(Order::InOrder, WhenFull::Refuse, 1 << 20),
    ));
    std::fs::write(root.path().join("FORMAT"), "4\n").unwrap();
    let error = Disk::<Note>::open(root.path(), &[], 0, &Keys::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("newer version (format 4"), "{error}");
}
