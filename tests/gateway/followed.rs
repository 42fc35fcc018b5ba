//! Followed files: rotated, refused, cut, and a place that cannot be written.

use std::fs;
use std::io::Write;
use std::path::Path;

use load::Numbered;

use crate::keeping::{AWAY, buffer, out};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, received, wait_for};

pub(crate) const TAIL: &str = "[[inference]]\nname = \"results\"\ntail = \"$DIR/results\"\n";

pub(crate) fn append(path: &Path, numbers: std::ops::Range<u64>) {
    let file = fs::File::options().create(true).append(true).open(path);
    let mut text = String::new();
    for number in numbers {
        text += &serde_json::to_string(&Numbered::new(number, 400, true)).unwrap();
        text.push('\n');
    }
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_file_that_is_rotated_while_its_lane_refuses_arrives_whole_also_over_a_kill() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    let full = "budget = \"1 MiB\"\nmemory = \"128 KiB\"\nwhen_full = \"refuse\"";
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
    let config = uplink + TAIL + &kafka.topics(&[("diagnostic", full)]);
    let mut gateway = Gateway::new(&config);
    let path = gateway.path("results");
    append(&path, 0..10_000);
    gateway.launch();
    wait_for("the lane to refuse", || {
        (gateway.lane("diagnostic")["refused"].as_u64()? > 0).then_some(())
    });
    fs::rename(&path, gateway.path("results.1")).unwrap();
    append(&path, 10_000..20_001);
    gateway.kill_9();
    gateway.launch();
    gateway.wait_for_log("its rest is read first");
    kafka.launch();
    let records = received(&kafka, "diagnostic", 0..20_001);
    let ids: std::collections::HashSet<&str> = records
        .iter()
        .map(|record| record.header("ce_id"))
        .collect();
    assert_eq!(ids.len(), 20_001, "a line that was read twice has one id");
}

#[test]
fn a_file_that_is_cut_is_read_from_its_beginning_and_that_is_said() {
    let mut gateway = Gateway::new(&format!("{AWAY}{TAIL}"));
    let path = gateway.path("results");
    append(&path, 0..100);
    gateway.launch();
    let buffered = |gateway: &mut Gateway, count: u64| {
        wait_for("the lines", || {
            (gateway.lane("diagnostic")["buffered"] == count).then_some(())
        });
    };
    buffered(&mut gateway, 100);
    fs::write(&path, "").unwrap();
    gateway.wait_for_log("the followed file was cut");
    append(&path, 0..10);
    buffered(&mut gateway, 110);
    // What is equal and at the same place in the file is another line all the same.
    let marks = || -> std::collections::HashSet<String> {
        let output = out(&buffer(&gateway, &["cat", "--lane", "diagnostic"]));
        let records = output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        records
            .map(|record: serde_json::Value| record["mark"].to_string())
            .collect()
    };
    wait_for("110 lines on disk", || (marks().len() == 110).then_some(()));
}

#[test]
fn a_place_that_cannot_be_written_is_said_once_and_lines_go_on_being_read() {
    let mut gateway = Gateway::new(&format!("{AWAY}{TAIL}"));
    let path = gateway.path("results");
    append(&path, 0..10);
    // A file where the directory of places would be.
    fs::create_dir_all(gateway.path("state")).unwrap();
    fs::write(gateway.path("state/inference"), "").unwrap();
    gateway.launch();
    for round in 1..=3 {
        append(&path, round * 10..(round + 1) * 10);
        wait_for("the lines", || {
            (gateway.lane("diagnostic")["buffered"] == (round + 1) * 10).then_some(())
        });
    }
    let said = gateway.log().matches("cannot write the place").count();
    assert_eq!(said, 1, "{}", gateway.log());
}
