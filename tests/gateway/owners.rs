//! Files of the gateway: whose they are, what is not to be touched, and what cannot be written.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use load::consume::account;

use crate::followed::{TAIL, append};
use crate::keeping::{AWAY, VISION, buffer, errors, flip, keep, logs, out};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, received, wait_for};
use crate::signals::begin_anew;

/// A user that may do nothing special: `nobody`.
const NOBODY: u32 = 65_534;

/// All that is below a directory, and the directory.
fn all_in(path: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![path.to_owned()];
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(all_in(&entry.unwrap().path()));
        }
    }
    all
}

fn give_to(user: u32, path: &Path) {
    for one in all_in(path) {
        chown(&one, Some(user), Some(user)).unwrap();
    }
}

fn assert_private_of(user: u32, path: &Path) {
    for one in all_in(path) {
        let found = fs::symlink_metadata(&one).unwrap();
        assert_eq!(
            (found.uid(), found.gid()),
            (user, user),
            "{}",
            one.display()
        );
        let is_open = found.mode() & 0o077 != 0;
        assert!(
            !is_open || found.file_type().is_socket(),
            "{} has mode {:o}",
            one.display(),
            found.mode()
        );
    }
}

#[test]
fn what_repair_writes_as_root_belongs_to_the_agents_user() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
    if fs::metadata(gateway.directory.path()).unwrap().uid() != 0 {
        assert!(std::env::var_os("CI").is_none(), "CI needs root");
        eprintln!("skipped: only root can be another user");
        return;
    }
    give_to(NOBODY, gateway.directory.path());
    gateway.user = Some(NOBODY);
    gateway.launch();
    for batch in 0..3 {
        keep(&gateway, batch * 300..(batch + 1) * 300);
    }
    gateway.stop();
    assert_private_of(NOBODY, &gateway.path("state"));
    flip(logs(&gateway).first().unwrap());

    let repaired = buffer(&gateway, &["repair"]);
    assert!(
        out(&repaired).contains("1 generations repaired"),
        "{}",
        errors(&repaired)
    );
    let elsewhere = gateway.path("elsewhere").display().to_string();
    let exported = buffer(&gateway, &["export", &elsewhere]);
    assert!(exported.status.success(), "{}", errors(&exported));
    for directory in ["state", "elsewhere"] {
        assert_private_of(NOBODY, &gateway.path(directory));
    }

    // The agent, its user's again, opens the buffer, writes to it, and gives room back.
    gateway.launch();
    keep(&gateway, 900..1_000);
    let status = gateway.status();
    assert!(status["disk_error"].is_null(), "{status}");
    assert!(gateway.lane("state")["recovered"].as_u64() > Some(500));
    gateway.stop();

    // So does one that somebody has started as root by hand, and the next one of its user's.
    gateway.user = None;
    gateway.launch();
    keep(&gateway, 1_000..1_100);
    gateway.kill_9();
    assert_private_of(NOBODY, &gateway.path("state"));
    gateway.user = Some(NOBODY);
    gateway.launch();
    keep(&gateway, 1_100..1_200);
    let status = gateway.status();
    assert!(status["disk_error"].is_null(), "{status}");
    gateway.stop();
}

#[test]
fn what_stands_at_the_path_of_a_socket_is_left_alone() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
    let path = gateway.path("vision.sock");
    fs::write(&path, "years of work").unwrap();
    gateway.launch();
    gateway.wait_for_log("vision.sock is a regular file, which is left as it is");
    assert_eq!(fs::read_to_string(&path).unwrap(), "years of work");
    assert_eq!(gateway.status()["sources"][0]["connected"], false);
    fs::remove_file(&path).unwrap();
    keep(&gateway, 0..10);
    gateway.stop();

    // A socket of another process is not taken from it.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    gateway.launch();
    gateway.wait_for_log("vision.sock is a socket on which another process listens");
    drop(other);
    // Nobody listens on it any more: it is taken for one that was left behind.
    keep(&gateway, 10..20);

    // The socket of the status is no exception.
    gateway.stop();
    let status = gateway.path("state/status.sock");
    fs::remove_file(&status).unwrap();
    fs::create_dir(&status).unwrap();
    gateway.spawn();
    gateway.wait_for_log("status.sock is a directory, which is left as it is");
    fs::remove_dir(&status).unwrap();
    wait_for("the status", || gateway.try_status());
}

#[test]
fn a_followed_file_is_sent_once_where_its_place_cannot_be_written() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
    let mut gateway = Gateway::new(&(uplink + TAIL + &kafka.topics(&[])));
    let path = gateway.path("results");
    append(&path, 0..500);
    // A file where the directory of places would be.
    fs::create_dir_all(gateway.path("state")).unwrap();
    fs::write(gateway.path("state/inference"), "").unwrap();
    gateway.launch();
    received(&kafka, "diagnostic", 0..500);
    for round in 1..=3 {
        // An agent that follows another in this process goes on where that one was.
        begin_anew(&gateway);
        wait_for("the reload", || {
            let starts = gateway.log().matches("tidegate started").count();
            (starts == 1 + round).then_some(())
        });
        let numbers = 500 + 10 * (round as u64 - 1)..500 + 10 * round as u64;
        append(&path, numbers.clone());
        received(&kafka, "diagnostic", numbers);
    }
    gateway.wait_until_drained();
    let account = account(&received(&kafka, "diagnostic", 0..530), 0..530);
    assert_eq!((account.lost, account.doubled), (0, 0), "{account:?}");
    let said = gateway.log().matches("cannot write the place").count();
    assert_eq!(said, 1, "{}", gateway.log());
}
