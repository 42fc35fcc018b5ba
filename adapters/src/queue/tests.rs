use std::sync::atomic::Ordering;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{AdapterKind, Origin, Outcome, Receipts, Refused, Stamp};

fn event(mark: u64, size: usize) -> Event {
    Event {
        origin: Arc::new(Origin {
            adapter: AdapterKind::Mqtt,
            source: "plant".into(),
            ..Origin::nowhere()
        }),
        stamp: Stamp::default(),
        mark,
        payload: Bytes::from(vec![0; size]),
        properties: None,
    }
}

/// One source's end: its marks are its name and a number.
struct End {
    queue: Arc<Queue>,
    claimant: crate::receipt::Claimant,
    receipts: Receipts,
    stats: Arc<SourceStats>,
}

fn end(inlet: &Inlet) -> End {
    let stats = Arc::new(SourceStats::default());
    let (claimant, receipts) = Receipts::new();
    End {
        queue: inlet.open("plant", Arc::clone(&stats), Bound::SOURCE),
        claimant,
        receipts,
        stats,
    }
}

impl End {
    fn push(&self, mark: u64, size: usize) {
        self.queue.push(Submission {
            event: event(mark, size),
            claim: self.claimant.open(),
            patience: Patience::Waits,
        });
    }
}

#[test]
fn a_queue_is_bounded_in_events_and_in_bytes_and_one_event_always_fits() {
    let (inlet, _queues) = queues::<()>();
    // What a submission itself takes differs from one compiler to another: no size here is near a limit.
    for (size, fits) in [(0, 1024), (10_600, 25), (1_000_000, 1)] {
        let end = end(&inlet);
        let mut held = 0;
        while end.queue.has_room() {
            end.push(held, size);
            held += 1;
        }
        assert_eq!(held, fits, "events of {size} bytes");
    }
}

#[test]
fn a_source_with_little_waits_for_no_more_than_a_turn_of_one_with_much() {
    let (inlet, mut queues) = queues::<()>();
    let (bulk, alarms) = (end(&inlet), end(&inlet));
    (0..1000).for_each(|mark| bulk.push(mark, 10));
    alarms.push(7_000, 10);
    let mut taken = Vec::new();
    queues.take(256, Instant::now(), |submission| {
        taken.push(submission.event.mark);
        Ok(())
    });
    assert_eq!(taken.iter().position(|mark| *mark == 7_000), Some(TURN));
    assert_eq!(taken.len(), 256);
}

#[test]
fn a_paused_source_holds_up_no_other_and_goes_on_where_it_stopped() {
    let (inlet, mut queues) = queues::<&str>();
    let (bulk, alarms) = (end(&inlet), end(&inlet));
    let begun = Instant::now();
    let mut taken = Vec::new();
    (0..100).for_each(|mark| bulk.push(mark, 10));
    queues.take(256, begun, |submission| {
        if taken.len() == 30 {
            return Err((Box::new(submission), "lane"));
        }
        taken.push(submission.event.mark);
        Ok(())
    });
    bulk.push(100, 10);
    alarms.push(7_000, 10);
    queues.resume(begun, |_| true);
    queues.take(256, begun, |submission| {
        taken.push(submission.event.mark);
        Ok(())
    });
    assert_eq!(taken.split_off(30), [7_000], "the other one only");
    let paused: Vec<_> = queues.paused().map(|one| *one.waits_for).collect();
    assert!(paused == ["lane"] && !queues.is_empty());
    let later = begun + Duration::from_millis(300);
    queues.resume(later, |_| false);
    queues.take(256, later, |submission| {
        taken.push(submission.event.mark);
        Ok(())
    });
    assert!(taken.into_iter().eq(0..=100) && queues.is_empty());
    assert_eq!(bulk.stats.pauses.load(Ordering::Relaxed), 1);
    assert_eq!(bulk.stats.paused_us.load(Ordering::Relaxed), 300_000);
    queues.resume(later + Duration::from_secs(1), |_| true);
    assert_eq!(queues.paused().count(), 0);
}

#[tokio::test]
async fn a_source_that_waits_for_room_goes_on_when_something_is_taken_or_the_agent_has_gone() {
    let (inlet, mut queues) = queues::<()>();
    let mut end = end(&inlet);
    while end.queue.has_room() {
        end.push(0, 1000);
    }
    queues.filled().await;
    let (room, ()) = tokio::join!(end.queue.room(), async {
        queues.take(1, Instant::now(), |_| Ok(()));
    });
    let () = room;
    end.push(0, 100_000);
    assert!(!end.queue.has_room());
    drop(queues);
    end.queue.room().await;
    end.push(0, 1000);
    while end.receipts.outstanding() > 0 {
        let stopping = Outcome::Refused(Refused::Stopping);
        assert_eq!(end.receipts.ready(), Some(stopping));
    }
}

proptest! {
    /// Whatever waits and for how long, each source's events are taken in its order, each once, and none is left behind.
    #[test]
    fn each_source_keeps_its_order_whoever_is_paused(
        steps in prop::collection::vec((0_usize..3, 1_u64..80, prop::collection::vec(any::<bool>(), 3)), 1..60),
    ) {
        let (inlet, mut queues) = queues::<usize>();
        let ends: Vec<End> = (0..3).map(|_| end(&inlet)).collect();
        let (mut given, mut taken) = ([0_u64; 3], [0_u64; 3]);
        let mut now = Instant::now();
        for (who, many, blocked) in steps {
            for _ in 0..many {
                let mark = u64::try_from(who).unwrap() << 32 | given[who];
                ends[who].push(mark, 5);
                given[who] += 1;
            }
            now += Duration::from_millis(100);
            queues.resume(now, |who| blocked[*who]);
            queues.take(100, now, |submission| {
                let who = usize::try_from(submission.event.mark >> 32).unwrap();
                if blocked[who] {
                    return Err((Box::new(submission), who));
                }
                assert_eq!(submission.event.mark & 0xffff_ffff, taken[who]);
                taken[who] += 1;
                Ok(())
            });
        }
        while !queues.is_empty() {
            queues.resume(now, |_| false);
            queues.take(100, now, |submission| {
                let who = usize::try_from(submission.event.mark >> 32).unwrap();
                assert_eq!(submission.event.mark & 0xffff_ffff, taken[who]);
                taken[who] += 1;
                Ok(())
            });
        }
        prop_assert_eq!(given, taken);
        prop_assert!(ends.iter().all(|end| end.queue.held().bytes == 0));
    }
}
