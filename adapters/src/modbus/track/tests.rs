use std::time::Duration;

use super::super::value::reading;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn group(keys: &str, field: &str) -> GroupSection {
    toml::from_str(&format!(
        "name = \"g\"\n{keys}\n[[field]]\nname = \"x\"\naddress = 0\n{field}"
    ))
    .unwrap()
}

/// Reads `registers` one after the other, `every` so long, and returns the events: when, and the entry of `x`.
fn events(group: &GroupSection, registers: &[u16], every: Duration) -> Vec<(u32, Value)> {
    let begun = Instant::now();
    let mut track = Track::new(group, begun);
    let mut events = Vec::new();
    for (number, register) in (1..).zip(registers) {
        let readings = vec![reading(&group.field[0], 3, 0, &register.to_be_bytes())];
        let taken = track.take(&group.field, 3, readings, begun + every * number);
        events.extend(taken.values.map(|values| (number, values["x"].clone())));
    }
    events
}

fn when(events: &[(u32, Value)]) -> Vec<u32> {
    events.iter().map(|(number, _)| *number).collect()
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_is_told_at_the_heartbeat_alone() {
    for (field, registers, told) in [
        (
            "",
            &[5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6][..],
            &[1, 4, 14][..],
        ),
        ("deadband = 2.0", &[100, 102, 98, 103, 101], &[1, 4]),
        (
            "deadband_percent = 10.0",
            &[100, 110, 111, 101, 99],
            &[1, 3, 5],
        ),
        ("missing = [5]", &[4, 5, 5, 4], &[1, 2, 4]),
        ("names = { 0 = \"off\", 1 = \"on\" }", &[0, 0, 1], &[1, 3]),
    ] {
        let group = group("report = \"change\"\nheartbeat = \"10s\"", field);
        let events = events(&group, registers, SECOND);
        assert_eq!(when(&events), told, "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_and_so_is_its_end() {
    let group = group("report = \"change\"\nheartbeat = \"10s\"", "");
    let now = Instant::now();
    let mut track = Track::new(&group, now);
    let good = || vec![reading(&group.field[0], 3, 0, &[0, 1])];
    assert!(track.take(&group.field, 3, good(), now).values.is_some());
    assert!(track.failed("timeout", now));
    assert!(!track.failed("timeout", now + SECOND));
    assert!(track.failed("exception", now + SECOND));
    assert!(track.failed("exception", now + SECOND * 11));
    assert!(track.take(&group.field, 3, good(), now).values.is_some());
    assert!(track.take(&group.field, 3, good(), now).values.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_window_makes_one_event_of_its_reads() {
    let group = group("window = \"4s\"", "missing = [9]");
    let events = events(&group, &[3, 1, 9, 4, 7, 7, 7, 9], SECOND);
    assert_eq!(when(&events), [4, 8]);
    let (_, first) = &events[0];
    assert_eq!(
        *first,
        json!({ "value": 4, "quality": "good", "min": 1.0, "max": 4.0, "mean": 8.0 / 3.0, "count": 3 })
    );
    let (_, second) = &events[1];
    assert_eq!(
        (&second["quality"], &second["count"]),
        (&json!("missing"), &json!(3))
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_without_an_answer_says_so_when_it_ends() {
    let now = Instant::now();
    let mut track = Track::new(&group("window = \"4s\"", ""), now);
    let told: Vec<u32> = (1..=9)
        .filter(|n| track.failed("timeout", now + SECOND * *n))
        .collect();
    assert_eq!(told, [4, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_counter_has_a_rate_over_its_end_and_none_over_a_restart() {
    let group = group("", "rate_per = \"1m\"\nscale = 0.5");
    let rates: Vec<Value> = events(&group, &[65_000, 65_500, 64, 100, 3], SECOND * 2)
        .into_iter()
        .map(|(_, entry)| entry["rate"].clone())
        .collect();
    let expected = [
        Value::Null,
        json!(7500.0),
        json!(1500.0),
        json!(540.0),
        Value::Null,
    ];
    assert_eq!(rates, expected);
    assert_eq!(rise(9_990, 5, 9_999), Some(15), "four digits of BCD");
    assert_eq!(rise(5, 4, u64::MAX), None);
    assert_eq!(rise(u64::MAX, 0, u64::MAX), Some(1));
}

/// The counter stands in the first register, its scale factor in the second.
#[tokio::test(start_paused = true)]
async fn a_counter_whose_scale_factor_is_in_a_register_has_its_rate_in_the_same_unit() {
    let group = group("", "rate_per = \"1m\"\nscale_from = 1");
    let begun = Instant::now();
    let mut track = Track::new(&group, begun);
    for (second, count, factor, value, rate, why) in [
        (1, 65_000, -1, json!(6500.0), Value::Null, "the first"),
        (2, 65_100, -1, json!(6510.0), json!(600.0), "ten a second"),
        (3, 64, -1, json!(6.4), json!(3000.0), "over its end"),
        (4, 7, 0, json!(7.0), Value::Null, "another unit"),
        (5, 9, 0, json!(9.0), json!(120.0), "which goes on"),
        (6, 11, i16::MIN, Value::Null, Value::Null, "no factor"),
        (7, 13, 0, json!(13.0), json!(120.0), "over the gap"),
    ] {
        let data = [u16::to_be_bytes(count), i16::to_be_bytes(factor)].concat();
        let readings = vec![reading(&group.field[0], 3, 0, &data)];
        let now = begun + SECOND * second;
        let taken = track.take(&group.field, 3, readings, now);
        assert_eq!(taken.restarted, None, "{why}");
        let entry = &taken.values.unwrap()["x"];
        assert_eq!((&entry["value"], &entry["rate"]), (&value, &rate), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn bands_and_windows_are_of_the_scaled_value_whatever_its_factor() {
    let told = |keys: &str, field: &str| {
        let group = group(keys, &format!("scale_from = 1\n{field}"));
        let begun = Instant::now();
        let mut track = Track::new(&group, begun);
        let mut told = Vec::new();
        for (second, count, factor) in [(1, 2300, -1), (2, 230, 0), (3, 231, 0), (4, 2330, -1)] {
            let data = [u16::to_be_bytes(count), i16::to_be_bytes(factor)].concat();
            let readings = vec![reading(&group.field[0], 3, 0, &data)];
            let taken = track.take(&group.field, 3, readings, begun + SECOND * second);
            told.extend(taken.values.map(|values| (second, values["x"].clone())));
        }
        told
    };
    let changes = told("report = \"change\"", "deadband = 1.0");
    assert_eq!(when(&changes), [1, 4]);
    let window = told("window = \"4s\"", "");
    assert_eq!(
        window,
        [(
            4,
            json!({ "value": 233.0, "quality": "good", "min": 230.0, "max": 233.0, "mean": 231.0, "count": 4 })
        )]
    );
}
