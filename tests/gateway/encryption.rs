//! What an encrypted buffer keeps from whoever has the disk, what it takes from them, and what goes on with the key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::keeping::{AWAY, VISION, buffer, cat, errors, keep, out};
use crate::limits::fill;
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, project, send_signal, tidegate, wait_for};

const KEYS: &str = "[buffer]\nkeys = [{ file = \"$DIR/key\" }]\n";

fn key(digits: &str) -> String {
    digits.repeat(32)
}

/// A gateway with a key, not started yet.
fn with_a_key() -> Gateway {
    let gateway = Gateway::new(&format!("{AWAY}{VISION}{KEYS}"));
    fs::write(gateway.path("key"), key("42")).unwrap();
    gateway
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Every file below a directory, with what is in it.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(contents(&entry.path()));
        } else if kind.is_file() {
            all.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    all
}

fn assert_not_on_disk(gateway: &Gateway, texts: &[&str]) {
    for (path, bytes) in contents(&gateway.path("state")) {
        for text in texts {
            let has = bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes());
            assert!(!has, "`{text}` is in {}", path.display());
        }
    }
}

/// `tidegate buffer` on a state directory, without a configuration.
fn laptop(state: &Path, arguments: &[&str]) -> Output {
    let mut command = tidegate();
    command
        .args(["buffer", "--state"])
        .arg(state)
        .args(arguments);
    command.output().unwrap()
}

#[test]
fn without_its_key_a_gateway_goes_on_from_memory_and_touches_nothing_on_its_disk() {
    let mut gateway = with_a_key();
    gateway.launch();
    keep(&gateway, 0..30);
    // With what was not closed: whoever opens it has something to put right.
    gateway.kill_9();
    let lanes = gateway.path("state/lanes");
    let before = contents(&lanes);
    for wrong in [Some(key("ab")), Some("no key".into()), None] {
        match &wrong {
            Some(wrong) => fs::write(gateway.path("key"), wrong).unwrap(),
            None => fs::remove_file(gateway.path("key")).unwrap(),
        }
        gateway.launch();
        let client = crate::keeping::offer(&gateway, 30..40);
        wait_for("the events in memory", || {
            (gateway.lane("state")["accepted"] == 10).then_some(())
        });
        let status = gateway.status();
        let error = status["disk_error"].as_str().unwrap();
        assert!(error.contains("buffer.keys"), "{error}");
        assert_eq!(gateway.lane("state")["recovered"], 0);
        gateway.wait_for_log("the buffer is not opened, and nothing in it is touched");
        drop(client);
        gateway.kill_9();
        assert_eq!(contents(&lanes), before, "with {wrong:?}");
    }
    // The key comes back while the agent runs.
    gateway.launch();
    fs::write(gateway.path("key"), key("42")).unwrap();
    wait_for("the buffer", || {
        (gateway.lane("state")["recovered"] == 30).then_some(())
    });
    keep(&gateway, 40..50);
    assert!(cat(&gateway, &[]).keys().copied().eq((0..30).chain(40..50)));

    // A reload to a wrong key is refused, as there is a better one.
    fs::write(gateway.path("key"), key("ab")).unwrap();
    send_signal(gateway.process(), "HUP");
    gateway.wait_for_log("it goes on with the one before");
    gateway.kill_9();
    fs::write(gateway.path("key"), key("42")).unwrap();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 40);
}

#[test]
fn what_was_stored_before_there_was_a_key_is_sent_and_what_claims_so_later_is_refused() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
    fs::write(gateway.path("key"), key("42")).unwrap();
    gateway.launch();
    keep(&gateway, 0..20);
    gateway.stop();
    // Somebody has a copy of the disk, and lets the same gateway write to it without a key.
    let forger = Gateway::new(&format!("{AWAY}{VISION}"));
    copy(&gateway.path("state"), forger.directory.path());
    let mut forger = forger.start();
    keep(&forger, 20..60);
    forger.stop();

    gateway.change("[[inference]]", &format!("{KEYS}[[inference]]"));
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 20, "the older ones");
    keep(&gateway, 100..120);
    gateway.stop();
    let mut forged = 0;
    for entry in fs::read_dir(forger.path("state/lanes/state")).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_str().unwrap();
        let to = gateway.path("state/lanes/state").join(format!("{name}-9"));
        if !gateway.path("state/lanes/state").join(name).exists() || name.ends_with("20") {
            copy(&from, &to);
            forged += 1;
        }
    }
    assert!(forged > 0, "the forger wrote a generation of its own");
    let verified = buffer(&gateway, &["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", out(&verified));

    gateway.launch();
    gateway.wait_for_log("blocks in the buffer are refused and not sent");
    assert_eq!(gateway.lane("state")["recovered"], 40);
    let there = cat(&gateway, &["--waiting"]);
    assert!(
        there.keys().copied().eq((0..20).chain(100..120)),
        "{:?}",
        there.keys()
    );
    let aside = fs::read_dir(gateway.path("state/set-aside")).unwrap();
    assert!(aside.count() > 0, "a person can look at it");
}

#[test]
fn blocks_of_another_lane_generation_or_gateway_are_refused() {
    let mut gateway = with_a_key();
    gateway.launch();
    keep(&gateway, 0..30);
    gateway.stop();
    let lane = gateway.path("state/lanes/state");
    let first = fs::read_dir(&lane).unwrap().next().unwrap().unwrap().path();
    // Delivered once, and put back under another name to be delivered again.
    copy(&first, &lane.join(format!("{:020}", 7_000_000)));
    gateway.launch();
    gateway.wait_for_log("blocks in the buffer are refused and not sent");
    assert_eq!(gateway.lane("state")["recovered"], 30);
    gateway.stop();

    // The disk of one gateway in another that has the same keys.
    let mut other = with_a_key();
    other.change("id = \"gw-1\"", "id = \"gw-2\"");
    copy(&gateway.path("state"), other.directory.path());
    let before = contents(&other.path("state/lanes"));
    other.launch();
    other.wait_for_log("is encrypted for gateway `gw-1`");
    assert!(other.status()["disk_error"].is_string());
    other.kill_9();
    assert_eq!(contents(&other.path("state/lanes")), before);

    // On purpose: it is encrypted anew for the other one, which goes on with it.
    let target = other.path("taken").display().to_string();
    let exported = buffer(&gateway, &["export", "--for-gateway", "gw-2", &target]);
    assert!(exported.status.success(), "{}", errors(&exported));
    fs::rename(other.path("state"), other.path("old")).unwrap();
    fs::rename(other.path("taken"), other.path("state")).unwrap();
    other.launch();
    assert_eq!(other.lane("state")["recovered"], 30);
    keep(&other, 30..40);
    assert!(cat(&other, &["--waiting"]).keys().copied().eq(0..40));
}

#[test]
fn an_encrypted_buffer_can_be_looked_at_on_a_laptop_with_its_key_and_its_gateways_id() {
    let mut gateway = with_a_key();
    gateway.launch();
    keep(&gateway, 0..30);
    gateway.kill_9();
    let desk = tempfile::tempdir().unwrap();
    copy(&gateway.path("state"), desk.path());
    let state = desk.path().join("state");
    let file = gateway.path("key").display().to_string();
    let with_id = ["--key", &file, "--gateway-id", "gw-1"];
    let printed = laptop(
        &state,
        &[&with_id[..], &["cat", "--lane", "state"]].concat(),
    );
    assert_eq!(out(&printed).lines().count(), 30, "{}", errors(&printed));
    let verified = laptop(&state, &[&with_id[..], &["verify"]].concat());
    assert!(verified.status.success(), "{}", errors(&verified));
    let without = laptop(&state, &["--key", &file, "ls"]);
    assert!(
        errors(&without).contains("gateway `gw-1`"),
        "{}",
        errors(&without)
    );
    // To take a copy for the same gateway takes no key.
    let target = desk.path().join("copy").display().to_string();
    let exported = laptop(&state, &["export", &target]);
    assert!(exported.status.success(), "{}", errors(&exported));
    fs::rename(gateway.path("state"), gateway.path("broken")).unwrap();
    copy(Path::new(&target), &gateway.path("state"));
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 30);
    keep(&gateway, 30..40);
}

#[test]
fn a_rejected_record_is_kept_encrypted() {
    needs_kafka!();
    let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
    let limited = ["--partitions", "1", "--config", "max.message.bytes=20000"];
    let topic = kafka.topic("state");
    kafka.command(
        "topics",
        &[&["--create", "--topic", &topic][..], &limited].concat(),
    );
    let config = Rig::config(&mqtt, &kafka) + KEYS + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config);
    fs::write(gateway.path("key"), key("42")).unwrap();
    gateway.launch();
    gateway.wait_until_connected("plant");
    fill(mqtt.port, 10..11, 60_000);
    wait_for("the record to be set aside", || {
        let text = fs::read_to_string(gateway.path("state/set-aside/rejected.jsonl")).ok()?;
        text.ends_with('\n').then_some(())
    });
    assert_not_on_disk(&gateway, &["\"payload\"", "plant/d0/", "\"origin\""]);
    let printed = buffer(&gateway, &["rejected"]);
    let record: Value = serde_json::from_str(&out(&printed)).unwrap();
    assert_eq!(record["lane"], "state");
    assert!(
        record["payload"].as_str().unwrap().contains("\"n\":10"),
        "{record}"
    );
    let state = gateway.path("state").display().to_string();
    let without = tidegate()
        .args(["buffer", "--state", &state, "rejected"])
        .output()
        .unwrap();
    assert!(!without.status.success() && out(&without).is_empty());
    gateway.stop();
}

#[test]
fn blocks_that_an_earlier_version_encrypted_are_read_to_the_last() {
    let mut gateway = with_a_key();
    let archive = project().join("tests/data/buffer-format-3-keys.tar.gz");
    let unpacked = Command::new("tar")
        .arg("xzf")
        .arg(&archive)
        .arg("-C")
        .arg(gateway.directory.path())
        .status();
    assert!(unpacked.unwrap().success());
    gateway.launch();
    assert_eq!(
        gateway.lane("state")["recovered"],
        20,
        "plain ones and encrypted ones"
    );
    keep(&gateway, 20..40);
    assert!(cat(&gateway, &["--waiting"]).keys().copied().eq(0..40));
    gateway.stop();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 40);
    assert!(!gateway.log().contains("are refused"), "{}", gateway.log());
    gateway.assert_account_closes();
}
