//! Windows and budgets, on a calendar of their own.

use super::*;
use crate::config::Settings;

const CRITICAL: LaneId = LaneId(0);
const STATE: LaneId = LaneId(1);
const DIAGNOSTIC: LaneId = LaneId(3);

fn allowance(link: &str, delay: u64) -> Allowance {
    let settings = Settings::of(&format!("[link]\ntime_zone = \"UTC0\"\n{link}"));
    let lanes = settings.intents.paces();
    Allowance::new(&settings.link, &lanes, Duration::from_secs(delay))
}

fn at(text: &str) -> Timestamp {
    format!("{text}Z").parse().unwrap()
}

fn used(allowance: &Allowance) -> u64 {
    allowance.budgets().next().unwrap().used
}

fn is_open(allowance: &Allowance, lane: LaneId) -> bool {
    matches!(allowance.ask(lane, 0, Instant::now()), Room::Now(_))
}

#[test]
fn bulk_waits_for_its_window_and_an_alarm_for_none() {
    let mut link = allowance("[[link.window]]\nopen = \"* 22-5 * * *\"\n", 0);
    let now = Instant::now();
    link.follow_calendar(Some(at("2026-11-25T21:00:00")), now);
    assert!(is_open(&link, CRITICAL));
    assert!(!is_open(&link, STATE));
    let closed = Room::Closed {
        until: now + Duration::from_hours(1),
        why: Wait::Window(Duration::from_hours(1)),
    };
    assert_eq!(link.ask(STATE, 0, now), closed);
    link.follow_calendar(Some(at("2026-11-25T22:00:00")), now);
    assert!(is_open(&link, STATE));
    link.follow_calendar(Some(at("2026-11-26T06:00:00")), now);
    assert!(!is_open(&link, STATE));
    link.follow_calendar(None, now);
    assert!(is_open(&link, CRITICAL));
    assert!(!is_open(&link, STATE), "nobody knows what time it is");
}

#[test]
fn a_window_of_one_intent_is_no_others_and_opens_later_by_the_gateways_place_in_the_fleet() {
    let window = "[[link.window]]\nintents = [\"diagnostic\"]\nopen = \"* 22 * * *\"\n";
    let mut link = allowance(window, 600);
    let now = Instant::now();
    link.follow_calendar(Some(at("2026-11-25T22:09:00")), now);
    assert!(is_open(&link, STATE));
    assert!(!is_open(&link, DIAGNOSTIC));
    link.follow_calendar(Some(at("2026-11-25T22:10:00")), now);
    assert!(is_open(&link, DIAGNOSTIC));
    link.follow_calendar(Some(at("2026-11-25T23:00:00")), now);
    assert!(!is_open(&link, DIAGNOSTIC), "it closes on time");
}

#[test]
fn a_budget_keeps_its_reserve_for_alarms_and_each_intent_within_its_share() {
    let budget = "[[link.budget]]\nper = \"day\"\nbytes = \"10000\"\nreserve = 0.2\nshares = { diagnostic = 0.3 }\n";
    let mut link = allowance(budget, 0);
    let now = Instant::now();
    let noon = at("2026-11-25T12:00:00");
    assert_eq!(link.follow_calendar(Some(noon), now), []);
    link.sent(DIAGNOSTIC, 1000);
    link.carried(&[STATE, DIAGNOSTIC], 3000, 0);
    link.follow_calendar(Some(noon), now);
    assert!(!is_open(&link, DIAGNOSTIC), "3000 of its 3000");
    assert!(is_open(&link, STATE));
    // Four times as much was handed over of it, so that it has four fifths.
    link.sent(STATE, 2000);
    link.carried(&[STATE, DIAGNOSTIC], 4000, 0);
    link.sent(CRITICAL, 1000);
    link.carried(&[CRITICAL], 500, 0);
    assert_eq!(
        link.follow_calendar(Some(noon), now),
        [],
        "1000 are left besides the reserve"
    );
    link.carried(&[STATE, DIAGNOSTIC], 1000, 0);
    let told = link.follow_calendar(Some(noon), now);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1.to_string(), "2026-11-26T00:00:00+00:00[+00:00]");
    assert_eq!(link.follow_calendar(Some(noon), now), [], "it is told once");
    assert!(!is_open(&link, STATE));
    assert!(is_open(&link, CRITICAL));
    link.follow_calendar(Some(at("2026-11-26T00:00:00")), now);
    assert!(is_open(&link, STATE) && is_open(&link, DIAGNOSTIC));
    assert_eq!(used(&link), 0);
}

#[test]
fn what_is_under_way_is_not_handed_over_twice() {
    let mut link = allowance(
        "[[link.budget]]\nper = \"hour\"\nbytes = \"12000\"\nreserve = 0.0\n",
        0,
    );
    let now = Instant::now();
    link.follow_calendar(Some(at("2026-11-25T12:00:00")), now);
    assert_eq!(
        link.ask(STATE, 0, now),
        Room::Now(10_000),
        "with a fifth more for the protocol"
    );
    assert_eq!(link.ask(STATE, 9_000, now), Room::Now(1_000));
    assert_eq!(
        link.ask(STATE, 20_000, now),
        Room::Until(now + COUNTED_WITHIN)
    );
    // Half of it is compressed away.
    let mut link = allowance(
        "[[link.budget]]\nper = \"hour\"\nbytes = \"8 MiB\"\nreserve = 0.0\n",
        0,
    );
    link.sent(STATE, 1 << 20);
    link.carried(&[STATE], 1 << 19, 1 << 20);
    assert_eq!(link.ask(STATE, 0, now), Room::Now(15 << 20));
}

#[test]
fn what_is_used_is_known_after_a_restart_and_a_kill_gives_nothing_away() {
    let budget = "[[link.budget]]\nper = \"month\"\nbytes = \"1000000\"\n";
    let (now, day) = (Instant::now(), at("2026-11-25T12:00:00"));
    let mut first = allowance(budget, 0);
    first.follow_calendar(Some(day), now);
    assert_eq!(first.note(false), None, "nothing is used");
    first.sent(STATE, 1000);
    first.carried(&[STATE], 50_000, 0);
    let note = first.note(false).unwrap();
    assert_eq!(first.note(false), None, "it is noted ahead");
    first.carried(&[STATE], 4_000, 0);
    assert_eq!(first.note(false), None);
    let mut killed = allowance(budget, 0);
    killed.recall(&note).unwrap();
    killed.follow_calendar(Some(day), now);
    assert_eq!(used(&killed), 60_000);
    let mut stopped = allowance(budget, 0);
    stopped.recall(&first.note(true).unwrap()).unwrap();
    stopped.follow_calendar(Some(day), now);
    assert_eq!(used(&stopped), 54_000);
    // The clock was years ahead, and is not any more.
    stopped.follow_calendar(Some(at("2031-01-01T00:00:00")), now);
    stopped.sent(STATE, 1000);
    stopped.carried(&[STATE], 7_000, 0);
    // It is noted meanwhile, and the agent restarted.
    let mut again = allowance(budget, 0);
    again.recall(&stopped.note(true).unwrap()).unwrap();
    for mut link in [stopped, again] {
        link.follow_calendar(Some(day), now);
        assert_eq!(
            used(&link),
            61_000,
            "what was used before counts, and what was used meanwhile"
        );
        link.follow_calendar(Some(at("2026-12-01T00:00:00")), now);
        assert_eq!(used(&link), 0);
    }
}

#[test]
fn a_clock_that_jumps_to_and_fro_gives_away_no_byte_of_a_budget() {
    for per in ["hour", "day", "month"] {
        let budget = format!("[[link.budget]]\nper = \"{per}\"\nbytes = \"1000000\"\n");
        let (now, right) = (Instant::now(), at("2026-11-30T23:59:30"));
        let mut link = allowance(&budget, 0);
        let send = |link: &mut Allowance, wall| {
            link.follow_calendar(Some(wall), now);
            link.sent(STATE, 1000);
            link.carried(&[STATE], 10_000, 0);
        };
        send(&mut link, right);
        for wrong in [
            "2026-12-01T00:00:00",
            "2036-11-30T23:59:30",
            "2026-12-01T00:59:30",
            "2027-03-01T12:00:00",
        ] {
            send(&mut link, at(wrong));
            send(&mut link, right);
        }
        assert_eq!(used(&link), 90_000, "{per}");
        // A clock that was behind: what was used then is not of the time that it is.
        link.follow_calendar(Some(at("1970-01-01T00:00:00")), now);
        link.follow_calendar(Some(right), now);
        assert_eq!(used(&link), 90_000, "{per}");
    }
}
