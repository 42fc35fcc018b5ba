//! What the marks say, and that it is frozen.

use super::state::{Cursor, UPLINK};
use super::*;
use crate::settings::{Dropped, Largest};

fn ranges(run: Range<u64>) -> Ranges {
    std::iter::once(run).collect()
}

#[test]
fn a_reader_that_is_not_known_is_kept_over_a_rewrite() {
    let mut state = LaneState::default();
    state.stands(100, ranges(40..50));
    let other = Cursor {
        stored_to: 70,
        waiting: ranges(3..60),
    };
    state.readers.insert("archive".into(), other.clone());
    let marks = Marks {
        lanes: [("state".to_owned(), state)].into(),
        ..Marks::default()
    };
    let mut read = decode(&cbor::encode(&marks).unwrap()).unwrap();
    let lane = read.lanes.get_mut("state").unwrap();
    lane.stands(120, ranges(110..120));
    let read = decode(&cbor::encode(&read).unwrap()).unwrap();
    let lane = &read.lanes["state"];
    assert_eq!((lane.stored_to(), lane.waiting()), (120, ranges(110..120)));
    assert_eq!(lane.readers["archive"], other);
}

/// As the versions before wrote them.
#[test]
fn marks_of_formats_1_and_2_are_read() {
    #[derive(Serialize)]
    struct Old {
        epoch: u32,
        lanes: BTreeMap<String, OldLane>,
    }
    #[derive(Serialize)]
    struct OldLane {
        stored_to: u64,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        cursors: BTreeMap<String, Ranges>,
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<Ranges>,
        cleared: Vec<(u64, u64, DropReason)>,
    }
    let cursors = BTreeMap::from([(UPLINK.to_owned(), ranges(7..9))]);
    for (cursors, waiting) in [(cursors, None), (BTreeMap::new(), Some(ranges(7..9)))] {
        let lane = OldLane {
            stored_to: 12,
            cursors,
            waiting,
            cleared: vec![(1, 2, DropReason::Age)],
        };
        let lanes = BTreeMap::from([("state".to_owned(), lane)]);
        let read = decode(&cbor::encode(&Old { epoch: 4, lanes }).unwrap()).unwrap();
        let lane = &read.lanes["state"];
        assert_eq!((read.epoch, read.buffer, lane.reserved), (4, None, 0));
        assert_eq!((lane.stored_to(), lane.waiting()), (12, ranges(7..9)));
        assert_eq!(lane.cleared, [(1, 2, DropReason::Age)]);
    }
}

/// Every byte, so that no change of a name or a type changes what is on disk unnoticed.
#[test]
fn the_marks_are_frozen() {
    let mut state = LaneState {
        reserved: 300,
        cleared: vec![(1, 2, DropReason::Budget)],
        unreported: vec![Dropped {
            reason: DropReason::TooLarge,
            first: 5,
            last: 5,
            count: 1,
            largest: Some(Largest {
                name: "a/b".into(),
                bytes: 2_000_000,
            }),
        }],
        ..LaneState::default()
    };
    state.stands(9, ranges(3..4));
    let marks = Marks {
        epoch: 2,
        buffer: Some(BufferId([7; 16])),
        lanes: [("s".to_owned(), state)].into(),
        ..Marks::default()
    };
    let bytes = cbor::encode(&marks).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "a56565706f636802656c616e6573a16173a46772656164657273a16675706c696e6ba26973746f7265645f746f096777616974696e67a26472756e73a10304636c656e0168726573657276656419012c67636c656172656481830102664275646765746a756e7265706f7274656481a566726561736f6e68546f6f4c6172676565666972737405646c6173740565636f756e7401676c617267657374a2646e616d6563612f626562797465731a001e848065636c6f636ba36561745f6d730064626f6f746067626f6f745f6d73006477656172a3677772697474656e0065746f64617900666461795f6d7300666275666665729007070707070707070707070707070707"
    );
}

#[test]
fn a_reservation_is_renewed_long_before_it_is_used_up_and_exact_at_the_end() {
    let mut state = LaneState::default();
    let mut mark = LaneMark {
        next: 10,
        ..LaneMark::default()
    };
    for (next, ends, reserved) in [
        (10, false, 10 + RESERVE),
        (10 + RESERVE / 2, false, 10 + RESERVE),
        (11 + RESERVE / 2, false, 11 + RESERVE / 2 + RESERVE),
        (12 + RESERVE / 2, true, 12 + RESERVE / 2),
    ] {
        (mark.next, mark.ends) = (next, ends);
        state.reserve(&mark);
        assert_eq!(state.reserved, reserved, "{mark:?}");
    }
}
