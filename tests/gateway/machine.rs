//! A machine of a gateway's own, as far as clocks go, and what its events say of the time.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use load::consume::{Reader, Record, account};
use serde_json::{Value, json};

use crate::keeping::VISION;
use crate::mends::offer;
use crate::peers::Kafka;
use crate::rig::{Gateway, PATIENCE, project, wait_for};

/// A gateway on a machine of its own, as far as clocks go: what its system's clock shows, the id of its boot, how long ago that was,
/// and what timesyncd says.
pub(crate) struct Machine {
    pub(crate) gateway: Gateway,
    boots: u32,
    /// Seconds of uptime that the machine has more than this one.
    more_uptime: i64,
}

/// Mounts and a clock of its own take root, and a kernel with time namespaces.
pub(crate) fn can_have_a_machine() -> bool {
    let may = Command::new("unshare")
        .args(["--mount", "--time", "--boottime", "1", "true"])
        .output();
    let may = may.is_ok_and(|output| output.status.success());
    assert!(may || std::env::var_os("CI").is_none(), "CI needs root");
    if !may {
        eprintln!("skipped: needs root, for a mount and a time namespace");
    }
    may
}

impl Machine {
    pub(crate) fn new(config: &str) -> Machine {
        let gateway = Gateway::new(&format!("{config}{VISION}"));
        fs::create_dir_all(gateway.path("run/systemd/timesync")).unwrap();
        let machine = Machine {
            gateway,
            boots: 0,
            more_uptime: 0,
        };
        machine.reboots_into("+0", 0)
    }

    /// Another boot, with the system's clock as [`Machine::shows`] says it, and so much more uptime than this machine.
    pub(crate) fn reboots_into(mut self, shows: &str, more_uptime: i64) -> Machine {
        self.boots += 1;
        self.more_uptime = more_uptime;
        let id = format!("00000000-0000-4000-8000-{:012}\n", self.boots);
        fs::write(self.gateway.path("boot_id"), id).unwrap();
        self.shows(shows);
        let touched = self.gateway.path("run/systemd/timesync/synchronized");
        if touched.exists() {
            fs::remove_file(touched).unwrap();
        }
        self
    }

    /// The system's clock is set: `+3h` is three hours ahead of the truth, `1970` half a minute after that began.
    pub(crate) fn shows(&self, time: &str) {
        let ns = match time {
            "1970" => 30_000_000_000 - unix_ms() * 1_000_000,
            "+0" => 0,
            other => ahead_s(other) * 1_000_000_000,
        };
        let place = self.gateway.path("ahead");
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(place);
        file.unwrap().write_all_at(&ns.to_ne_bytes(), 0).unwrap();
    }

    /// timesyncd has the clock right.
    pub(crate) fn is_synchronized(&self) {
        self.shows("+0");
        self.is_told();
    }

    fn is_told(&self) {
        fs::write(self.gateway.path("run/systemd/timesync/synchronized"), "").unwrap();
    }

    pub(crate) fn starts(&mut self) {
        let directory = self.gateway.directory.path().display().to_string();
        let script = format!(
            "mount --bind {directory}/boot_id /proc/sys/kernel/random/boot_id && mount --bind {directory}/run /run && exec \"$@\""
        );
        let uptime = self.more_uptime.to_string();
        let inside = [
            "unshare",
            "--mount",
            "--time",
            "--boottime",
            &uptime,
            "sh",
            "-c",
            &script,
            "sh",
        ];
        let ahead = self.gateway.path("ahead").display().to_string();
        let environment = [("LD_PRELOAD", wall()), ("WALL_AHEAD", ahead.as_str())];
        self.gateway.launch_inside(&inside, &environment);
    }

    pub(crate) fn restarts(&mut self) {
        self.gateway.stop();
        self.starts();
    }

    /// One whose clock was right from the start, as a witness says.
    pub(crate) fn vouched_for(config: &str) -> Machine {
        let mut machine = Machine::new(config);
        machine.starts();
        machine.is_synchronized();
        machine.waits_for("vouched for");
        machine
    }

    /// Waits until the time is trusted like this; timesyncd goes on synchronising where it is to be vouched for.
    pub(crate) fn waits_for(&mut self, trust: &str) {
        wait_for(trust, || {
            if trust == "vouched for" {
                self.is_told();
            }
            (self.clock()["trust"] == trust).then_some(())
        });
    }

    pub(crate) fn clock(&mut self) -> Value {
        self.gateway.status()["clock"].clone()
    }

    /// Waits until the system's clock is seen to be off by about this, in seconds.
    pub(crate) fn waits_until_off(&mut self, seconds: f64) {
        wait_for("the clock to be seen to be off", || {
            let off = self.clock()["system_clock_off_s"].as_f64()?;
            ((off - seconds).abs() < 2.0).then_some(())
        });
    }
}

/// Seconds, of a text such as `-8h` or `+10y`.
fn ahead_s(time: &str) -> i64 {
    let (number, unit) = time.split_at(time.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "y" => 365 * 86_400,
        other => panic!("{other} is no unit"),
    };
    number.parse::<i64>().unwrap() * seconds
}

/// The library that sets the gateway's system's clock.
fn wall() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library = format!("{}/wall.so", env!("CARGO_TARGET_TMPDIR"));
        let built = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o", &library])
            .arg(project().join("tests/gateway/wall.c"))
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success());
        library
    })
}

pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Offers an event now; its payload says when that was.
pub(crate) fn happens(machine: &Machine, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let now = unix_ms() * 1000;
        let event = json!({ "intent": "state", "device": "press-1", "id": number, "ack": number,
            "payload": { "d": 1, "n": number, "t": now } });
        assert_eq!(offer(&machine.gateway, &[event]).len(), 1);
    }
}

pub(crate) fn arrived(kafka: &Kafka, count: u64) -> Vec<Record> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("state")], &[]);
    let records = reader.until(PATIENCE, |records| account(records, 0..count).lost == 0);
    assert_eq!(account(&records, 0..count).lost, 0);
    records
}

/// How far `ce_time` is ahead of the truth, in seconds, and how it is marked.
pub(crate) fn told(record: &Record) -> (i64, String) {
    let time: jiff::Timestamp = record.header("ce_time").parse().unwrap();
    let payload: Value = serde_json::from_slice(&record.payload).unwrap();
    let off_us = time.as_microsecond() - payload["t"].as_i64().unwrap();
    let unverified = if record.header("tg-unverified") == "true" {
        " unverified"
    } else {
        ""
    };
    let mark = format!("{}{unverified}", record.header("tg-clock"));
    ((off_us + 500_000).div_euclid(1_000_000), mark)
}

/// The numbered event's telling.
pub(crate) fn told_of(records: &[Record], number: u64) -> (i64, String) {
    let record = records.iter().find(|record| {
        let payload: Value = serde_json::from_slice(&record.payload).unwrap();
        payload["n"] == number
    });
    told(record.unwrap())
}

pub(crate) const RIGHT: (i64, &str) = (0, "synced");

pub(crate) fn is(told: &(i64, String), expected: (i64, &str)) -> bool {
    (told.0 - expected.0).abs() <= 1 && told.1 == expected.1
}

pub(crate) fn config(kafka: &Kafka) -> String {
    format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain()) + &kafka.topics(&[])
}
