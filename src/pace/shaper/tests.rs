//! The order and the rates of lanes, in virtual time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Settings;
use crate::pace::number;

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
    let mut link = Link::new(Duration::from_secs(40), Duration::ZERO, begun);
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
fn a_lane_in_order_catches_up_at_its_usual_rate_and_a_share_of_the_gateways_more() {
    let (link, begun) = up_after(3600, Instant::now());
    let usual = Recovered {
        waiting: 36_000,
        oldest: begun.checked_sub(Duration::from_hours(1)),
    };
    let limited = Shape {
        catch_up: Some(0.4),
        ..shape(0, 0, None)
    };
    // `critical` is live first and a second ahead, `state` in order; 10 events a second are usual.
    for (lane, expected) in [(0, 404), (1, 1400)] {
        let mut found = [Recovered::default(); 5];
        found[lane] = usual;
        let mut shaper = Shaper::new(limited.clone(), &lanes(), &found, begun);
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
fn alarms_of_an_outage_wait_for_neither_spread_nor_ramp_and_go_before_all_else() {
    let (link, now) = up_after(600, Instant::now());
    let usual = Recovered {
        waiting: 6_000,
        oldest: now.checked_sub(Duration::from_mins(10)),
    };
    let limited = Shape {
        catch_up: Some(0.4),
        ..shape(30, 30, None)
    };
    let mut shaper = Shaper::new(limited, &lanes(), &[usual; 5], now);
    let mut sent = 0;
    while let Decision::Send { lane, .. } = shaper.turn(&backlog(&[0, 1, 2, 3], true), &link, now) {
        assert_eq!(lane, LaneId(0));
        shaper.sent(lane, 1, 200, true, &link, now);
        sent += 1;
    }
    // A second of two fifths of 50 events, and of the 40 that wait behind their backlogs.
    assert!((60..=70).contains(&sent), "{sent}");
}

#[test]
fn a_short_outage_has_a_short_spread_and_one_that_goes_on_begins_no_new_one() {
    // Seconds away, back, away again; when the replay begins after the last return, in seconds.
    for (away, back, again, start) in [
        (600, 100, 600, 20),
        (600, 15, 3, 5),
        (600, 15, 30, 5),
        (200, 100, 80, 4),
        (40, 100, 1000, 20),
        (100, 4, 4, 1),
    ] {
        let begun = Instant::now();
        let (mut link, mut now) = up_after(away, begun);
        now += Duration::from_secs(back);
        link.connected(false, now);
        now += Duration::from_secs(again);
        link.connected(true, now);
        let mut shaper = shaper(Shape {
            spread: Duration::from_secs(40),
            ..shape(20, 0, None)
        });
        let turn = shaper.turn(&backlog(&[1], true), &link, now);
        let begins = match turn {
            Decision::Wait { until } => (until - now).as_secs_f64().round(),
            Decision::Send { .. } => 0.0,
            Decision::Idle => panic!("there is work"),
        };
        assert!(
            (begins - f64::from(start)).abs() < 0.5,
            "{away}, {back}, {again}: {begins}"
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

/// A vehicle's link, up and down in `phases`, that carries `more` times what comes in; one lane in order takes in 100 events a second.
/// Returns the seconds of events that wait at the end of each phase in which the link is up.
fn flaps(phases: &[(u64, u64)], more: f64) -> Vec<f64> {
    const RATE: f64 = 100.0;
    const STEP: Duration = Duration::from_millis(100);
    let begun = Instant::now();
    let shape = Shape::new(&crate::pace::ReplaySection::default(), "gw");
    let mut link = Link::new(shape.returning(), Duration::ZERO, begun);
    let mut shaper = Shaper::new(shape, &lanes(), &[], begun);
    let (mut now, mut waiting, mut accepted, mut left) = (begun, 0.0, 0.0, Vec::new());
    for (away, there) in [(0, 60)].iter().chain(phases) {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let carries = more * RATE * (away + there) as f64 / *there as f64;
        for step in 0..(away + there) * 10 {
            let is_there = step >= away * 10;
            link.connected(is_there, now);
            now += STEP;
            accepted += RATE / 10.0;
            waiting += RATE / 10.0;
            if step % 10 == 0 {
                let taken_in = (number::whole(accepted), number::whole(accepted * 200.0));
                shaper.observe(LaneId(1), taken_in, number::whole(waiting), now);
            }
            let mut room = if is_there { carries / 10.0 } else { 0.0 };
            while waiting >= 1.0 && room >= 1.0 {
                let Decision::Send { lane, .. } = shaper.turn(&backlog(&[1], true), &link, now)
                else {
                    break;
                };
                shaper.sent(lane, 1, 200, true, &link, now);
                (waiting, room) = (waiting - 1.0, room - 1.0);
            }
        }
        left.push(waiting / RATE);
    }
    left
}

#[test]
fn a_vehicle_that_is_away_a_quarter_of_the_time_has_caught_up_each_time() {
    for phases in [[(20, 60); 12], [(5, 10); 12]] {
        let left = flaps(&phases, 10.0);
        assert!(left.iter().all(|seconds| *seconds < 2.0), "{left:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Where the link is there for a tenth more than what comes in, the backlog stays bounded.
    #[test]
    fn a_link_that_flaps_leaves_no_growing_backlog(phases in prop::collection::vec((5_u64..60, 10_u64..120), 60)) {
        let left = flaps(&phases, 1.1);
        let most = left.iter().copied().fold(0.0, f64::max);
        let last = left.iter().rev().take(20).copied().fold(f64::MAX, f64::min);
        prop_assert!(most < 600.0 && last < 120.0, "seconds of events: {left:?}");
    }

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
