//! The system's clock is wrong, is set, or jumps: each event arrives, with the true time where that can be known, and marked where
//! it cannot; no budget, window or age goes by a time that is not.

use std::fs;

use load::consume::account;
use serde_json::{Value, json};

use crate::machine::{
    Machine, RIGHT, arrived, can_have_a_machine, config, happens, is, told, told_of,
};
use crate::mends::offer;
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{free_port, tidegate, wait_for};

macro_rules! needs_a_machine {
    () => {
        needs_kafka!();
        if !can_have_a_machine() {
            return;
        }
    };
}

macro_rules! assert_told {
    ($records:expr, $number:expr, $expected:expr) => {
        let told = told_of(&$records, $number);
        assert!(is(&told, $expected), "{}: {told:?}", $number);
    };
}

/// The clock shows something else until NTP arrives; the events from before wait on disk, over a restart of the agent.
fn ntp_arrives_late(shows: &str) {
    let (kafka, nobody) = (Kafka::shared(), format!("127.0.0.1:{}", free_port()));
    let config = config(&kafka).replace(&kafka.plain(), &nobody);
    let mut machine = Machine::new(&config).reboots_into(shows, 0);
    machine.starts();
    assert_ne!(machine.clock()["trust"], "vouched for", "{shows}");
    happens(&machine, 0..5);
    machine.is_synchronized();
    machine.waits_for("vouched for");
    happens(&machine, 5..10);
    machine.gateway.stop();
    machine.gateway.change(&nobody, &kafka.plain());
    machine.starts();
    happens(&machine, 10..12);
    let records = arrived(&kafka, 12);
    for number in 0..12 {
        assert_told!(records, number, RIGHT);
    }
    machine.gateway.wait_until_drained();
    machine.gateway.assert_account_closes();
}

#[test]
fn with_a_clock_where_it_was_eight_hours_ago_each_event_has_the_true_time_once_ntp_is_there() {
    needs_a_machine!();
    ntp_arrives_late("-8h");
}

#[test]
fn with_a_clock_two_minutes_ahead_each_event_has_the_true_time_once_ntp_is_there() {
    needs_a_machine!();
    ntp_arrives_late("+2m");
}

#[test]
fn with_a_clock_three_hours_ahead_each_event_has_the_true_time_once_ntp_is_there() {
    needs_a_machine!();
    ntp_arrives_late("+3h");
}

#[test]
fn with_a_clock_ten_years_ahead_each_event_has_the_true_time_once_ntp_is_there() {
    needs_a_machine!();
    ntp_arrives_late("+10y");
}

#[test]
fn events_of_1970_that_wait_for_the_cluster_get_the_true_time_when_ntp_arrives() {
    needs_a_machine!();
    let mut kafka = Kafka::own();
    let mut machine = Machine::new(&config(&kafka)).reboots_into("1970", 0);
    machine.starts();
    assert_eq!(machine.clock()["trust"], "wrong");
    happens(&machine, 0..5);
    machine.is_synchronized();
    machine.waits_for("vouched for");
    happens(&machine, 5..10);
    kafka.launch();
    let records = arrived(&kafka, 10);
    for number in 0..10 {
        assert_told!(records, number, RIGHT);
    }
    machine.gateway.assert_account_closes();
}

#[test]
fn a_clock_that_nobody_vouches_for_closes_nothing_and_marks_what_it_says() {
    needs_a_machine!();
    let kafka = Kafka::shared();
    let window = "[link]\ntime_zone = \"UTC0\"\n[[link.window]]\nopen = \"* * * * *\"\n";
    let mut machine = Machine::new(&(config(&kafka) + window)).reboots_into("+2m", 0);
    machine.starts();
    happens(&machine, 0..3);
    let records = arrived(&kafka, 3);
    assert_told!(records, 0, (120, "synced unverified"));
    assert_eq!(machine.clock()["trust"], "unverified");
}

#[test]
fn a_clock_in_1970_is_marked_and_keeps_its_windows_closed() {
    needs_a_machine!();
    let kafka = Kafka::shared();
    let window = "[link]\n[[link.window]]\nintents = [\"diagnostic\"]\nopen = \"* * * * *\"\n";
    let mut machine = Machine::new(&(config(&kafka) + window));
    machine.shows("1970");
    machine.starts();
    happens(&machine, 0..3);
    let records = arrived(&kafka, 3);
    let (off, mark) = told(&records[0]);
    assert!(off < -1_000_000_000 && mark == "unsynced", "{off} {mark}");
    let event = json!({ "intent": "diagnostic", "device": "a", "id": 1, "ack": 1, "payload": {} });
    offer(&machine.gateway, &[event]);
    wait_for("the lane to wait", || {
        let waits = machine.gateway.lane("diagnostic")["waits"]
            .as_str()?
            .to_owned();
        waits
            .contains("the clock is known to be wrong")
            .then_some(())
    });
    machine.is_synchronized();
    machine.waits_for("vouched for");
    machine.gateway.wait_until_drained();
}

#[test]
fn a_clock_where_the_last_shutdown_left_it_is_not_believed() {
    needs_a_machine!();
    let kafka = Kafka::shared();
    let mut machine = Machine::vouched_for(&config(&kafka));
    happens(&machine, 0..3);
    machine.gateway.stop();
    // Trusted ten minutes ago, says the note: nobody waits so long in a test.
    let note = machine.gateway.path("state/clock.json");
    let mut memory: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let seen = memory["seen_us"].clone();
    memory["trusted_us"] = seen;
    memory["trusted_boot"] = memory["boots"][0]["number"].clone();
    fs::write(&note, memory.to_string()).unwrap();
    // Another boot; its clock stands where the last one ended, and the machine has more uptime than that.
    machine = machine.reboots_into("-30s", 20_000);
    machine.starts();
    assert_eq!(machine.clock()["trust"], "wrong");
    happens(&machine, 3..6);
    let records = arrived(&kafka, 6);
    assert_told!(records, 2, RIGHT);
    assert_told!(records, 5, (-30, "unsynced"));
}

#[test]
fn a_stamp_of_an_earlier_boot_is_not_corrected_by_a_later_ones_uptime() {
    needs_a_machine!();
    let (kafka, nobody) = (Kafka::shared(), format!("127.0.0.1:{}", free_port()));
    let config = config(&kafka).replace(&kafka.plain(), &nobody);
    let mut machine = Machine::new(&config).reboots_into("1970", 7_000);
    machine.starts();
    happens(&machine, 0..3);
    machine.gateway.kill_9();
    // This boot is younger than the stamps of the one before, the next one older.
    machine = machine.reboots_into("+3h", 500);
    machine.starts();
    happens(&machine, 3..6);
    machine.gateway.kill_9();
    machine = machine.reboots_into("+0", 90_000);
    machine.gateway.change(&nobody, &kafka.plain());
    machine.starts();
    machine.is_synchronized();
    machine.waits_for("vouched for");
    happens(&machine, 6..9);
    let records = arrived(&kafka, 9);
    let (off, mark) = told_of(&records, 0);
    assert!(off < -1_000_000_000 && mark == "unsynced", "{off} {mark}");
    assert_told!(records, 5, (3 * 3600, "synced unverified"));
    assert_told!(records, 8, RIGHT);
}

#[test]
fn what_a_witness_said_in_an_earlier_boot_corrects_its_stamps_in_a_later_one() {
    needs_a_machine!();
    let (kafka, nobody) = (Kafka::shared(), format!("127.0.0.1:{}", free_port()));
    let config = config(&kafka).replace(&kafka.plain(), &nobody);
    let mut machine = Machine::new(&config).reboots_into("-8h", 7_000);
    machine.starts();
    happens(&machine, 0..5);
    machine.is_synchronized();
    machine.waits_for("vouched for");
    machine.gateway.stop();
    machine = machine.reboots_into("+2m", 500);
    machine.gateway.change(&nobody, &kafka.plain());
    machine.starts();
    happens(&machine, 5..10);
    let records = arrived(&kafka, 10);
    assert_told!(records, 0, RIGHT);
    assert_told!(records, 9, (120, "synced unverified"));
}

/// Events come all the while; the agent is restarted in the end.
fn the_clock_jumps(shows: &str, off: f64) {
    let kafka = Kafka::shared();
    let mut machine = Machine::vouched_for(&config(&kafka));
    happens(&machine, 0..40);
    machine.shows(shows);
    happens(&machine, 40..80);
    machine.waits_until_off(off);
    machine.restarts();
    machine.waits_until_off(off);
    happens(&machine, 80..100);
    machine.shows("+0");
    happens(&machine, 100..120);
    machine.waits_until_off(0.0);
    let records = arrived(&kafka, 120);
    for number in 0..120 {
        assert_told!(records, number, RIGHT);
    }
    assert_eq!(account(&records, 0..120).out_of_order, 0);
    machine
        .gateway
        .wait_for_log("the system's clock was set by this many seconds");
    machine.gateway.assert_account_closes();
}

#[test]
fn a_clock_that_jumps_an_hour_ahead_under_load_changes_no_time_that_was_vouched_for() {
    needs_a_machine!();
    the_clock_jumps("+1h", 3600.0);
}

#[test]
fn a_clock_that_jumps_an_hour_back_under_load_changes_no_time_that_was_vouched_for() {
    needs_a_machine!();
    the_clock_jumps("-1h", -3600.0);
}

#[test]
fn a_wrong_time_of_a_moment_wipes_no_budget_opens_no_window_and_ages_nothing() {
    needs_a_machine!();
    let kafka = Kafka::shared();
    let hour = jiff::Timestamp::now().as_second() / 3600 % 24;
    let closed = format!("* {} * * *", (hour + 12) % 24);
    let link = format!(
        "[link]\ntime_zone = \"UTC0\"\n[[link.budget]]\nper = \"day\"\nbytes = \"64 MiB\"\n[[link.budget]]\nper = \"month\"\nbytes = \"64 MiB\"\n\
         [[link.window]]\nintents = [\"diagnostic\"]\nopen = \"{closed}\"\n"
    );
    let more = kafka.topics(&[("diagnostic", "max_age = \"1h\"\n")]);
    let text = format!("[uplink]\nbrokers = [\"{}\"]\n{more}{link}", kafka.plain());
    let mut machine = Machine::new(&text);
    machine.starts();
    let event = json!({ "intent": "diagnostic", "device": "a", "id": 1, "ack": 1, "payload": {} });
    offer(&machine.gateway, &[event]);
    happens(&machine, 0..50);
    arrived(&kafka, 50);
    let used = |machine: &mut Machine| {
        let budgets = machine.gateway.status()["link"]["budgets"].clone();
        [0, 1].map(|index: usize| budgets[index]["used"].as_u64().unwrap())
    };
    let before = wait_for("bytes to be counted", || {
        let used = used(&mut machine);
        used.iter().all(|bytes| *bytes > 5_000).then_some(used)
    });
    for shows in ["+12h", "+40d", "+10y", "-2h", "1970"] {
        machine.shows(shows);
        wait_for("the clock to be seen to be off", || {
            let off = machine.clock()["system_clock_off_s"].as_f64()?;
            (off.abs() > 1000.0).then_some(())
        });
        machine.shows("+0");
        machine.waits_until_off(0.0);
        let now = used(&mut machine);
        assert!(
            now[0] >= before[0] && now[1] >= before[1],
            "{shows}: {before:?} {now:?}"
        );
    }
    let lane = machine.gateway.lane("diagnostic");
    assert_eq!(
        (&lane["buffered"], &lane["delivered"]),
        (&json!(1), &json!(0)),
        "{lane}"
    );
}

#[test]
fn a_topic_that_says_when_it_took_a_record_tells_a_gateway_without_ntp_what_time_it_is() {
    needs_a_machine!();
    let kafka = Kafka::shared();
    let topic = kafka.topic("state");
    let appends = ["--config", "message.timestamp.type=LogAppendTime"];
    let create = ["--create", "--topic", &topic, "--partitions", "1"];
    kafka.command("topics", &[&create[..], &appends].concat());
    let mut machine = Machine::new(&config(&kafka)).reboots_into("+3h", 0);
    machine.starts();
    happens(&machine, 0..2);
    let mut numbers = 2..;
    wait_for("the cluster to vouch for the time", || {
        let number = numbers.next()?;
        happens(&machine, number..number + 1);
        (machine.clock()["by"] == "cluster").then_some(())
    });
    let next = numbers.start;
    happens(&machine, next..next + 5);
    let records = arrived(&kafka, next + 5);
    assert_told!(records, next + 4, RIGHT);
    machine.waits_until_off(3.0 * 3600.0);
}

#[test]
fn a_note_of_the_times_that_is_damaged_costs_nothing_but_what_it_said() {
    needs_a_machine!();
    let kafka = Kafka::shared();
    let mut machine = Machine::vouched_for(&config(&kafka));
    machine.gateway.stop();
    fs::write(machine.gateway.path("state/clock.json"), "{\"boots\": 7").unwrap();
    machine.starts();
    machine
        .gateway
        .wait_for_log("cannot read the note of the times that were trusted");
    machine.waits_for("vouched for");
    happens(&machine, 0..3);
    assert_told!(arrived(&kafka, 3), 2, RIGHT);
}

#[test]
fn status_says_who_vouches_for_the_time_and_by_how_much_the_systems_clock_is_off() {
    if !can_have_a_machine() {
        return;
    }
    let uplink = format!("[uplink]\nbrokers = [\"127.0.0.1:{}\"]\n", free_port());
    let mut machine = Machine::vouched_for(&uplink);
    assert_eq!(machine.clock()["by"], "systemd-timesyncd");
    machine.shows("+1h");
    machine.waits_until_off(3600.0);
    let state = machine.gateway.path("state");
    let output = tidegate()
        .arg("status")
        .arg("--state")
        .arg(state)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("CLOCK the system's is off by 3600."),
        "{text}"
    );
}
