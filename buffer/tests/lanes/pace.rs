//! How much the buffer takes, and what it leaves behind: for the bars, small unless they ask for more.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_buffer::{Claim, Disk, Kept, Keys, Lanes, Order, Record, WhenFull};

use crate::bench::{Bench, LANE, settings};

/// A number from the environment, for the bars, or one that suits a test.
pub(crate) fn number(name: &str, few: u64) -> u64 {
    std::env::var(name).map_or(few, |text| text.parse().unwrap())
}

fn on_disk(path: &Path) -> u64 {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let below = metadata.is_dir().then(|| std::fs::read_dir(path).unwrap());
    let below = below.into_iter().flatten();
    metadata.blocks() * 512
        + below
            .map(|entry| on_disk(&entry.unwrap().path()))
            .sum::<u64>()
}

/// A steady flow through a backlog of 100 MiB: the disk never holds more than the budget, and what was delivered is
/// gone with the next mark, but for the generation that is being written or read.
#[test]
fn a_long_flow_through_a_backlog_never_takes_more_than_the_budget() {
    let (total, backlog) = (
        number("TIDEGATE_CHURN_MIB", 96) << 20,
        number("TIDEGATE_BACKLOG_MIB", 8) << 20,
    );
    let root = tempfile::tempdir().unwrap();
    let budget = backlog + backlog / 2;
    let mut settings = settings(Order::InOrder, WhenFull::Refuse, budget);
    settings.memory = 1 << 20;
    let mut bench = Bench::open(root.path(), &settings);
    let (mut written, mut sent, mut most, mut left) = (0_u64, 0_u64, 0, 0_u64);
    let lanes = root.path().join("lanes");
    let mut looked = 0;
    while written < total {
        for _ in 0..128 {
            // A full lane refuses: then it is read from, and marked.
            written += bench.append(8_000).map_or(0, |_| 8_040);
        }
        while !bench.lanes.all_stored() {
            bench.commit();
        }
        bench.receipts.take();
        while written - sent > backlog {
            let handed = bench.send(128);
            assert!(!handed.is_empty(), "there is a backlog");
            bench.delivered.clear();
            sent += 8_040 * handed.len() as u64;
            bench.deliver(&handed);
        }
        bench.now += Duration::from_millis(100);
        bench.mark();
        if written - looked > total / 256 {
            looked = written;
            let bytes = on_disk(&lanes);
            most = most.max(bytes);
            left = left.max(bytes.saturating_sub(written - sent));
        }
    }
    assert!(
        most <= budget,
        "{most} bytes on disk are over the budget of {budget}"
    );
    // One generation that is being read, and sled's own.
    assert!(left < (10 << 20), "{left} bytes more than what waits");
    assert!(bench.account_closes());
    eprintln!(
        "Churn {} MiB through {} MiB: at most {:.3} of the budget, {} KiB over what waits",
        written >> 20,
        backlog >> 20,
        share(most, budget),
        left >> 10
    );
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// An event as an agent holds one: its payload is shared, not copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    number: u64,
    payload: Bytes,
}

impl Record for Reading {
    fn key(&self) -> u64 {
        self.number % 50
    }

    #[expect(clippy::unnecessary_literal_bound, reason = "as the trait has it")]
    fn name(&self) -> &str {
        "reading"
    }
}

#[derive(Debug)]
struct Counted(Rc<Cell<u64>>);

impl Claim for Counted {
    fn resolve(self, kept: Kept) {
        assert_eq!(kept, Kept::Stored);
        self.0.set(self.0.get() + 1);
    }
}

/// 200 bytes, as sensors send them.
fn telemetry(number: u64) -> Bytes {
    let (time, value) = (1_764_000_000_000 + number * 37, number * 7919 % 10_000);
    let text = format!(
        r#"{{"device":"press-{}","time":{time},"temperature":{}.{:02},"pressure":1013.{},"state":"running","mode":"auto""#,
        number % 50,
        value / 100,
        value % 100,
        number % 10
    );
    format!("{text:<199}}}").into()
}

const COMMIT_EVERY: Duration = Duration::from_millis(50);

/// Events a second, and bytes of blocks for each.
fn appended_to_the_buffer(root: &Path, time: Duration) -> (f64, u64) {
    let mut settings = settings(Order::InOrder, WhenFull::DropOldest, 8 << 30);
    (settings.memory, settings.commit_every) = (8 << 20, COMMIT_EVERY);
    let lane = crate::bench::lane(&settings);
    let (mut disk, opened) = Disk::open(root, &[lane], 0, &Keys::default()).unwrap();
    let mut lanes = Lanes::new(opened.epoch, vec![settings], opened.lanes);
    let (receipts, begun, mut number) = (Rc::new(Cell::new(0)), Instant::now(), 0);
    while begun.elapsed() < time {
        let now = Instant::now();
        for _ in 0..256 {
            let reading = Reading {
                number,
                payload: telemetry(number),
            };
            let receipt = Counted(Rc::clone(&receipts));
            lanes.append(LANE, reading, receipt, now).unwrap();
            number += 1;
        }
        // What one commit does not take follows at once.
        let mut writes = lanes.commit(now, true);
        while !writes.is_empty() {
            let written = disk.write(writes, 0, now);
            lanes.written(&written, now, true);
            writes = lanes.commit(now, true);
        }
    }
    let rate = share(receipts.get(), 1) / begun.elapsed().as_secs_f64();
    assert_eq!(lanes.counts(LANE).dropped.iter().sum::<u64>(), 0);
    (
        rate,
        lanes.counts(LANE).stored_bytes / receipts.get().max(1),
    )
}

/// Events a second.
fn appended_to_a_file(path: &Path, time: Duration) -> f64 {
    let mut file = File::create(path).unwrap();
    let (begun, mut committed, mut number) = (Instant::now(), Instant::now(), 0_u64);
    let mut batch = Vec::new();
    while begun.elapsed() < time {
        for _ in 0..256 {
            batch.extend_from_slice(&telemetry(number));
            number += 1;
        }
        if committed.elapsed() > COMMIT_EVERY {
            file.write_all(&batch).unwrap();
            file.sync_data().unwrap();
            batch.clear();
            committed = Instant::now();
        }
    }
    share(number, 1) / begun.elapsed().as_secs_f64()
}

/// With a commit every 50 ms, and the same payloads to a plain file with fdatasync.
#[test]
fn appending_keeps_pace_with_a_plain_file() {
    let time = Duration::from_millis(number("TIDEGATE_APPEND_MS", 300));
    let root = tempfile::tempdir().unwrap();
    let (ours, stored) = appended_to_the_buffer(&root.path().join("state"), time);
    let plain = appended_to_a_file(&root.path().join("plain"), time);
    assert!(ours > 0.0 && plain > 0.0);
    eprintln!(
        "Append {ours:.0} events/s, {stored} bytes stored each; a plain file, uncompressed, {plain:.0}"
    );
}
