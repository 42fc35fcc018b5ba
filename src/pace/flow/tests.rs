//! The flow on links and under quotas that are made up.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const RECORD: usize = 1_000;
const STEP: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A link with a queue without end.
struct Wire {
    bytes_per_s: f64,
    round_trip: Duration,
    free_at: Instant,
    under_way: VecDeque<Instant>,
}

impl Wire {
    fn new(bytes_per_s: f64, round_trip_ms: u64, now: Instant) -> Wire {
        Wire {
            bytes_per_s,
            round_trip: Duration::from_millis(round_trip_ms),
            free_at: now,
            under_way: VecDeque::new(),
        }
    }

    fn send(&mut self, now: Instant) {
        let takes = Duration::from_secs_f64(float(RECORD) / self.bytes_per_s);
        self.free_at = self.free_at.max(now) + takes;
        self.under_way.push_back(self.free_at + self.round_trip);
    }
}

/// Sends all that the flow allows for `time`; returns bytes a second, and the longest that one waited to leave.
fn run(flow: &mut Flow, wire: &mut Wire, now: &mut Instant, time: Duration) -> (f64, Duration) {
    let begun = *now;
    let (mut delivered, mut longest) = (0, Duration::ZERO);
    while *now < begun + time {
        while wire.under_way.pop_front_if(|at| *at <= *now).is_some() {
            delivered += RECORD;
            flow.landed(RECORD, true, *now);
            flow.took(wire.round_trip);
        }
        while matches!(flow.ask(RECORD, *now), Room::Now(_)) {
            wire.send(*now);
            flow.sent(RECORD, *now);
            longest = longest.max(wire.free_at.saturating_duration_since(*now));
        }
        *now += STEP;
    }
    (float(delivered) / time.as_secs_f64(), longest)
}

#[test]
fn any_link_is_filled_and_no_more_than_two_seconds_wait_before_it() {
    for (bytes_per_s, round_trip_ms) in [(4e3, 900), (30e3, 600), (250e3, 300), (1e6, 40), (4e6, 1)]
    {
        let mut now = Instant::now();
        let (mut flow, mut wire) = (
            Flow::new(8 << 20, now),
            Wire::new(bytes_per_s, round_trip_ms, now),
        );
        run(&mut flow, &mut wire, &mut now, SECOND * 30);
        let (got, longest) = run(&mut flow, &mut wire, &mut now, SECOND * 30);
        assert!(got > 0.95 * bytes_per_s, "{got} of {bytes_per_s}");
        let least = Duration::from_secs_f64(CAP_MIN / bytes_per_s);
        assert!(longest < least + SECOND * 2, "{longest:?} at {bytes_per_s}");
    }
}

#[test]
fn a_link_that_became_slow_is_given_less_within_a_minute() {
    let mut now = Instant::now();
    let (mut flow, mut wire) = (Flow::new(8 << 20, now), Wire::new(1e6, 40, now));
    run(&mut flow, &mut wire, &mut now, SECOND * 20);
    wire.bytes_per_s = 50e3;
    run(&mut flow, &mut wire, &mut now, SECOND * 45);
    let (got, longest) = run(&mut flow, &mut wire, &mut now, SECOND * 20);
    assert!(got > 0.95 * 50e3, "{got}");
    assert!(longest < SECOND * 2, "{longest:?}");
}

#[test]
fn errors_halve_what_is_under_way_and_what_is_delivered_gives_it_back() {
    let mut now = Instant::now();
    let (mut flow, mut wire) = (Flow::new(1 << 20, now), Wire::new(250e3, 100, now));
    run(&mut flow, &mut wire, &mut now, SECOND * 10);
    let before = flow.cap(now);
    for _ in 0..2 {
        flow.landed(RECORD, false, now);
        now += SECOND;
        flow.end_window(now);
    }
    assert!(flow.cap(now) <= before / 4, "{} of {before}", flow.cap(now));
    run(&mut flow, &mut wire, &mut now, SECOND * 15);
    assert!(
        flow.cap(now) >= before * 9 / 10,
        "{} of {before}",
        flow.cap(now)
    );
}

#[test]
fn a_record_larger_than_the_cap_goes_alone() {
    let now = Instant::now();
    let mut flow = Flow::new(1 << 20, now);
    assert_eq!(flow.ask(120_000, now), Room::Now(120_000));
    flow.sent(120_000, now);
    assert_eq!(flow.ask(100, now + SECOND), Room::WhenDelivered);
    assert_eq!(flow.hold(), Some(Hold::Link));
}

/// A broker's quota as Kafka counts it: ten seconds and the one that has begun, each from its first request.
struct Broker {
    quota: f64,
    samples: VecDeque<(Instant, f64)>,
    silent_until: Instant,
}

impl Broker {
    /// Takes a request, and says how long it is silent.
    fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        match self.samples.back_mut() {
            Some((since, sum)) if now < *since + SECOND => *sum += float(bytes),
            _ => self.samples.push_back((now, float(bytes))),
        }
        let is_old = |(since, _): &mut (Instant, f64)| now > *since + SECOND * 11;
        while self.samples.pop_front_if(is_old).is_some() {}
        let elapsed = (now - self.samples[0].0).as_secs_f64();
        let window = elapsed + (10.0 - elapsed.floor()).max(0.0);
        let sum: f64 = self.samples.iter().map(|(_, sum)| sum).sum();
        let wait = Duration::from_secs_f64((sum / self.quota - window).max(0.0));
        self.silent_until = now + wait;
        wait
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    /// However much is on its way then, and in requests of whatever size.
    #[test]
    fn a_quota_that_is_set_while_records_flow_is_kept_under_within_half_a_minute(
        before in 1e6..30e6, sizes in prop::collection::vec(20usize..260, 16..64),
    ) {
        let mut now = Instant::now();
        let (mut flow, mut wire) = (Flow::new(1 << 20, now), Wire::new(before, 1, now));
        run(&mut flow, &mut wire, &mut now, SECOND * 5);
        let begun = now;
        let mut broker = Broker { quota: 64e3, samples: VecDeque::new(), silent_until: now };
        let (mut queue, mut longest, mut landed) = (flow.in_flight, Duration::ZERO, [0.0; 3]);
        let (mut sizes, mut statistics) = (sizes.iter().cycle(), now + SECOND);
        while now < begun + SECOND * 90 {
            while matches!(flow.ask(RECORD, now), Room::Now(_)) {
                flow.sent(RECORD, now);
                queue += RECORD;
            }
            if now >= broker.silent_until && queue > 0 {
                let request = queue.min(sizes.next().unwrap() * RECORD);
                queue -= request;
                longest = longest.max(broker.take(request, now));
                flow.landed(request, true, now);
                landed[usize::try_from((now - begun).as_secs() / 30).unwrap()] += float(request);
            }
            if now >= statistics {
                statistics += SECOND;
                if !longest.is_zero() {
                    flow.throttled(std::mem::take(&mut longest), now);
                }
            }
            now += STEP * 10;
        }
        let shares = landed.map(|bytes| bytes / 30.0 / broker.quota);
        // What is on its way then goes out in bursts.
        prop_assert!((0.8..=1.15).contains(&shares[1]) && (0.88..=1.02).contains(&shares[2]), "{shares:?}");
    }
}
