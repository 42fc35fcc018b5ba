//! The simulated plant.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use load::Numbered;
use load::publish::{Publish, publish};
use load::slave::{Fault, SlaveLine};
use tempfile::TempDir;

/// Events a second of MQTT states, and of alarms.
const STATES: u32 = 400;
const ALARMS: u32 = 5;
/// So many seconds of events are published at once, until the demo ends.
const PORTION: u64 = 2;

pub(super) struct Plant {
    port: u16,
    mosquitto: Child,
    /// None where there are no serial lines.
    line: Option<SlaveLine>,
    stop: Arc<AtomicBool>,
    sources: Vec<JoinHandle<()>>,
}

impl Plant {
    pub(super) fn start(directory: &TempDir) -> std::io::Result<Plant> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let config = directory.path().join("mosquitto.conf");
        std::fs::write(
            &config,
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n"
            ),
        )?;
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let mut command = Command::new("mosquitto");
        let mosquitto = command
            .env("PATH", path)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let line = SlaveLine::can_be_had().then(|| SlaveLine::start(&[(7, Fault::None)]));
        if line.is_none() {
            super::tell(
                "no serial line can be had here (qemu-user has none): the plant has no Modbus slave",
            );
        }
        Ok(Plant {
            port,
            mosquitto,
            line,
            stop: Arc::default(),
            sources: Vec::new(),
        })
    }

    /// The gateway's configuration: what `configs/minimal.toml` has, and the plant's addresses.
    pub(super) fn config(&self, brokers: &str, directory: &TempDir) -> String {
        let (port, directory) = (self.port, directory.path().display());
        let bus = self.line.as_ref().map_or(String::new(), bus);
        format!(
            r#"
[gateway]
id = "demo"
site = "plant7"
state_dir = "{directory}/state"
[status]
http = false
[uplink]
brokers = ["{brokers}"]
[replay]
spread = "3s"
ramp = "5s"
events_per_s = 2500
catch_up = 20
[[mqtt]]
name = "alarms"
host = "127.0.0.1"
port = {port}
[[mqtt.subscribe]]
topic = "plant/{{device}}/alarm/{{kind}}"
intent = "critical"
[[mqtt]]
name = "states"
host = "127.0.0.1"
port = {port}
[[mqtt.subscribe]]
topic = "plant/{{device}}/state/{{kind}}"
intent = "state"
[[inference]]
name = "vision"
socket = "{directory}/vision.sock"
intent = "feature"
{bus}"#
        )
    }

    /// Begins to make events.
    pub(super) fn begin(&mut self, directory: &TempDir) {
        for (topic, rate) in [
            ("plant/{d}/state/temp", STATES),
            ("plant/{d}/alarm/door", ALARMS),
        ] {
            let (port, stop) = (self.port, Arc::clone(&self.stop));
            self.sources.push(std::thread::spawn(move || {
                devices(port, topic, rate, &stop);
            }));
        }
        let (socket, stop) = (directory.path().join("vision.sock"), Arc::clone(&self.stop));
        self.sources
            .push(std::thread::spawn(move || inference(&socket, &stop)));
    }

    /// The portions that are under way are published to their end.
    pub(super) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for source in self.sources.drain(..) {
            if source.join().is_err() {
                super::tell("a source of the plant failed");
            }
        }
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if self.mosquitto.kill().is_err() || self.mosquitto.wait().is_err() {
            super::tell("mosquitto had ended before the demo did");
        }
    }
}

/// The Modbus slave's part of the configuration.
fn bus(line: &SlaveLine) -> String {
    format!(
        r#"[[modbus]]
name = "press-bus"
line = {{ port = "{}", baud = 19200 }}
[[modbus.slave]]
address = 7
device = "meter-7"
[[modbus.slave.group]]
name = "power"
interval = "100ms"
intent = "diagnostic"
[[modbus.slave.group.field]]
name = "voltage"
address = 0
scale = 0.1
unit = "V"
"#,
        line.path()
    )
}

fn devices(port: u16, topic: &str, rate: u32, stop: &AtomicBool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    let portion = u64::from(rate) * PORTION;
    let mut first = 0;
    while !stop.load(Ordering::Relaxed) {
        let numbers = first..first + portion;
        let job = Publish {
            port,
            topic: topic.into(),
            devices: 10,
            numbers,
            rate,
            size: 200,
            qos: 1,
            noise: false,
        };
        runtime.block_on(publish(job));
        first += portion;
    }
}

/// A program that offers a result, waits until it is kept, and offers the next.
fn inference(socket: &std::path::Path, stop: &AtomicBool) {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return;
    };
    let Ok(answers) = stream.try_clone() else {
        return;
    };
    let mut answers = BufReader::new(answers);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let event = serde_json::json!({ "device": "cam-1", "kind": "score", "id": number, "ack": number, "payload": Numbered::new(number, 200, false) });
        let mut answer = String::new();
        if writeln!(stream, "{event}").is_err() || answers.read_line(&mut answer).is_err() {
            return;
        }
        number += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
