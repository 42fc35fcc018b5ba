//! Records of every shape: much text around a small payload, many small ones, some too large.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tidegate_buffer::{
    Claim, Disk, DropReason, Kept, Keys, Lanes, Order, RECORD_BYTES_MAX, Record, WhenFull,
};

use crate::bench::{LANE, lane, noise, settings};

/// As an agent's record: what surrounds the payload may be larger than the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shaped {
    number: u64,
    name: String,
    tags: BTreeMap<String, String>,
    intent: Option<String>,
    payload: bytes::Bytes,
}

impl Record for Shaped {
    fn key(&self) -> u64 {
        self.number
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug)]
struct Noted(u64, Rc<RefCell<BTreeMap<u64, Kept>>>);

impl Claim for Noted {
    fn resolve(self, kept: Kept) {
        self.1.borrow_mut().insert(self.0, kept);
    }
}

/// Text of `size` bytes, of which three in four bits are noise.
fn text(seed: u64, size: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = noise(seed, size).into_iter();
    letters
        .map(|byte| char::from(LETTERS[usize::from(byte % 64)]))
        .collect()
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0usize..100,
        3 => 100usize..7_000,
        2 => 7_000usize..70_000,
        1 => 70_000usize..130_000,
    ]
}

/// Of several blocks, or too large.
fn large() -> impl Strategy<Value = (Vec<usize>, usize, usize)> {
    let size = prop_oneof![
        130_000usize..135_000,
        200_000usize..990_000,
        990_000usize..1_200_000
    ];
    (0usize..3, size).prop_map(|(tags, size)| match tags {
        0 => (Vec::new(), 0, size),
        tags => (vec![size / tags; tags], 0, 10),
    })
}

fn shapes() -> impl Strategy<Value = Vec<(Vec<usize>, usize, usize)>> {
    let shape = (prop::collection::vec(sizes(), 0..4), 0usize..200, sizes());
    let runs = prop::collection::vec((shape, 1usize..60), 1..12);
    (runs, prop::collection::vec(large(), 0..4)).prop_map(|(mut runs, large)| {
        let place = |(index, shape)| (index * 3 % (runs.len() + 1), shape);
        for (at, shape) in large.into_iter().enumerate().map(place).collect::<Vec<_>>() {
            runs.insert(at, (shape, 1));
        }
        let repeated = |(shape, count)| std::iter::repeat_n(shape, count);
        runs.into_iter().flat_map(repeated).collect()
    })
}

fn record(number: u64, (tags, intent, payload): &(Vec<usize>, usize, usize)) -> Shaped {
    let tag = |(index, size): (usize, &usize)| (format!("t{index}"), text(number + 7, *size));
    Shaped {
        number,
        name: number.to_string(),
        tags: tags.iter().enumerate().map(tag).collect(),
        intent: (*intent > 0).then(|| text(number, *intent)),
        payload: noise(number, *payload).into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// What has its receipt is there after a kill, and what cannot be kept is refused and costs no other record anything.
    #[test]
    fn whatever_has_a_receipt_can_be_read_back_whatever_its_shape(shapes in shapes(), encrypted: bool) {
        let key: Vec<String> = encrypted.then(|| "42".repeat(32)).into_iter().collect();
        let (root, keys) = (tempfile::tempdir().unwrap(), Keys::parse(&key).unwrap());
        let mut settings = settings(Order::InOrder, WhenFull::Refuse, 1 << 30);
        (settings.memory, settings.burst) = (64 << 20, 64 << 20);
        let (mut disk, opened) = Disk::<Shaped>::open(root.path(), &[lane(&settings)], 0, &keys).unwrap();
        let mut lanes = Lanes::new(opened.epoch, vec![settings.clone()], opened.lanes);
        let receipts: Rc<RefCell<BTreeMap<u64, Kept>>> = Rc::default();
        let now = Instant::now();
        let mut kept = Vec::new();
        for (number, shape) in (0..).zip(&shapes) {
            let record = record(number, shape);
            let claim = Noted(number, Rc::clone(&receipts));
            prop_assert!(lanes.append(LANE, record.clone(), claim, now).is_ok(), "there is room");
            let plain = shape.0.iter().sum::<usize>() + shape.1 + shape.2;
            let Some(drop) = lanes.take_drops(LANE).pop() else {
                prop_assert!(plain <= RECORD_BYTES_MAX, "{plain} bytes are too large");
                kept.push(record);
                continue;
            };
            let largest = drop.largest.unwrap();
            prop_assert_eq!((drop.reason, largest.name), (DropReason::TooLarge, number.to_string()));
            prop_assert!(largest.bytes > RECORD_BYTES_MAX as u64);
            prop_assert!(plain + 200 > RECORD_BYTES_MAX, "{plain} bytes are not too large");
            prop_assert_eq!(receipts.borrow_mut().remove(&number), Some(Kept::Dropped));
        }
        while !lanes.all_stored() {
            let writes = lanes.commit(now + Duration::from_secs(1), true);
            prop_assert!(!writes.is_empty());
            let written = disk.write(writes, 0, now);
            for lane in &written {
                prop_assert!(lane.outcome.is_ok(), "{:?}", lane.outcome);
            }
            lanes.written(&written, now, true);
        }
        prop_assert_eq!(receipts.borrow().len(), kept.len());
        drop((lanes, disk)); // killed

        let (mut disk, opened) = Disk::<Shaped>::open(root.path(), &[lane(&settings)], 0, &keys).unwrap();
        prop_assert!(opened.findings.is_empty(), "{:?}", opened.findings);
        let (mut from, mut read) = (0, Vec::new());
        while from < opened.lanes[0].next {
            let back = disk.read(LANE, from, opened.lanes[0].next).unwrap();
            prop_assert!(back.findings.is_empty(), "{:?}", back.findings);
            from = back.covers.end;
            read.extend(back.records.into_iter().map(|placed| placed.record));
        }
        prop_assert_eq!(read, kept);
    }
}
