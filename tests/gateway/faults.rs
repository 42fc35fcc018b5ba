//! Disks whose system calls fail under load, and a disk writer that is killed: whatever has a receipt arrives.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use load::consume::account;
use serde_json::json;

use crate::disks::FailingDisk;
use crate::keeping::{AWAY, VISION, keep};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, children, received, send_signal, wait_for};

const FAILS: &str = "the disk does not take what must be kept";
const IS_WELL: &str = "the disk takes what must be kept again";
/// Events that the client offers before it waits for their receipts.
const BATCH: u64 = 50;

/// Offers events for the state lane as fast as it gets receipts, until the gateway is gone.
struct Client {
    receipted: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(gateway: &Gateway, from: u64) -> Client {
        let receipted = Arc::new(AtomicU64::new(from));
        let (socket, all) = (gateway.path("vision.sock"), Arc::clone(&receipted));
        wait_for("the socket", || UnixStream::connect(&socket).ok());
        let thread = std::thread::spawn(move || {
            let mut next = from;
            while batch(&socket, next..next + BATCH).is_ok() {
                next += BATCH;
                all.store(next, Ordering::Release);
            }
        });
        Client { receipted, thread }
    }

    fn receipted(&self) -> u64 {
        self.receipted.load(Ordering::Acquire)
    }

    fn wait_for_receipts(&self) {
        let before = self.receipted();
        wait_for("receipts", || {
            (self.receipted() >= before + 4 * BATCH).then_some(())
        });
    }

    /// Of a gateway that is gone: all numbers below it have a receipt.
    fn end(self) -> u64 {
        self.thread.join().unwrap();
        self.receipted.load(Ordering::Acquire)
    }
}

fn batch(socket: &Path, numbers: Range<u64>) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let last = numbers.end - 1;
    let mut lines = String::new();
    for number in numbers {
        let event = json!({ "intent": "state", "device": "press-3", "id": number,
            "payload": { "n": number, "t": 0, "pad": "plainly" }, "ack": (number == last).then_some(number) });
        lines.push_str(&event.to_string());
        lines.push('\n');
    }
    stream.write_all(lines.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer == format!("{{\"ack\":{last}}}\n") {
        Ok(())
    } else {
        Err(io::Error::other(answer))
    }
}

/// A gateway that writes everything to its disk at once, also while the cluster takes it.
fn gateway(kafka: &Kafka) -> Gateway {
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n{VISION}", kafka.plain());
    let topics = kafka.topics(&[("state", "persist_after = \"0s\"")]);
    Gateway::new(&(uplink + &topics)).start()
}

fn told(gateway: &Gateway, text: &str) -> usize {
    gateway.log().matches(text).count()
}

/// The disk fails for a while, and receipts flow again afterwards.
fn fail(gateway: &mut Gateway, client: &Client, calls: &str, error: &str) {
    client.wait_for_receipts();
    let (failed, well) = (told(gateway, FAILS), told(gateway, IS_WELL));
    let failing = FailingDisk::of(gateway.process(), calls, error);
    wait_for("the disk to be told of", || {
        (told(gateway, FAILS) > failed).then_some(())
    });
    drop(failing);
    wait_for("the disk to be well", || {
        (told(gateway, IS_WELL) > well).then_some(())
    });
    client.wait_for_receipts();
    assert!(gateway.try_status().is_some());
}

/// After a kill and a restart, everything with a receipt arrives.
fn arrives(mut gateway: Gateway, client: Client, kafka: &mut Kafka, is_up: bool) {
    gateway.kill_9();
    let receipted = client.end();
    assert_eq!(told(&gateway, "panicked"), 0);
    gateway.launch();
    if !is_up {
        kafka.launch();
    }
    let account = account(&received(kafka, "state", 0..receipted), 0..receipted);
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn while_kafka_is_away_a_disk_that_fails_loses_nothing_with_a_receipt() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    let mut gateway = gateway(&kafka);
    let client = Client::start(&gateway, 0);
    for (calls, error) in [
        ("fsync,fdatasync", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("fsync,fdatasync", "ENOSPC"),
        ("mkdir,openat", "EROFS"),
    ] {
        fail(&mut gateway, &client, calls, error);
    }
    arrives(gateway, client, &mut kafka, false);
}

#[test]
fn while_kafka_is_up_a_disk_that_fails_loses_nothing_with_a_receipt() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    kafka.launch();
    let mut gateway = gateway(&kafka);
    let client = Client::start(&gateway, 0);
    for (calls, error) in [("fsync,fdatasync", "EIO"), ("pwrite64", "ENOSPC")] {
        fail(&mut gateway, &client, calls, error);
    }
    arrives(gateway, client, &mut kafka, true);
}

#[test]
fn a_disk_writer_that_is_killed_is_replaced_and_nobody_notices() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    let gateway = gateway(&kafka);
    let client = Client::start(&gateway, 0);
    let mut killed = Vec::new();
    while killed.len() < 5 {
        client.wait_for_receipts();
        let writer = wait_for("a disk writer", || {
            let running = children(gateway.process());
            running.into_iter().find(|one| !killed.contains(one))
        });
        send_signal(writer, "KILL");
        killed.push(writer);
    }
    client.wait_for_receipts();
    let running = children(gateway.process());
    assert!(
        killed.iter().all(|one| !running.contains(one)),
        "no zombies"
    );
    assert_eq!(told(&gateway, FAILS), 0, "{}", gateway.log());
    arrives(gateway, client, &mut kafka, false);
}

#[test]
fn a_disk_writer_ends_with_its_agent_and_a_quiet_gateway_has_none() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    wait_for("no disk writer", || {
        children(gateway.process()).is_empty().then_some(())
    });
    keep(&gateway, 0..20);
    let [writer] = children(gateway.process())[..] else {
        panic!("one disk writer runs");
    };
    let name = fs::read_to_string(format!("/proc/{writer}/cmdline")).unwrap();
    assert!(name.ends_with("\0disk-writer\0"), "{name}");
    gateway.kill_9();
    let of_writer = PathBuf::from(format!("/proc/{writer}/cmdline"));
    wait_for("its end", || {
        fs::read_to_string(&of_writer)
            .unwrap_or_default()
            .is_empty()
            .then_some(())
    });
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 20);
    keep(&gateway, 20..40);
    gateway.stop();
}
