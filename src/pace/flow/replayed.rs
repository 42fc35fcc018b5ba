//! The flow on what real connections measured, second by second: `tests/bars/link` and `tests/bars/quota` with
//! `log.level = "info,tidegate::uplink=trace"`.

use super::*;

/// 2 Mbit/s, 300 ms, 1 % loss, from the first alarm to the middle of a drain.
const LOSSY: &str = include_str!("traces/lossy.csv");
/// A client quota of 64 KiB/s that is set while a backlog drains.
const QUOTA: &str = include_str!("traces/quota.csv");
const SECOND: Duration = Duration::from_secs(1);
const PARTS: u32 = 10;

struct Second {
    landed: usize,
    in_flight: usize,
    round_trip: Duration,
    throttle: Duration,
}

fn seconds(trace: &str) -> Vec<Second> {
    let lines = trace.lines().filter(|line| !line.starts_with('#'));
    let second = |line: &str| {
        let numbers: Vec<u64> = line.split(',').map(|n| n.parse().unwrap()).collect();
        Second {
            landed: usize::try_from(numbers[1]).unwrap(),
            in_flight: usize::try_from(numbers[2]).unwrap(),
            round_trip: Duration::from_micros(numbers[3]),
            throttle: Duration::from_millis(numbers[4]),
        }
    };
    lines.map(second).collect()
}

/// Has the flow live through a second of the trace.
fn live(flow: &mut Flow, second: &Second, now: &mut Instant) {
    for _ in 0..PARTS {
        *now += SECOND / PARTS;
        let landed = second.landed / PARTS as usize;
        flow.sent(landed, *now);
        flow.landed(landed, true, *now);
    }
    if !second.round_trip.is_zero() {
        flow.took(second.round_trip);
    }
    if !second.throttle.is_zero() {
        flow.throttled(second.throttle, *now);
    }
}

#[test]
fn a_slow_and_lossy_link_is_known_and_given_what_it_carries() {
    let mut now = Instant::now();
    let mut flow = Flow::new(1 << 20, now);
    for (number, second) in seconds(LOSSY).iter().enumerate() {
        live(&mut flow, second, &mut now);
        // What the agent had under way when this was recorded.
        let (cap, had) = (flow.cap(now) * 5 / 4, second.in_flight);
        assert!(number < 12 || cap > had, "{number}: {cap} < {had}");
    }
    // Half of it is compressed away.
    let carried = 250_000.0 * 1.5;
    assert!(
        (0.7..1.3).contains(&(flow.goodput() / carried)),
        "{}",
        flow.goodput()
    );
    let least = flow.round_trip().unwrap().as_millis();
    assert!(
        (300..330).contains(&least),
        "{least} ms, with the queue of 2 s not in it"
    );
    assert_eq!(flow.quota(now), None);
}

#[test]
fn a_quota_is_found_in_what_was_throttled() {
    let mut now = Instant::now();
    let mut flow = Flow::new(1 << 20, now);
    let all = seconds(QUOTA);
    let throttled = all.iter().filter(|second| !second.throttle.is_zero());
    assert!(throttled.count() > 0, "the trace holds what it is about");
    let mut found = Vec::new();
    for second in &all {
        live(&mut flow, second, &mut now);
        found.extend(flow.quota(now));
    }
    // In bytes as they are handed over; on the wire it is 64 KiB/s. The recorded agent does not follow what is found
    // here, so that it only has to come near.
    let quota = 83_500.0;
    let near = found
        .iter()
        .filter(|found| (0.8..1.2).contains(&(**found / quota)));
    assert!(near.count() > 12, "{found:?}");
    let least = found.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(
        least > 0.5 * quota,
        "{least}: a burst is not taken for the rule"
    );
}
