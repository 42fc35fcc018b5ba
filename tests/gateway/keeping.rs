//! What a gateway keeps on its disk: looked into, encrypted, damaged, without the disk, and told of afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, tidegate, wait_for};

pub(crate) const AWAY: &str = "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n";
pub(crate) const VISION: &str = "[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n";

/// Offers numbered events for the state lane; returns when the last is acknowledged, and so all are.
pub(crate) fn keep(gateway: &Gateway, numbers: Range<u64>) {
    keep_in(gateway, "state", numbers);
}

/// The same for another lane.
pub(crate) fn keep_in(gateway: &Gateway, intent: &str, numbers: Range<u64>) {
    let last = numbers.end - 1;
    let stream = offer_in(gateway, intent, numbers);
    assert_eq!(answer(stream), format!("{{\"ack\":{last}}}\n"));
}

pub(crate) fn offer(gateway: &Gateway, numbers: Range<u64>) -> UnixStream {
    offer_in(gateway, "state", numbers)
}

fn offer_in(gateway: &Gateway, intent: &str, numbers: Range<u64>) -> UnixStream {
    let socket = gateway.path("vision.sock");
    let mut stream = wait_for("the socket", || UnixStream::connect(&socket).ok());
    let last = numbers.end - 1;
    for number in numbers {
        let event = json!({ "intent": intent, "device": "press-3", "id": number,
            "payload": { "n": number, "t": 0, "pad": "plainly" }, "ack": (number == last).then_some(number) });
        writeln!(stream, "{event}").unwrap();
    }
    stream
}

pub(crate) fn answer(stream: UnixStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

/// `tidegate buffer` on the gateway's configuration, or on a state directory.
pub(crate) fn buffer(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = tidegate();
    command
        .args(["buffer", "-c"])
        .arg(gateway.path("gateway.toml"))
        .args(arguments);
    command.output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The records that `tidegate buffer cat` prints, by the number in their payload.
pub(crate) fn cat(gateway: &Gateway, arguments: &[&str]) -> BTreeMap<u64, Value> {
    cat_lane(gateway, "state", arguments)
}

pub(crate) fn cat_lane(gateway: &Gateway, lane: &str, arguments: &[&str]) -> BTreeMap<u64, Value> {
    let output = buffer(gateway, &[&["cat", "--lane", lane], arguments].concat());
    assert!(output.status.success(), "{}", errors(&output));
    let lines = out(&output);
    let records = lines.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let payload: Value = serde_json::from_str(record["payload"].as_str().unwrap()).unwrap();
        (payload["n"].as_u64().unwrap(), record)
    });
    records.collect()
}

/// The files that hold blocks of the state lane.
pub(crate) fn logs(gateway: &Gateway) -> Vec<PathBuf> {
    let generations = fs::read_dir(gateway.path("state/lanes/state")).unwrap();
    let logs = generations.map(|entry| entry.unwrap().path().join("db"));
    let mut logs: Vec<PathBuf> = logs.collect();
    logs.sort();
    logs
}

/// Flips a bit in the body of the first block of a generation.
pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let block = bytes.windows(5).position(|five| five == b"TGBLK").unwrap();
    bytes[block + 60] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_kept_can_be_looked_at_beside_the_running_agent_and_taken_elsewhere() {
    let gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    keep(&gateway, 0..40);
    let listed = out(&buffer(&gateway, &["ls"]));
    assert!(listed.contains("state: 40 waiting"), "{listed}");
    assert!(listed.contains("open"), "it is being written:\n{listed}");
    let records = cat(&gateway, &["--waiting"]);
    assert!(records.keys().copied().eq(0..40), "{:?}", records.keys());
    assert_eq!(records[&7]["origin"]["device"], "press-3");
    assert!(cat(&gateway, &["--until", "2001-01-01T00:00:00Z"]).is_empty());
    assert_eq!(
        cat(&gateway, &["--since", "2001-01-01T00:00:00Z"]).len(),
        40
    );
    let unknown = buffer(&gateway, &["cat", "--lane", "stat"]);
    let said = errors(&unknown);
    assert!(
        said.contains("no lane is named `stat`; there are critical"),
        "{said}"
    );
    let verified = buffer(&gateway, &["verify"]);
    assert!(verified.status.success() && out(&verified).contains("state: 40 records"));
    let refused = buffer(&gateway, &["repair"]);
    assert!(
        errors(&refused).contains("in use by another process"),
        "{}",
        errors(&refused)
    );

    // Another gateway goes on with what this one kept.
    let mut other = Gateway::new(&format!("{AWAY}{VISION}"));
    let target = other.path("state").display().to_string();
    let exported = buffer(&gateway, &["export", &target]);
    assert!(exported.status.success(), "{}", errors(&exported));
    other.launch();
    assert_eq!(other.lane("state")["recovered"], 40);
    assert_eq!(other.lane("state")["buffered"], 40);
}

#[test]
fn damage_is_told_of_and_costs_only_the_block_that_it_hit() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let config = format!("{AWAY}{VISION}") + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config).start();
    for batch in 0..4 {
        keep(&gateway, batch * 300..(batch + 1) * 300);
    }
    gateway.stop();
    flip(logs(&gateway).first().unwrap());
    let verified = buffer(&gateway, &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        out(&verified).contains("records are damaged"),
        "{}",
        out(&verified)
    );

    let path = gateway.path("gateway.toml");
    let online = fs::read_to_string(&path)
        .unwrap()
        .replace("127.0.0.1:9", &kafka.plain());
    fs::write(&path, online).unwrap();
    gateway.launch();
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    let lane = gateway.lane("state");
    let damaged = lane["dropped"]
        .as_array()
        .unwrap()
        .iter()
        .find(|drop| drop[0] == "damage");
    let damaged = damaged.unwrap()[1].as_u64().unwrap();
    assert!((1..=256).contains(&damaged), "{lane}");
    assert_eq!(lane["delivered"], 1200 - damaged);
    assert!(gateway.log().contains("a part of the buffer is damaged"));
    let reports = health(&kafka, |reports| {
        reports.iter().any(|(kind, _)| kind == "damage")
            && reports
                .iter()
                .any(|(kind, report)| kind == "drops" && report["reason"] == "damage")
    });
    let told: u64 = of_kind(&reports, "drops")
        .filter_map(|report| report["count"].as_u64())
        .sum();
    assert_eq!(told, damaged, "{reports:?}");
    let kept = fs::read_dir(gateway.path("state/set-aside")).unwrap();
    assert_eq!(kept.count(), 1, "for a person to look at");
}

#[test]
fn a_damaged_generation_is_written_anew_when_a_person_asks_for_it() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    keep(&gateway, 0..600);
    gateway.stop();
    flip(logs(&gateway).first().unwrap());
    let repaired = buffer(&gateway, &["repair"]);
    assert!(
        out(&repaired).contains("1 generations repaired"),
        "{}",
        errors(&repaired)
    );
    assert!(buffer(&gateway, &["verify"]).status.success());
    gateway.launch();
    let lane = gateway.lane("state");
    assert!(
        (344..600).contains(&lane["buffered"].as_u64().unwrap()),
        "{lane}"
    );
    gateway.assert_account_closes();
}

/// Kind and content of each of the gateway's reports, once they are `enough`.
pub(crate) fn health(
    kafka: &Kafka,
    enough: impl Fn(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    let topic = kafka.topic("health");
    let mut reader = load::consume::Reader::new(&kafka.plain(), &[&topic], &[]);
    let mut reports = Vec::new();
    reader.until(PATIENCE, |records| {
        let fresh = records.iter().skip(reports.len()).map(|record| {
            let report = serde_json::from_slice(&record.payload).unwrap();
            (
                record
                    .header("ce_type")
                    .rsplit('.')
                    .next()
                    .unwrap()
                    .to_owned(),
                report,
            )
        });
        let fresh: Vec<(String, Value)> = fresh.collect();
        reports.extend(fresh);
        enough(&reports)
    });
    assert!(enough(&reports), "{reports:?}");
    reports
}

pub(crate) fn of_kind<'a>(
    reports: &'a [(String, Value)],
    kind: &'a str,
) -> impl Iterator<Item = &'a Value> {
    let wanted = reports.iter().filter(move |(found, _)| found == kind);
    wanted.map(|(_, report)| report)
}

#[test]
fn what_was_dropped_before_a_kill_is_told_after_it() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    let small = "budget = \"1 MiB\"\nmemory = \"128 KiB\"\nwhen_full = \"drop_oldest\"";
    let config = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain())
        + &kafka.topics(&[("state", small)]);
    let mut gateway = Gateway::new(&config).start();
    // As fast as it goes; the lane drops what the disk could not hold.
    let mut sent = 0;
    wait_for("something to be dropped", || {
        keep(&gateway, sent..sent + 3_000);
        sent += 3_000;
        let lane = gateway.lane("state");
        let drops = lane["dropped"]
            .as_array()?
            .iter()
            .filter_map(|drop| drop[1].as_u64());
        (drops.sum::<u64>() > 0).then_some(())
    });
    gateway.kill_9();
    gateway.launch();
    kafka.launch();
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    // Each sequence is in the topic, or in a range that is told of.
    let mut reader = load::consume::Reader::new(&kafka.plain(), &[&kafka.topic("state")], &[]);
    // One device, so one partition, in order.
    let last = (sent - 1).to_string();
    let records = reader.until(PATIENCE, |records| {
        let newest = records.last();
        newest.is_some_and(|record| record.header("tg-seq") == last)
    });
    let sequences = records
        .iter()
        .map(|record| record.header("tg-seq").parse().unwrap());
    let there: BTreeSet<u64> = sequences.collect();
    health(&kafka, |reports| {
        let drops = of_kind(reports, "drops").filter(|report| report["lane"] == "state");
        let place = |report: &Value, name: &str| report[name].as_u64().unwrap();
        let told: Vec<_> = drops
            .map(|report| place(report, "first_seq")..=place(report, "last_seq"))
            .collect();
        (0..sent).all(|n| there.contains(&n) || told.iter().any(|span| span.contains(&n)))
    });
}

#[test]
fn what_was_delivered_stays_for_a_replay_as_long_as_the_lane_says() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let kept = "persist_after = \"0s\"\nkeep = { age = \"1h\", size = \"1 MiB\" }";
    let config = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain())
        + &kafka.topics(&[("state", kept)]);
    let mut gateway = Gateway::new(&config).start();
    keep(&gateway, 0..50);
    gateway.wait_until_drained();
    wait_for("all to be on disk", || {
        (cat(&gateway, &[]).len() == 50).then_some(())
    });
    wait_for("the marks to say so", || {
        cat(&gateway, &["--waiting"]).is_empty().then_some(())
    });
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("state")["buffered"], 0, "it is not sent again");
    assert_eq!(cat(&gateway, &[]).len(), 50);
}

#[test]
fn an_encrypted_buffer_needs_its_key_and_is_left_alone_without_it() {
    let config = format!("{AWAY}{VISION}[buffer]\nkeys = [{{ file = \"$DIR/key\" }}]\n");
    let mut gateway = Gateway::new(&config);
    let (key, other) = ("42".repeat(32), "ab".repeat(32));
    fs::write(gateway.path("key"), format!("{key}\n")).unwrap();
    gateway.launch();
    keep(&gateway, 0..30);
    gateway.stop();
    let before = fs::read(&logs(&gateway)[0]).unwrap();
    let has = |text: &str| {
        before
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(has("TGBLK") && !has("plainly") && !has("press-3"));

    fs::write(gateway.path("key"), &other).unwrap();
    // It goes on without its disk: see `encryption` for what that means.
    gateway.launch();
    let said = gateway.status()["disk_error"].to_string();
    assert!(
        said.contains("is encrypted with key") && said.contains("buffer.keys"),
        "{said}"
    );
    gateway.kill_9();
    assert_eq!(
        fs::read(&logs(&gateway)[0]).unwrap(),
        before,
        "nothing was changed"
    );

    // Rotation: the new key in front, the old one while its generations last.
    fs::write(gateway.path("old"), &key).unwrap();
    let old = gateway.path("old").display().to_string();
    gateway.change("/key\" }]", &format!("/key\" }}, {{ file = \"{old}\" }}]"));
    gateway.launch();
    keep(&gateway, 30..60);
    assert_eq!(gateway.lane("state")["buffered"], 60);
    assert!(cat(&gateway, &["--waiting"]).keys().copied().eq(0..60));
    let listed = out(&buffer(&gateway, &["ls"]));
    let keys = listed.split("key ").skip(1).map(|text| &text[..8]);
    let keys: BTreeSet<&str> = keys.collect();
    assert_eq!(keys.len(), 2, "{listed}");
}
