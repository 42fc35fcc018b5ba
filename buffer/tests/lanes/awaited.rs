//! Sources that wait for receipts: the disk writes what they wait for at once, and nothing else because of them.

use std::time::Duration;

use tidegate_buffer::{Disk, Keys, LaneDisk, LaneId, Lanes, Order, WhenFull};

use crate::bench::{Note, WALL_MS, lane, noise, settings};

/// Of a source that waits, or of one that does not.
struct Claim(bool);

impl tidegate_buffer::Claim for Claim {
    fn is_awaited(&self) -> bool {
        self.0
    }

    fn resolve(self, _: tidegate_buffer::Kept) {}
}

const MINUTE: Duration = Duration::from_mins(1);

/// Two lanes whose commits are due after a minute in an outage.
fn two(root: &std::path::Path) -> (Lanes<Note, Claim>, Disk<Note>, [LaneId; 2]) {
    let settings = tidegate_buffer::LaneSettings {
        persist_after: MINUTE,
        commit_every: MINUTE,
        ..settings(Order::InOrder, WhenFull::DropOldest, 64 << 20)
    };
    let disks = ["state", "bulk"].map(|name| LaneDisk {
        name: name.into(),
        ..lane(&settings)
    });
    let (disk, opened) = Disk::open(root, &disks, 0, &Keys::default()).unwrap();
    let lanes = Lanes::new(opened.epoch, vec![settings; 2], opened.lanes);
    let ids: Vec<LaneId> = lanes.ids().collect();
    (lanes, disk, [ids[0], ids[1]])
}

fn append(lanes: &mut Lanes<Note, Claim>, lane: LaneId, awaited: bool, now: std::time::Instant) {
    let note = Note {
        key: 0,
        number: 0,
        body: noise(0, 100),
    };
    assert!(lanes.append(lane, note, Claim(awaited), now).is_ok());
}

#[test]
fn the_lane_that_a_source_waits_for_is_written_at_once_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let (mut lanes, mut disk, [state, bulk]) = two(root.path());
    let mut now = std::time::Instant::now();
    append(&mut lanes, bulk, false, now);
    append(&mut lanes, state, false, now);
    lanes.urge();
    assert!(lanes.commit(now, true).is_empty(), "nobody waits for these");
    for _ in 0..3 {
        // However long the disk took for the last one.
        now += Duration::from_millis(20);
        append(&mut lanes, state, true, now);
        let writes = lanes.commit(now, true);
        let written: Vec<LaneId> = writes.iter().map(|write| write.lane).collect();
        assert_eq!(written, [state]);
        append(&mut lanes, bulk, false, now);
        let written = disk.write(writes, WALL_MS, now);
        now += Duration::from_millis(20);
        lanes.written(&written, now, true);
        assert!(lanes.commit(now, true).is_empty());
    }
    now += MINUTE;
    assert_eq!(
        lanes.commit(now, true).len(),
        1,
        "the other has its own time"
    );
}
