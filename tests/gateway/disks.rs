//! Disks that are full, failing, read-only or not there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use load::consume::account;

use crate::keeping::{AWAY, VISION, answer, cat_lane, keep, offer};
use crate::limits::fill;
use crate::mends::letters;
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, children, project, received, send_signal, wait_for};

/// A small file system on the gateway's state directory, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with a line that says so, where mounting is not allowed.
    fn mount(path: PathBuf, options: &str) -> Option<SmallDisk> {
        fs::create_dir_all(&path).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", options, "none"], &path);
        if !mounted {
            eprintln!("skipped: mounting a small file system needs root");
        }
        mounted.then_some(SmallDisk(path))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.0));
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(path).status();
    mounted.is_ok_and(|status| status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_loses_nothing_and_the_agent_recovers_by_itself() {
    needs_kafka!();
    let (mut kafka, mqtt) = (Kafka::own(), Mosquitto::start(""));
    let topics = kafka.topics(&[("state", "when_full = \"refuse\"")]);
    let mut gateway = Gateway::new(&(Rig::config(&mqtt, &kafka) + &topics));
    gateway.change("free_floor = \"1 MiB\"", "free_floor = \"0\"");
    let Some(_disk) = SmallDisk::mount(gateway.path("state"), "size=8m") else {
        return;
    };
    gateway.launch();
    gateway.wait_until_connected("plant");
    fill(mqtt.port, 0..20_000, 1_000);
    gateway.wait_for_log("the disk does not take what must be kept");
    assert!(gateway.status()["disk_error"].is_string());
    gateway.assert_account_closes();

    kafka.launch();
    // Not in order: the broker offers again later what the lane refused.
    let account = account(&received(&kafka, "state", 0..20_000), 0..20_000);
    assert_eq!((account.lost, account.doubled), (0, 0), "{account:?}");
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    wait_for("the disk to be well", || {
        gateway.status()["disk_error"].is_null().then_some(())
    });
    gateway.stop();
}

/// Makes every write of a process, and of those that it has started, to its files fail, until it is dropped.
pub(crate) struct FailingDisk(Child);

impl FailingDisk {
    fn begin(process: u32, error: &str) -> FailingDisk {
        let calls = "pwrite64,fdatasync,fsync,mkdir,rename,unlink";
        FailingDisk::of(process, calls, error)
    }

    /// The same of these system calls only.
    pub(crate) fn of(process: u32, calls: &str, error: &str) -> FailingDisk {
        let mut strace = Command::new("strace");
        strace
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={calls}"),
            ])
            .args(["-e", &format!("inject={calls}:error={error}")]);
        let family: Vec<u32> = children(process).into_iter().chain([process]).collect();
        for one in &family {
            strace.args(["-p", &one.to_string()]);
        }
        let child = strace
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        for one in family {
            wait_for("strace to be there, which needs ptrace", || {
                let Ok(status) = fs::read_to_string(format!("/proc/{one}/status")) else {
                    return (one != process).then_some(()); // a disk writer that has ended
                };
                let tracer = status.lines().find(|line| line.starts_with("TracerPid"))?;
                tracer.ends_with(&format!("\t{}", child.id())).then_some(())
            });
        }
        FailingDisk(child)
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // It lets go of the process when it is asked to end.
        send_signal(self.0.id(), "TERM");
        let _status = self.0.wait();
    }
}

#[test]
fn when_every_write_fails_receipts_are_held_back_until_the_disk_is_well() {
    for (error, said) in [
        ("EIO", "Input/output error"),
        ("EROFS", "Read-only file system"),
        ("ENOSPC", "No space left on device"),
    ] {
        let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
        keep(&gateway, 0..20);
        let failing = FailingDisk::begin(gateway.process(), error);
        let held = offer(&gateway, 20..40);
        gateway.wait_for_log("the disk does not take what must be kept");
        assert!(gateway.log().contains(said), "{error}");
        let unanswered = held.try_clone().unwrap();
        unanswered.set_nonblocking(true).unwrap();
        let mut byte = [0];
        let nothing = std::io::Read::read(&mut &unanswered, &mut byte).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        assert_eq!(
            gateway.lane("state")["buffered"],
            40,
            "{error}: kept in memory"
        );
        drop(failing);
        held.set_nonblocking(false).unwrap();
        assert_eq!(answer(held), "{\"ack\":39}\n", "{error}");
        gateway.wait_for_log("the disk takes what must be kept again");
        gateway.kill_9();
        gateway.launch();
        assert_eq!(gateway.lane("state")["recovered"], 40, "{error}");
        assert_eq!(gateway.log().matches("panicked").count(), 0, "{error}");
    }
}

#[test]
fn on_a_read_only_disk_the_agent_starts_and_waits_for_a_better_one() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let config = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain());
    let mut gateway = Gateway::new(&(config + &kafka.topics(&[])));
    let Some(disk) = SmallDisk::mount(gateway.path("state"), "size=64m,ro") else {
        return;
    };
    gateway.spawn();
    // What passes through memory needs no disk.
    keep(&gateway, 0..20);
    gateway.wait_for_log("the disk does not take what must be kept");
    assert!(gateway.log().contains("Read-only file system"));
    disk.remount("rw");
    gateway.wait_for_log("the state directory can be used");
    wait_for("the status", || gateway.try_status());
    keep(&gateway, 20..40);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    gateway.stop();
    assert_eq!(account(&received(&kafka, "state", 0..40), 0..40).lost, 0);
}

#[test]
fn while_nothing_is_mounted_the_root_file_system_is_spared() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}[buffer]\nrequire_mount = true\n"));
    let state = gateway.path("state");
    fs::create_dir_all(&state).unwrap();
    if fs::metadata(&state).unwrap().dev() != fs::metadata("/").unwrap().dev() {
        eprintln!("skipped: the temporary directory is a mount of its own");
        return;
    }
    gateway.spawn();
    gateway.wait_for_log("nothing is mounted at the state directory");
    let held: UnixStream = offer(&gateway, 0..20);
    assert!(!state.join("lanes").exists(), "nothing is written there");
    let Some(_disk) = SmallDisk::mount(state, "size=64m") else {
        return;
    };
    // The agent begins anew with what it had in memory; a client offers again what it has no receipt for.
    gateway.wait_for_log("tidegate stopped");
    drop(held);
    wait_for("the status", || gateway.try_status());
    keep(&gateway, 20..40);
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 40);
}

#[test]
fn a_buffer_that_an_earlier_version_filled_is_read_to_its_last_event() {
    for format in [2, 3] {
        read_to_the_last(format);
    }
}

fn read_to_the_last(format: u32) {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
    let state = gateway.path("state");
    fs::create_dir_all(&state).unwrap();
    let archive = format!("tests/data/buffer-format-{format}.tar.gz");
    let archive = project().join(archive);
    let unpacked = Command::new("tar")
        .args(["xzf", &archive.display().to_string(), "-C"])
        .arg(&state)
        .status();
    assert!(unpacked.unwrap().success());
    gateway.launch();
    for (lane, first) in [
        ("critical", 0),
        ("state", 10),
        ("feature", 20),
        ("diagnostic", 30),
    ] {
        // The last one of format 3 is a record of several blocks.
        let large = u64::from(format == 3 && lane == "diagnostic");
        let end = first + 10 + large;
        assert_eq!(gateway.lane(lane)["recovered"], 10 + large, "{lane}");
        let records = cat_lane(&gateway, lane, &["--waiting"]);
        assert!(records.keys().copied().eq(first..end), "{lane}");
        let origin = &records[&first]["origin"];
        assert_eq!(
            (&origin["source"], &origin["kind"]),
            (&"vision".into(), &"temp".into())
        );
        assert_eq!(origin["tags"]["shift"], "früh");
        if large > 0 {
            let payload = serde_json::json!({ "n": 40, "pad": letters(40, 200_000) });
            assert_eq!(records[&40]["payload"], payload.to_string());
        }
    }
    keep(&gateway, 100..120);
    assert_eq!(gateway.lane("state")["buffered"], 30, "and it goes on");
    gateway.assert_account_closes();
}
