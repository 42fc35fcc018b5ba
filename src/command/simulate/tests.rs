//! A small fleet: what the bar `simulation` shows of a large one.

use super::*;

fn simulation(gateways: u32) -> Simulation {
    Simulation {
        config: None,
        gateways,
        outage: "1h".parse().unwrap(),
        rate: 10.0,
        size: 200,
        capacity: 3.0,
        out: None,
    }
}

#[test]
fn a_fleet_that_catches_up_at_a_share_of_its_rate_is_no_load_and_one_that_does_not_is() {
    let file = File::of_defaults();
    let what = simulation(600);
    let [configured, _, nothing] =
        policies(&file).map(|policy| Fleet::new(&what, &policy, 0).run());
    assert!(configured.peak() < 1.6, "{}", configured.peak());
    assert!(nothing.peak() > 2.5, "{}", nothing.peak());
    assert!(nothing.latest_alarm_s() > 5.0 && configured.latest_alarm_s() < 1.0);
    // An hour at two fifths more than usual.
    let drained = configured.drained_s.unwrap() / 3600.0;
    assert!((2.0..3.2).contains(&drained), "{drained} h");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let file = File::of_defaults();
    let error = simulation(0).run(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gateways: `0` is too small; use 1 or more"
    );
}
