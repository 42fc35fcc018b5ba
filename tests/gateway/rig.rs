//! The rig: a gateway with its brokers, all on ports of their own.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use load::consume::{Account, Reader, Record, account};
use load::publish::{Publish, publish};
use serde_json::Value;
use tempfile::TempDir;

use crate::peers::{Kafka, Mosquitto};

/// Longer than anything here takes on a busy machine with two cores; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `done`, looking again and again.
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A gateway on a directory of its own.
pub(crate) struct Gateway {
    pub(crate) directory: TempDir,
    config: PathBuf,
    child: Option<Child>,
    /// Whose process it is, if not of who tests.
    pub(crate) user: Option<u32>,
}

impl Gateway {
    /// Writes the configuration, but does not start: `$DIR` stands for the gateway's directory.
    pub(crate) fn new(config: &str) -> Gateway {
        let directory = TempDir::new().expect("a directory can be made");
        let path = directory.path().join("gateway.toml");
        let base = "[gateway]\nid = \"gw-1\"\nsite = \"plant7\"\nstate_dir = \"$DIR/state\"\nfree_floor = \"1 MiB\"\n\
                    [status]\nhttp = false\n[replay]\nspread = \"0s\"\nramp = \"0s\"\nevents_per_s = 0\nbytes_per_s = \"1 GiB\"\ncatch_up = 0\n";
        let text =
            format!("{base}{config}").replace("$DIR", &directory.path().display().to_string());
        fs::write(&path, text).expect("a file can be written");
        Gateway {
            directory,
            config: path,
            child: None,
            user: None,
        }
    }

    pub(crate) fn start(mut self) -> Gateway {
        self.launch();
        self
    }

    pub(crate) fn launch(&mut self) {
        self.spawn();
        wait_for("the gateway's status", || self.try_status());
    }

    /// With more in its environment.
    pub(crate) fn launch_with(&mut self, environment: &[(&str, &str)]) {
        self.launch_inside(&[], environment);
    }

    /// With a command before it that makes its surroundings and becomes it.
    pub(crate) fn launch_inside(&mut self, inside: &[&str], environment: &[(&str, &str)]) {
        self.spawn_inside(inside, environment);
        wait_for("the gateway's status", || self.try_status());
    }

    /// Starts it, and does not wait until it says how it is.
    pub(crate) fn spawn(&mut self) {
        self.spawn_inside(&[], &[]);
    }

    pub(crate) fn spawn_inside(&mut self, inside: &[&str], environment: &[(&str, &str)]) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log can be opened");
        let user = self.user.map(|user| user.to_string());
        let user = user.iter();
        let user = user.flat_map(|id| ["--reuid", id, "--regid", id, "--clear-groups"]);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(user)
            .args(inside)
            .args([&binary(), "run", "-c"])
            .arg(&self.config)
            // Whatever a test binds there plays systemd.
            .env("NOTIFY_SOCKET", self.path("notify"))
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway can be started");
        self.child = Some(child);
    }

    /// `setpriv` becomes the gateway, so that this is its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().expect("the gateway runs").id()
    }

    /// Whether it has waited for a processor for more than half a second.
    pub(crate) fn is_starved(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.process()));
        let stat = stat.unwrap_or_default();
        let waited = stat.split(' ').nth(1).and_then(|ns| ns.parse().ok());
        waited.is_some_and(|waited: u64| waited > 500_000_000)
    }

    /// Replaces a part of its configuration.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let named = |text: &str| text.replace("$DIR", &self.directory.path().display().to_string());
        let (from, to) = (&named(from), &named(to));
        let text = fs::read_to_string(&self.config).expect("it was written");
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(&self.config, text.replace(from, to)).expect("a file can be written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.path("log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn kill_9(&mut self) {
        let mut child = self.child.take().expect("the gateway runs");
        child.kill().expect("it can be killed");
        let status = child.wait().expect("it can be waited for");
        assert_eq!(
            status.signal(),
            Some(9),
            "it ran until it was killed:\n{}",
            self.log()
        );
    }

    /// SIGTERM; waits for the end and asserts that it is a good one.
    pub(crate) fn stop(&mut self) {
        send_signal(self.process(), "TERM");
        self.wait_for_end();
    }

    /// Waits until it has ended, and asserts that it ended well.
    pub(crate) fn wait_for_end(&mut self) {
        let mut child = self.child.take().expect("the gateway runs");
        let status = wait_for("the gateway's end", || child.try_wait().ok().flatten());
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the gateway was started");
        child.try_wait().expect("it can be waited for")
    }

    pub(crate) fn try_status(&mut self) -> Option<Value> {
        if let Some(ended) = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
        {
            panic!("the gateway ended with {ended}:\n{}", self.log());
        }
        let output = tidegate()
            .args(["status", "--json", "--state"])
            .arg(self.path("state"))
            .output()
            .expect("status can be run");
        serde_json::from_slice(&output.stdout).ok()
    }

    pub(crate) fn status(&mut self) -> Value {
        wait_for("the gateway's status", || self.try_status())
    }

    pub(crate) fn lane(&mut self, name: &str) -> Value {
        let status = self.status();
        let lanes = status["lanes"].as_array().expect("there are lanes").clone();
        lanes
            .into_iter()
            .find(|lane| lane["name"] == name)
            .expect("the lane is there")
    }

    /// `recovered + accepted = delivered + dropped + buffered`, in every lane.
    pub(crate) fn assert_account_closes(&mut self) {
        for lane in self.status()["lanes"].as_array().expect("there are lanes") {
            let count = |name: &str| lane[name].as_u64().expect("a count");
            let dropped = dropped(lane);
            assert_eq!(
                count("recovered") + count("accepted"),
                count("delivered") + dropped + count("buffered"),
                "{lane}"
            );
        }
    }

    pub(crate) fn wait_until_connected(&mut self, source: &str) {
        wait_for("the source", || {
            let status = self.status();
            let sources = status["sources"].as_array()?;
            sources
                .iter()
                .find(|s| s["name"] == source && s["connected"] == true)
                .map(|_| ())
        });
    }

    pub(crate) fn wait_until_drained(&mut self) {
        wait_for("the lanes to drain", || {
            let status = self.status();
            let left: u64 = status["lanes"]
                .as_array()?
                .iter()
                .filter_map(|lane| lane["buffered"].as_u64())
                .sum();
            (left == 0).then_some(())
        });
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && child.kill().is_ok()
        {
            let _status = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log());
        }
    }
}

/// Events that a lane has dropped, for whatever reason.
pub(crate) fn dropped(lane: &Value) -> u64 {
    let reasons = lane["dropped"].as_array().expect("drops").iter();
    reasons.filter_map(|reason| reason[1].as_u64()).sum()
}

pub(crate) fn send_signal(process: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &process.to_string()])
        .status();
    assert!(sent.expect("kill can be run").success());
}

/// The processes that a process has started and not yet waited for.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let parse = |list: String| -> Vec<u32> {
        let numbers = list.split_whitespace().map(str::parse);
        numbers.map(|number| number.expect("a number")).collect()
    };
    lists.flat_map(parse).collect()
}

/// A port that nobody else is given: until the tests end a socket holds it that does not listen, beside which a server can.
pub(crate) fn free_port() -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().expect("there are sockets");
    socket
        .set_reuseaddr(true)
        .expect("an address can be shared");
    let any = ([127, 0, 0, 1], 0).into();
    socket.bind(any).expect("there is a free port");
    let port = socket.local_addr().expect("it has an address").port();
    std::mem::forget(socket);
    port
}

/// Gateway, mosquitto and Kafka, with everything under `plant/{device}/...`.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) mqtt: Mosquitto,
    pub(crate) kafka: Kafka,
}

impl Rig {
    /// Starts all; `more` is added to the sections of some intents.
    pub(crate) fn start(kafka: Kafka, more: &[(&str, &str)]) -> Rig {
        let mqtt = Mosquitto::start("");
        let mut gateway = Gateway::new(&(Rig::config(&mqtt, &kafka) + &kafka.topics(more))).start();
        gateway.wait_until_connected("plant");
        Rig {
            gateway,
            mqtt,
            kafka,
        }
    }

    pub(crate) fn config(mqtt: &Mosquitto, kafka: &Kafka) -> String {
        format!(
            "[uplink]\nbrokers = [\"{}\"]\n[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {}\n\
             [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/{{kind}}\"\nintent = \"state\"\n\
             [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/diag/{{kind}}\"\nintent = \"diagnostic\"\n\
             [[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n",
            kafka.plain(),
            mqtt.port
        )
    }

    /// Publishes numbered events with QoS 1; returns when mosquitto has acknowledged all.
    pub(crate) fn publish(&self, topic: &str, numbers: std::ops::Range<u64>, rate: u32) {
        publish_to(self.mqtt.port, topic, numbers, rate, 1);
    }

    /// Everything that arrived in the topic of `intent`, once `numbers` are there.
    pub(crate) fn received(&self, intent: &str, numbers: std::ops::Range<u64>) -> Vec<Record> {
        received(&self.kafka, intent, numbers)
    }

    pub(crate) fn account(&self, intent: &str, numbers: std::ops::Range<u64>) -> Account {
        account(&self.received(intent, numbers.clone()), numbers)
    }
}

pub(crate) fn publish_to(
    port: u16,
    topic: &str,
    numbers: std::ops::Range<u64>,
    rate: u32,
    qos: u8,
) {
    run(Publish {
        port,
        topic: topic.into(),
        devices: 10,
        numbers,
        rate,
        size: 200,
        qos,
        noise: false,
    });
}

/// Publishes; returns when the broker has acknowledged all.
pub(crate) fn run(job: Publish) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime can be made")
        .block_on(publish(job));
}

pub(crate) fn received(kafka: &Kafka, intent: &str, numbers: std::ops::Range<u64>) -> Vec<Record> {
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic(intent)], &[]);
    let (mut seen, mut distinct) = (0, std::collections::HashSet::new());
    reader.until(PATIENCE, |records| {
        for record in &records[seen..] {
            distinct.extend(
                load::Numbered::parse(&record.payload)
                    .ok()
                    .map(|e| e.n)
                    .filter(|n| numbers.contains(n)),
            );
        }
        seen = records.len();
        distinct.len() as u64 == numbers.end - numbers.start
    })
}

/// The binary under test: what cargo has built, or another one, such as one for ARM in qemu.
pub(crate) fn binary() -> String {
    std::env::var("TIDEGATE_UNDER_TEST").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tidegate").into())
}

pub(crate) fn tidegate() -> Command {
    Command::new(binary())
}

pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
