//! A buffer whose disk half answers at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate_buffer::{
    Claim, Counts, Disk, DiskError, DropReason, Finding, Kept, Keys, LaneDisk, LaneId,
    LaneSettings, Lanes, Order, RECORD_BYTES_MAX, Record, Refusal, WhenFull, Written,
};

pub(crate) const LANE: LaneId = LaneId(0);
/// When all is written, as the world has it.
pub(crate) const WALL_MS: u64 = 1_790_000_000_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) key: u64,
    pub(crate) number: u64,
    #[serde(with = "serde_bytes_like")]
    pub(crate) body: Vec<u8>,
}

mod serde_bytes_like {
    pub(super) fn serialize<S: serde::Serializer>(body: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(body)
    }
    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

/// Bytes that do not compress, the same for the same number.
pub(crate) fn noise(number: u64, size: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    noise.take(size).collect()
}

impl Note {
    pub(crate) fn key_of(number: u64) -> u64 {
        number % 20
    }
}

impl Record for Note {
    fn key(&self) -> u64 {
        self.key
    }

    #[expect(clippy::unnecessary_literal_bound, reason = "as the trait has it")]
    fn name(&self) -> &str {
        "note"
    }
}

pub(crate) type Receipts = Rc<RefCell<BTreeMap<u64, Kept>>>;

#[derive(Debug)]
pub(crate) struct Numbered(u64, Receipts);

impl Claim for Numbered {
    fn resolve(self, kept: Kept) {
        assert!(
            self.1.borrow_mut().insert(self.0, kept).is_none(),
            "a receipt is given once"
        );
    }
}

/// A buffer whose disk half answers at once.
pub(crate) struct Bench {
    pub(crate) lanes: Lanes<Note, Numbered>,
    pub(crate) disk: Disk<Note>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) receipts: Receipts,
    pub(crate) now: Instant,
    pub(crate) outage: bool,
    /// The disk takes no records.
    pub(crate) failing: bool,
    pub(crate) number: u64,
    pub(crate) delivered: Vec<u64>,
    /// Of each sequence, the record that had it: no other may.
    pub(crate) sequences: BTreeMap<u64, u64>,
}

pub(crate) fn settings(order: Order, when_full: WhenFull, budget: u64) -> LaneSettings {
    LaneSettings {
        order,
        when_full,
        persist_after: Duration::from_secs(1),
        commit_every: Duration::ZERO,
        budget,
        memory: 16 * 1024,
        record: RECORD_BYTES_MAX,
        burst: 2 << 20,
        keeps: false,
        bulk: false,
    }
}

pub(crate) fn lane(settings: &LaneSettings) -> LaneDisk {
    LaneDisk {
        name: "state".into(),
        budget: settings.budget,
        when_full: settings.when_full,
        coalesce: false,
        max_age: None,
        keep: None,
    }
}

fn full() -> DiskError {
    DiskError::Full {
        path: "disk".into(),
        free: 0,
        needed: 1,
        floor: 0,
    }
}

impl Bench {
    pub(crate) fn open(root: &Path, settings: &LaneSettings) -> Bench {
        Bench::open_as(root, settings, lane(settings), &Keys::default())
    }

    pub(crate) fn open_as(
        root: &Path,
        settings: &LaneSettings,
        lane: LaneDisk,
        keys: &Keys,
    ) -> Bench {
        let (disk, opened) = Disk::open(root, &[lane], 0, keys).unwrap();
        let number = opened.lanes[0].next;
        Bench {
            lanes: Lanes::new(opened.epoch, vec![settings.clone()], opened.lanes),
            disk,
            findings: opened.findings,
            receipts: Rc::default(),
            now: Instant::now(),
            outage: true,
            failing: false,
            number,
            delivered: Vec::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// Offers a record of `size` bytes that do not compress.
    pub(crate) fn append(&mut self, size: usize) -> Result<u64, Refusal<Numbered>> {
        let number = self.number;
        let note = Note {
            key: Note::key_of(number),
            number,
            body: noise(number, size),
        };
        let claim = Numbered(number, Rc::clone(&self.receipts));
        self.lanes.append(LANE, note, claim, self.now)?;
        self.number += 1;
        Ok(number)
    }

    pub(crate) fn commit(&mut self) {
        let writes = self.lanes.commit(self.now, self.outage);
        if !writes.is_empty() {
            let fails = |write: &tidegate_buffer::LaneWrite<_>| {
                Written::refused(write.lane, write.end(), full())
            };
            let written = if self.failing {
                writes.iter().map(fails).collect()
            } else {
                self.disk.write(writes, WALL_MS, self.now)
            };
            self.lanes.written(&written, self.now, self.outage);
        }
    }

    /// Hands out up to `count` records and leaves them in flight.
    pub(crate) fn send(&mut self, count: usize) -> Vec<(u64, u64)> {
        let mut sent = Vec::new();
        for _ in 0..count {
            self.read_back();
            let Some(next) = self.lanes.peek(LANE) else {
                break;
            };
            let Note { number, body, .. } = &next.placed.record;
            assert!(
                *body == noise(*number, body.len()),
                "record {number} is not what it was"
            );
            let known = self.sequences.entry(next.placed.sequence);
            let known = *known.or_insert(*number);
            assert_eq!(
                known, *number,
                "sequence {} is used twice",
                next.placed.sequence
            );
            sent.push((next.token, *number));
            self.lanes.hand_over(LANE, self.now);
        }
        sent
    }

    /// Until there is something to send. What is damaged gives nothing.
    fn read_back(&mut self) {
        while self.lanes.peek(LANE).is_none() {
            let asks = self.lanes.reads(self.now);
            if asks.is_empty() {
                return;
            }
            for ask in asks {
                let (from, to) = (ask.sequences.start, ask.sequences.end);
                let back = self.disk.read(ask.lane, from, to).unwrap();
                self.lanes.read_back(back, self.now);
            }
        }
    }

    pub(crate) fn deliver(&mut self, sent: &[(u64, u64)]) {
        for (token, number) in sent {
            self.lanes.delivered(LANE, *token, self.now);
            self.delivered.push(*number);
        }
        self.lanes.settle();
    }

    pub(crate) fn mark(&mut self) {
        let marks = self.lanes.marks_at_once();
        let marked = self.disk.mark(&marks, self.now).unwrap();
        self.lanes.marked(Some(&marked));
    }

    /// The last of an agent that ends.
    pub(crate) fn last_mark(&mut self) {
        let marks = self.lanes.last_marks();
        let marked = self.disk.mark(&marks, self.now).unwrap();
        self.lanes.marked(Some(&marked));
    }

    pub(crate) fn drain(&mut self) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let sent = self.send(100);
            if sent.is_empty() {
                return all;
            }
            self.deliver(&sent);
            all.extend(sent.iter().map(|(_, number)| *number));
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        self.lanes.counts(LANE)
    }

    pub(crate) fn account_closes(&self) -> bool {
        let c = self.counts();
        c.recovered + c.accepted
            == c.delivered + c.dropped.iter().sum::<u64>() + self.lanes.waiting(LANE)
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        let slot = DropReason::ALL
            .iter()
            .position(|known| *known == reason)
            .unwrap();
        self.counts().dropped[slot]
    }
}
