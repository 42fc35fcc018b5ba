//! Disks that hang, and disks that cannot be read for a while.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::consume::account;
use serde_json::json;

use crate::keeping::{AWAY, VISION, answer, keep, offer};
use crate::mends;
use crate::needs_kafka;
use crate::operator::get;
use crate::peers::Kafka;
use crate::rig::{
    Gateway, PATIENCE, children, dropped, free_port, received, send_signal, wait_for,
};

/// The disk writer stands still, as where the kernel waits for a disk, until this is dropped.
pub(crate) struct Hung(u32);

impl Hung {
    pub(crate) fn begin(gateway: &Gateway) -> Hung {
        let first = || children(gateway.process()).first().copied();
        let writer = wait_for("a disk writer", first);
        send_signal(writer, "STOP");
        Hung(writer)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let process = self.0.to_string();
        let sent = Command::new("kill").args(["-CONT", &process]).status();
        assert!(sent.is_ok_and(|sent| sent.success()) || std::thread::panicking());
    }
}

/// What systemd is told, in a queue of a few messages.
struct Systemd(UnixDatagram);

impl Systemd {
    fn of(gateway: &Gateway) -> Systemd {
        let socket = UnixDatagram::bind(gateway.path("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Systemd(socket)
    }

    /// Waits until the watchdog has been fed so often from now on: once a second.
    fn feeds(&self, count: usize) {
        let mut message = [0; 256];
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut message).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
        for _ in 0..count {
            let length = self.0.recv(&mut message).unwrap();
            let told = String::from_utf8_lossy(&message[..length]);
            assert!(told.starts_with("WATCHDOG=1"), "{told}");
        }
    }
}

#[test]
fn a_disk_that_hangs_is_said_within_a_minute_and_nothing_is_acknowledged_that_only_it_could_keep() {
    let port = free_port();
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
    let listen = format!("http = true\nlisten = \"127.0.0.1:{port}\"");
    gateway.change("http = false", &listen);
    let systemd = Systemd::of(&gateway);
    gateway.launch();
    keep(&gateway, 0..20);
    let hung = Hung::begin(&gateway);
    let begun = Instant::now();
    let mut held = offer(&gateway, 20..40);
    wait_for("the gateway to say that it is ill", || {
        let (head, body) = get(port, "/healthz");
        let ill = head.starts_with("HTTP/1.1 503");
        ill.then(|| assert!(body.starts_with("disk: no answer for "), "{body}"))
    });
    assert!(begun.elapsed() < Duration::from_mins(1));
    let status = gateway.status();
    let error = status["disk_error"].as_str().unwrap();
    assert!(error.starts_with("no answer for "), "{status}");
    // A disk may be slow for minutes: a restart would not make it faster.
    let part = &status["parts"][0];
    assert_eq!(
        (&part["part"], &part["is_mended"]),
        (&json!("disk"), &json!(true))
    );
    systemd.feeds(3);
    held.set_nonblocking(true).unwrap();
    let nothing = held.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    held.set_nonblocking(false).unwrap();
    drop(hung);
    assert_eq!(answer(held), "{\"ack\":39}\n");
    gateway.wait_for_log("the disk takes what must be kept again");
    wait_for("the gateway to say that it is well", || {
        (get(port, "/healthz").1 == "ok\n").then_some(())
    });
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 40);
}

#[test]
fn while_the_disk_hangs_what_the_cluster_takes_is_acknowledged_alarms_too() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain());
    let at_once = [
        ("state", "persist_after = \"0s\""),
        ("critical", "persist_after = \"0s\""),
    ];
    let mut gateway = Gateway::new(&(uplink + &kafka.topics(&at_once))).start();
    keep(&gateway, 0..20);
    let hung = Hung::begin(&gateway);
    keep(&gateway, 20..40);
    for number in 0..10 {
        let alarm = json!({ "intent": "critical", "device": "cam-1", "id": number, "ack": number,
            "payload": { "n": number, "t": 0 } });
        assert_eq!(mends::offer(&gateway, &[alarm]), [json!({ "ack": number })]);
    }
    keep(&gateway, 40..60);
    let told = gateway.log().contains("the disk does not take");
    assert!(!told, "all that took no longer than a disk may take");
    drop(hung);
    assert_eq!(account(&received(&kafka, "state", 0..60), 0..60).lost, 0);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

/// Reads of the thread of the disk fail, until this is dropped.
struct FailingReads(Child);

impl FailingReads {
    fn begin(gateway: &Gateway, error: &str) -> FailingReads {
        let tasks = fs::read_dir(format!("/proc/{}/task", gateway.process())).unwrap();
        let mut tasks = tasks.map(|task| task.unwrap().path());
        let disk = tasks.find(|task| fs::read_to_string(task.join("comm")).unwrap() == "disk\n");
        let disk = disk.expect("the disk has a thread");
        // This thread alone: not what it starts.
        let thread = disk.file_name().unwrap().to_str().unwrap().to_owned();
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e"]);
        let child = strace
            .arg(format!("inject=pread64:error={error}"))
            .args(["-p", &thread])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        wait_for("strace to be there, which needs ptrace", || {
            let status = fs::read_to_string(disk.join("status")).ok()?;
            let tracer = status.lines().find(|line| line.starts_with("TracerPid"))?;
            tracer.ends_with(&format!("\t{}", child.id())).then_some(())
        });
        FailingReads(child)
    }
}

impl Drop for FailingReads {
    fn drop(&mut self) {
        // It lets go of the thread when it is asked to end.
        send_signal(self.0.id(), "TERM");
        let _status = self.0.wait();
    }
}

/// What does not compress, with a receipt for all of it.
fn keep_noise(gateway: &Gateway, numbers: std::ops::Range<u64>) {
    let last = numbers.end - 1;
    let event = |number: u64| {
        let payload = json!({ "n": number, "t": 0, "pad": mends::letters(number, 2_000) });
        json!({ "intent": "state", "device": "press-3", "id": number, "payload": payload,
            "ack": (number == last).then_some(number) })
    };
    let events: Vec<_> = numbers.map(event).collect();
    assert_eq!(mends::offer(gateway, &events), [json!({ "ack": last })]);
}

/// Hundredths of a second that a process has used of a processor.
fn cpu(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let of = |index: usize| fields[index].parse::<u64>().unwrap();
    of(11) + of(12)
}

/// A gateway with 300 events on its disk, and its cluster, which is away.
fn full() -> (Gateway, Kafka, Systemd) {
    let kafka = Kafka::own();
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain());
    let mut gateway = Gateway::new(&(uplink + &kafka.topics(&[])));
    let systemd = Systemd::of(&gateway);
    gateway.launch();
    keep_noise(&gateway, 0..300);
    gateway.kill_9();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 300);
    (gateway, kafka, systemd)
}

fn assert_all_arrive(gateway: &mut Gateway, kafka: &Kafka, count: u64) {
    let records = received(kafka, "state", 0..count);
    let account = account(&records, 0..count);
    assert_eq!((account.lost, account.out_of_order), (0, 0), "{account:?}");
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    assert_eq!(dropped(&gateway.lane("state")), 0);
    assert!(!gateway.log().contains("is damaged"), "{}", gateway.log());
}

#[test]
fn a_disk_that_cannot_be_read_is_told_once_and_asked_once_a_second_until_it_can() {
    needs_kafka!();
    let (mut gateway, mut kafka, systemd) = full();
    let failing = FailingReads::begin(&gateway, "EIO");
    kafka.launch();
    gateway.wait_for_log("the disk cannot be read");
    let before = cpu(gateway.process());
    systemd.feeds(6);
    let used = cpu(gateway.process()) - before;
    assert!(used < 200, "{used} hundredths of a second within six");
    let error = gateway.status()["disk_error"].clone();
    assert!(error.as_str().unwrap().contains("Input/output error"));
    // The disk takes what is new: that is no reason to refuse it.
    keep_noise(&gateway, 300..320);
    let said = gateway.log().matches("the disk cannot be read").count();
    assert_eq!(said, 1, "{}", gateway.log());
    drop(failing);
    assert_all_arrive(&mut gateway, &kafka, 320);
    gateway.wait_for_log("the disk can be read again");
    assert!(gateway.status()["disk_error"].is_null());
}

#[test]
fn a_disk_of_which_one_read_in_seven_fails_loses_nothing() {
    needs_kafka!();
    let (mut gateway, mut kafka, _systemd) = full();
    let failing = FailingReads::begin(&gateway, "EIO:when=1+7");
    kafka.launch();
    assert_all_arrive(&mut gateway, &kafka, 300);
    drop(failing);
}
