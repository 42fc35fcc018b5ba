//! The order and the rates of lanes, in virtual time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Settings;

fn lanes() -> Vec<LanePace> {
    Settings::of("").intents.paces()
}

fn shape(delay: u64, ramp: u64, events: Option<u32>) -> Shape {
    Shape {
        spread: Duration::from_secs(delay),
        delay: Duration::from_secs(delay),
        ramp: Duration::from_secs(ramp),
        events_per_s: events,
        bytes_per_s: None,
        catch_up: None,
    }
}

fn shaper(shape: Shape) -> Shaper {
    Shaper::new(shape, &lanes(), &[], Instant::now())
}

fn up_after(outage: u64, begun: Instant) -> (Link, Instant) {
    let mut link = Link::new(false, begun);
    link.connected(false, begun);
    let now = begun + Duration::from_secs(outage);
    link.delivered(now);
    (link, now)
}

fn backlog(loaded: &[usize], replay: bool) -> Vec<Backlog> {
    let lane = |index: u8| Backlog {
        lane: LaneId(index),
        next: loaded.contains(&usize::from(index)).then_some(200),
        replay,
        room: Room::Now(1 << 20),
        in_flight: 0,
    };
    (0..5).map(lane).collect()
}

#[test]
fn the_urgent_lane_goes_before_all_others_at_every_turn() {
    let (link, now) = up_after(1, Instant::now());
    let mut shaper = shaper(shape(0, 0, None));
    for _ in 0..50 {
        let turn = shaper.turn(&backlog(&[0, 1, 2, 3], false), &link, now);
        assert!(matches!(
            turn,
            Decision::Send {
                lane: LaneId(0),
                ..
            }
        ));
        shaper.sent(LaneId(0), 1, 200, false, &link, now);
    }
}

#[test]
fn the_others_share_by_weight_and_none_starves() {
    let (link, now) = up_after(1, Instant::now());
    let mut shaper = shaper(shape(0, 0, None));
    let mut bytes = [0; 5];
    for _ in 0..7_000 {
        let Decision::Send {
            lane,
            bytes: allowed,
        } = shaper.turn(&backlog(&[1, 2, 3], false), &link, now)
        else {
            panic!("there is work");
        };
        let sent = allowed.min(4096);
        bytes[lane.index()] += sent;
        shaper.sent(lane, 1, sent, false, &link, now);
    }
    // Weights 4, 2 and 1, in tenths.
    let tenths = |index: usize| bytes[index] * 10 / bytes[3];
    assert!((38..=42).contains(&tenths(1)), "{bytes:?}");
    assert!((19..=21).contains(&tenths(2)), "{bytes:?}");
}

#[test]
fn replay_waits_for_this_gateways_moment_and_live_records_do_not() {
    let (link, now) = up_after(600, Instant::now());
    let mut shaper = shaper(shape(20, 0, None));
    let start = now + Duration::from_secs(20);
    assert_eq!(
        shaper.turn(&backlog(&[1], true), &link, now),
        Decision::Wait { until: start }
    );
    assert!(matches!(
        shaper.turn(&backlog(&[1], false), &link, now),
        Decision::Send { .. }
    ));
    assert!(matches!(
        shaper.turn(&backlog(&[1], true), &link, start),
        Decision::Send { .. }
    ));
}

#[test]
fn a_lane_in_order_catches_up_at_its_usual_rate_and_a_share_more() {
    let (link, begun) = up_after(3600, Instant::now());
    let usual = Recovered {
        waiting: 36_000,
        oldest: begun.checked_sub(Duration::from_hours(1)),
    };
    let limited = Shape {
        catch_up: Some(0.4),
        ..shape(0, 0, None)
    };
    // `critical` is live first, `state` in order; 10 events a second are usual in each.
    for (lane, expected) in [(0, 400), (1, 1400)] {
        let mut shaper = Shaper::new(limited.clone(), &lanes(), &[usual; 5], begun);
        let (mut now, mut sent) = (begun, 0);
        while now < begun + Duration::from_secs(100) {
            // Half of it arrived since the return.
            let replay = lane == 0 || sent % 2 == 0;
            match shaper.turn(&backlog(&[lane], replay), &link, now) {
                Decision::Send { lane, .. } => {
                    shaper.sent(lane, 1, 200, replay, &link, now);
                    sent += 1;
                }
                Decision::Wait { until } => now = until,
                Decision::Idle => panic!("there is work"),
            }
        }
        assert!(
            (expected..=expected + 5).contains(&sent),
            "{sent} of lane {lane}"
        );
    }
}

#[test]
fn a_turn_under_a_rate_is_no_more_than_a_second_of_it() {
    let (link, now) = up_after(600, Instant::now());
    let mut shaper = shaper(shape(0, 0, Some(20)));
    let turn = shaper.turn(&backlog(&[1], true), &link, now);
    let expected = Decision::Send {
        lane: LaneId(1),
        bytes: 20 * 200,
    };
    assert_eq!(turn, expected);
}

#[test]
fn a_fleet_starts_all_over_the_spread() {
    let replay = crate::pace::ReplaySection::default();
    let mut seconds: Vec<u64> = (0..1000)
        .map(|n| Shape::new(&replay, &format!("gw-{n}")).delay.as_secs() / 6)
        .collect();
    seconds.sort_unstable();
    for fifth in 0..5 {
        let here = seconds.iter().filter(|second| **second == fifth).count();
        assert!(
            (140..260).contains(&here),
            "{here} of 1000 gateways start in fifth {fifth}"
        );
    }
}

proptest! {
    /// Whatever is offered, replay keeps to its rate from the start of the ramp on.
    #[test]
    fn replay_keeps_its_rate(waits in prop::collection::vec(0u64..20_000, 50..300), ramp in 0u64..20) {
        let (link, mut now) = up_after(600, Instant::now());
        let begun = now;
        let mut shaper = shaper(shape(0, ramp, Some(1000)));
        let mut sent = 0_u32;
        for wait in waits {
            now += Duration::from_micros(wait);
            while let Decision::Send { lane, .. } = shaper.turn(&backlog(&[1, 3], true), &link, now) {
                shaper.sent(lane, 10, 2_000, true, &link, now);
                sent += 10;
            }
        }
        let allowed = 1000.0 * ((now - begun).as_secs_f64() + 0.1) + 10.0;
        prop_assert!(f64::from(sent) <= allowed, "{sent} > {allowed}");
    }
}
