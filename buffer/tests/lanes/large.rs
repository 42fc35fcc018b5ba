//! Records over several blocks, sequences over many starts, and blocks of other buffers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_buffer::{
    DropReason, Inspection, Keys, LaneDisk, LaneSettings, Order, Refusal, WhenFull,
};

use crate::bench::{Bench, LANE, Note, WALL_MS, lane, settings};
use crate::harm::copy;

fn roomy(order: Order) -> LaneSettings {
    settings(order, WhenFull::Refuse, 64 << 20)
}

fn key(encrypted: bool) -> Keys {
    let texts: Vec<String> = encrypted.then(|| "42".repeat(32)).into_iter().collect();
    Keys::parse(&texts).unwrap()
}

/// Appends and commits until all is stored.
fn keep(bench: &mut Bench, sizes: &[usize]) {
    for size in sizes {
        bench.append(*size).unwrap();
        while !bench.lanes.all_stored() {
            bench.commit();
        }
    }
}

fn logs(root: &Path) -> Vec<std::path::PathBuf> {
    let generations = fs::read_dir(root.join("lanes/state")).unwrap();
    let mut logs: Vec<_> = generations.map(|e| e.unwrap().path().join("db")).collect();
    logs.sort();
    logs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_of_any_size_come_back_in_order_also_beside_the_writer(
        sizes in prop::collection::vec(prop_oneof![50usize..500, 125_000usize..135_000, 500_000usize..999_000], 1..12),
        live_first: bool, encrypted: bool, killed: bool,
    ) {
        let root = tempfile::tempdir().unwrap();
        let settings = roomy(if live_first { Order::LiveFirst } else { Order::InOrder });
        let keys = key(encrypted);
        let mut bench = Bench::open_as(root.path(), &settings, lane(&settings), &keys);
        keep(&mut bench, &sizes);
        if killed {
            drop(bench);
            bench = Bench::open_as(root.path(), &settings, lane(&settings), &keys);
            prop_assert!(bench.findings.is_empty(), "{:?}", bench.findings);
        }
        let mut all = bench.drain();
        all.sort_unstable();
        prop_assert_eq!(all, (0..sizes.len() as u64).collect::<Vec<_>>());
        prop_assert!(bench.account_closes());
    }
}

/// sled puts what is a few bytes too long into a file of its own, which it never syncs, and where nobody looks for it.
#[test]
fn a_record_of_any_size_about_that_of_a_block_is_in_the_log() {
    for encrypted in [false, true] {
        for parts in [1, 4] {
            let root = tempfile::tempdir().unwrap();
            let (settings, keys) = (roomy(Order::InOrder), key(encrypted));
            let mut bench = Bench::open_as(root.path(), &settings, lane(&settings), &keys);
            // With the header, what encryption adds and the record's other fields, a block is full at 130,944 bytes.
            let sizes: Vec<usize> = (0..60)
                .map(|step| parts * (130_720 + step * 4) - 20)
                .collect();
            keep(&mut bench, &sizes);
            let all: Vec<u64> = (0..sizes.len() as u64).collect();
            assert_eq!(bench.drain(), all, "{encrypted}, {parts}");
            for log in logs(root.path()) {
                let blobs = fs::read_dir(log.with_file_name("blobs")).unwrap();
                assert_eq!(blobs.count(), 0, "{encrypted}, {parts}");
            }
        }
    }
}

#[test]
fn large_records_are_coalesced_like_any_other() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings(Order::InOrder, WhenFull::CoalesceLatest, 64 << 20);
    let disk = LaneDisk {
        coalesce: true,
        ..lane(&settings)
    };
    let mut bench = Bench::open_as(root.path(), &settings, disk, &Keys::default());
    // 20 keys, each five times.
    keep(&mut bench, &[140_000; 100]);
    let tidied = bench.disk.tidy(bench.now, true).unwrap();
    bench.lanes.tidied(&tidied);
    assert!(bench.dropped(DropReason::Coalesced) > 0);
    let left = bench.drain();
    assert!((80..100).all(|number| left.contains(&number)), "{left:?}");
    assert!(bench.account_closes());
}

/// One after the other, a page in each of the places of the file.
#[test]
fn a_record_of_which_a_piece_is_torn_is_damage_and_never_half_a_record() {
    let root = tempfile::tempdir().unwrap();
    let settings = roomy(Order::InOrder);
    let mut bench = Bench::open(root.path(), &settings);
    keep(&mut bench, &[400, 700_000, 400, 900_000, 400]);
    bench.mark();
    drop(bench);
    let length = fs::metadata(&logs(root.path())[0]).unwrap().len();
    let mut damaged = [0; 6];
    for at in (0..length).step_by(60_000) {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        let log = &logs(copied.path())[0];
        let mut bytes = fs::read(log).unwrap();
        let at = usize::try_from(at).unwrap();
        let end = (at + 4096).min(bytes.len());
        bytes[at..end].fill(0);
        fs::write(log, bytes).unwrap();
        let found = Inspection::open(copied.path(), &Keys::default()).unwrap();
        let sound: u64 = found.lanes[0].generations.iter().map(|g| g.records).sum();
        let mut bench = Bench::open(copied.path(), &settings);
        let left = bench.drain();
        assert!(left.is_sorted() && bench.account_closes());
        let lost = bench.dropped(DropReason::Damage);
        assert_eq!(left.len() as u64 + lost, 5, "at {at}: {left:?}");
        assert_eq!(sound, left.len() as u64);
        damaged[usize::try_from(lost).unwrap()] += 1;
    }
    assert!(damaged[1] > 15, "{damaged:?}");
}

#[test]
fn a_lane_with_little_memory_and_budget_takes_what_fits_and_says_what_does_not() {
    for (when_full, order) in [
        (WhenFull::Refuse, Order::InOrder),
        (WhenFull::DropOldest, Order::LiveFirst),
        (WhenFull::CoalesceLatest, Order::InOrder),
    ] {
        let root = tempfile::tempdir().unwrap();
        let settings = LaneSettings {
            burst: 64 * 1024,
            ..settings(order, when_full, 1 << 20)
        };
        let mut bench = Bench::open(root.path(), &settings);
        let (mut kept, mut too_large) = (Vec::new(), 0);
        for round in 0..20 {
            // A quarter of the budget is the most.
            let size = [250_000, 300_000][round % 2];
            match bench.append(size) {
                Ok(number) if round % 2 == 0 => kept.push(number),
                Ok(_) => too_large += 1,
                Err(Refusal::Full(_)) => {}
            }
            for _ in 0..4 {
                bench.commit();
                bench.mark();
            }
            assert!(bench.lanes.all_stored() && bench.account_closes());
            let bytes = bench.lanes.bytes(LANE).0;
            assert!(bytes <= settings.budget, "{bytes} bytes on disk");
        }
        assert_eq!(
            bench.dropped(DropReason::TooLarge),
            too_large,
            "{when_full:?}"
        );
        assert!(kept.len() >= 2, "{when_full:?}: {kept:?}");
        let drops = bench.lanes.take_drops(LANE);
        let named = drops.iter().filter_map(|drop| drop.largest.as_ref());
        assert!(named.clone().count() > 0 && named.clone().all(|largest| largest.bytes > 300_000));
        let left = bench.drain();
        assert!(left.iter().all(|number| kept.contains(number)), "{left:?}");
        assert!(bench.account_closes() && bench.lanes.waiting(LANE) == 0);
    }
}

/// Delivered from memory, so that no block tells of it.
fn deliver(bench: &mut Bench, count: usize) {
    for _ in 0..count {
        bench.append(100).unwrap();
    }
    let sent = bench.send(count);
    bench.deliver(&sent);
}

#[test]
fn no_sequence_is_used_twice_whatever_was_only_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let settings = roomy(Order::InOrder);
    let mut next = Vec::new();
    let mut bench = Bench::open(root.path(), &settings);
    for start in 0..4 {
        deliver(&mut bench, 50);
        if start == 2 {
            bench.last_mark();
        }
        let Bench {
            lanes,
            disk,
            sequences,
            number,
            ..
        } = bench;
        drop((lanes, disk)); // killed, or ended
        if start == 3 {
            fs::remove_dir_all(root.path().join("marks")).unwrap();
        }
        let fresh = Bench::open(root.path(), &settings);
        next.push(fresh.number);
        bench = Bench {
            number,
            sequences,
            ..fresh
        };
        assert_eq!(bench.dropped(DropReason::Damage), 0);
    }
    deliver(&mut bench, 50);
    assert_eq!(bench.sequences.len(), 250);
    assert!(next.is_sorted(), "{next:?}");
    assert_eq!(next[2], next[1] + 50, "exact after an end");
}

#[test]
fn a_jump_over_sequences_that_were_never_given_out_is_no_damage() {
    let root = tempfile::tempdir().unwrap();
    let settings = roomy(Order::InOrder);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let mut bench = Bench::open(root.path(), &settings);
        assert!(bench.findings.is_empty(), "{:?}", bench.findings);
        assert_eq!(bench.counts().recovered, numbers.len() as u64);
        for _ in 0..5 {
            numbers.push(bench.append(100).unwrap());
        }
        bench.commit();
    }
    let mut bench = Bench::open(root.path(), &settings);
    assert_eq!(bench.drain(), numbers);
    assert_eq!(bench.dropped(DropReason::Damage), 0);
}

#[test]
fn a_generation_of_another_buffer_is_not_taken_for_one_of_this() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = roomy(Order::InOrder);
    for (root, count) in [(&ours, 3), (&theirs, 5)] {
        let mut bench = Bench::open_as(root.path(), &settings, lane(&settings), &key(true));
        keep(&mut bench, &vec![200; count]);
        bench.disk.close().unwrap();
    }
    let first = |root: &Path| logs(root)[0].parent().unwrap().to_owned();
    let planted = ours.path().join("lanes/state/00000000000000000100");
    fs::create_dir(&planted).unwrap();
    copy(&first(theirs.path()), &planted);
    let mut bench = Bench::open_as(ours.path(), &settings, lane(&settings), &key(true));
    assert_eq!(bench.drain(), [0, 1, 2]);
    assert_eq!(bench.counts().recovered, 3);
    // Without the marks, the blocks say whose they are.
    drop(bench);
    fs::remove_dir_all(ours.path().join("marks")).unwrap();
    let mut bench = Bench::open_as(ours.path(), &settings, lane(&settings), &key(true));
    assert_eq!(bench.drain(), [0, 1, 2]);
}

#[test]
fn when_blocks_were_written_is_told() {
    let root = tempfile::tempdir().unwrap();
    let settings = roomy(Order::InOrder);
    let mut bench = Bench::open(root.path(), &settings);
    keep(&mut bench, &[200, 200_000]);
    bench.now += Duration::from_secs(1);
    bench.mark();
    let found = Inspection::open(root.path(), &Keys::default()).unwrap();
    let [generation] = &found.lanes[0].generations[..] else {
        panic!("there is one generation");
    };
    assert_eq!(generation.written, Some((WALL_MS, WALL_MS)));
    let verified = generation.verify::<Note>(&Keys::default()).unwrap();
    assert_eq!((verified.blocks, verified.records), (2, 2));
    assert!(verified.missing.is_empty() && verified.undecodable == 0);
}
