//! Reads that fail, in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_buffer::{Order, WhenFull};

use crate::bench::{Bench, LANE, settings};

const SECOND: Duration = Duration::from_secs(1);

/// A buffer with `count` records that are only on disk.
fn on_disk(root: &std::path::Path, count: u64) -> Bench {
    let settings = settings(Order::InOrder, WhenFull::DropOldest, 1 << 30);
    let mut bench = Bench::open(root, &settings);
    for _ in 0..count {
        bench.append(100).unwrap();
    }
    bench.commit();
    drop(bench);
    Bench::open(root, &settings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_read_that_fails_is_asked_for_again_a_second_later_and_never_before(
        pauses in prop::collection::vec(0_u64..700, 1..40),
        failures in 1_usize..6,
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut bench = on_disk(root.path(), 30);
        let mut failed = Vec::new();
        prop_assert_eq!(bench.lanes.reads_due(), None, "nothing has failed yet");
        for pause in pauses {
            bench.now += Duration::from_millis(pause);
            let asks = bench.lanes.reads(bench.now);
            prop_assert!(bench.lanes.reads(bench.now).is_empty(), "one read at a time");
            if asks.is_empty() {
                continue;
            }
            if let Some(last) = failed.last() {
                prop_assert!(bench.now >= *last + SECOND);
            }
            if failed.len() == failures {
                let ask = &asks[0];
                let back = bench.disk.read(ask.lane, ask.sequences.start, ask.sequences.end);
                bench.lanes.read_back(back.unwrap(), bench.now);
                break;
            }
            bench.lanes.read_failed(LANE, bench.now);
            failed.push(bench.now);
            prop_assert_eq!(bench.lanes.reads_due(), Some(bench.now + SECOND));
        }
        // Whoever waits until the moment that it was told is not told the same moment again.
        if let Some(due) = bench.lanes.reads_due() {
            bench.now = bench.now.max(due);
            prop_assert_eq!(bench.lanes.reads(bench.now).len(), 1);
            prop_assert_eq!(bench.lanes.reads_due(), None);
            bench.lanes.read_failed(LANE, bench.now);
            bench.now += SECOND;
        }
        prop_assert_eq!(bench.drain(), (0..30).collect::<Vec<_>>());
    }
}
