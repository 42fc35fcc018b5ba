//! The gateway's peers: real brokers, each a process of its own on ports of its own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use crate::rig::{free_port, project, send_signal, wait_for};

/// A mosquitto with a configuration of its own.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    directory: TempDir,
    child: Child,
}

impl Mosquitto {
    /// `more` is added to the configuration; the window is mosquitto's default of 20.
    pub(crate) fn start(more: &str) -> Mosquitto {
        let (port, directory) = (
            free_port(),
            TempDir::new().expect("a directory can be made"),
        );
        Mosquitto::on(port, directory, more)
    }

    pub(crate) fn on_port(port: u16) -> Mosquitto {
        Mosquitto::on(port, TempDir::new().expect("a directory can be made"), "")
    }

    fn on(port: u16, directory: TempDir, more: &str) -> Mosquitto {
        let config = directory.path().join("mosquitto.conf");
        let text = format!(
            "max_queued_messages 1000000\n{more}\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
        );
        fs::write(&config, text).expect("a file can be written");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "mosquitto", "-c"])
            .arg(&config);
        let log = fs::File::create(directory.path().join("log")).expect("a log can be made");
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto is installed");
        wait_for("mosquitto", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Mosquitto {
            port,
            directory,
            child,
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _status = self.child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- log of mosquitto\n{log}");
        }
    }
}

/// A real Apache Kafka: one that tests share, told apart by their topics, or one of a test's own.
pub(crate) struct Kafka {
    node: Option<Node>,
    ports: [u16; 4],
    /// Set before each of this test's topics.
    prefix: String,
}

struct Node {
    directory: TempDir,
    child: Option<Child>,
    autocreate: bool,
    /// Which of how many it is, if it is not alone; see `tests/kafka/broker`.
    place: Vec<(&'static str, String)>,
}

static TESTS: AtomicU32 = AtomicU32::new(0);

/// Whether the cluster's tests can run; without Java a developer is told what was left out.
pub(crate) fn kafka_is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        let works = |command: &mut Command| {
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        };
        let java = works(Command::new("java").arg("-version"));
        let fetched =
            java && works(Command::new(project().join("tests/kafka/broker")).arg("fetch"));
        assert!(
            fetched || std::env::var_os("CI").is_none(),
            "CI needs Java, Maven and Apache Kafka"
        );
        fetched
    })
}

/// Leaves the test out where there is no Kafka.
#[macro_export]
macro_rules! needs_kafka {
    () => {
        if !$crate::peers::kafka_is_here() {
            eprintln!("skipped: needs Java and Maven to run Apache Kafka; `make demo` shows the main job without them");
            return;
        }
    };
}

impl Kafka {
    /// The cluster that tests share. It ends with the test process.
    pub(crate) fn shared() -> Kafka {
        static SHARED: OnceLock<[u16; 4]> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let ports = *SHARED.get_or_init(|| {
            let (tell, told) = std::sync::mpsc::sync_channel(1);
            // A child dies with the thread that began it: this one stays.
            std::thread::spawn(move || {
                let ports = ports();
                let mut node = Node {
                    directory: TempDir::new().expect("a directory can be made"),
                    child: None,
                    autocreate: true,
                    place: Vec::new(),
                };
                node.launch(ports);
                tell.send(ports).expect("the test waits");
                loop {
                    std::thread::park();
                }
            });
            told.recv().expect("the cluster starts")
        });
        Kafka {
            node: None,
            ports,
            prefix: prefix(),
        }
    }

    /// A cluster to stop and kill, not yet started.
    pub(crate) fn own() -> Kafka {
        let node = Node {
            directory: TempDir::new().expect("a directory can be made"),
            child: None,
            autocreate: true,
            place: Vec::new(),
        };
        Kafka {
            node: Some(node),
            ports: ports(),
            prefix: prefix(),
        }
    }

    pub(crate) fn started(mut self) -> Kafka {
        self.launch();
        self
    }

    /// Topics must be made before they are written to.
    pub(crate) fn without_autocreate(mut self) -> Kafka {
        self.node.as_mut().expect("a cluster of its own").autocreate = false;
        self
    }

    pub(crate) fn launch(&mut self) {
        let ports = self.ports;
        self.node
            .as_mut()
            .expect("a cluster of its own")
            .launch(ports);
    }

    /// Another cluster on the same ports, not yet started.
    pub(crate) fn another(&self) -> Kafka {
        let mut other = Kafka::own();
        (other.ports, other.prefix) = (self.ports, self.prefix.clone());
        other.set("KAFKA_CLUSTER", "tidegateOtherClusterAA");
        other
    }

    /// For its next start; see `tests/kafka/broker`.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        let node = self.node.as_mut().expect("a cluster of its own");
        node.place.push((name, value.into()));
    }

    pub(crate) fn signal(&mut self, name: &str) {
        let node = self.node.as_mut().expect("a cluster of its own");
        send_signal(node.child.as_ref().expect("it runs").id(), name);
    }

    /// What a power cut does to a broker that does not sync its logs: it ends, and of each partition of this test's topics the
    /// last fifth is gone. Returns how many partitions that were.
    pub(crate) fn lose_power(&mut self) -> usize {
        self.kill_9();
        let node = self.node.as_ref().expect("a cluster of its own");
        let mut torn = 0;
        for entry in fs::read_dir(node.directory.path().join("data")).expect("it has data") {
            let partition = entry.expect("it can be read").path();
            let name = partition.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| name.starts_with(&format!("{}.", self.prefix))) {
                continue;
            }
            let log = partition.join("00000000000000000000.log");
            let file = fs::File::options()
                .write(true)
                .open(log)
                .expect("it has a log");
            let length = file.metadata().expect("it is there").len();
            file.set_len(length / 5 * 4).expect("it can be cut");
            torn += usize::from(length > 0);
        }
        torn
    }

    pub(crate) fn kill_9(&mut self) {
        let node = self.node.as_mut().expect("a cluster of its own");
        let mut child = node.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    pub(crate) fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    pub(crate) fn sasl_ssl(&self) -> String {
        format!("localhost:{}", self.ports[1])
    }

    pub(crate) fn ssl(&self) -> String {
        format!("localhost:{}", self.ports[2])
    }

    /// This test's topic for an intent.
    pub(crate) fn topic(&self, intent: &str) -> String {
        format!("{}.{intent}", self.prefix)
    }

    /// Configuration that sends each intent to this test's topics; `more` is added to some.
    pub(crate) fn topics(&self, more: &[(&str, &str)]) -> String {
        let intents = ["critical", "state", "feature", "diagnostic", "health"];
        let section = |name: &str| {
            let more: String = more
                .iter()
                .filter(|(intent, _)| *intent == name)
                .map(|(_, lines)| *lines)
                .collect();
            format!(
                "[[intent]]\nname = \"{name}\"\ntopic = \"{}\"\n{more}\n",
                self.topic(name)
            )
        };
        intents.map(section).concat()
    }

    /// Runs one of Kafka's own commands.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) {
        let script = project().join("tests/kafka/broker");
        let output = Command::new(script)
            .arg(name)
            .arg(self.ports[0].to_string())
            .args(arguments)
            .output();
        let output = output.expect("the command can be run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn ports() -> [u16; 4] {
    std::array::from_fn(|_| free_port())
}

fn prefix() -> String {
    format!("test-{}", TESTS.fetch_add(1, Ordering::Relaxed))
}

/// Three real brokers, of which a topic's replicas can be chosen.
pub(crate) struct Trio([Kafka; 3]);

impl Trio {
    pub(crate) fn started() -> Trio {
        let mut nodes = std::array::from_fn(|_| Kafka::own());
        let voters: Vec<String> = (1..)
            .zip(&nodes)
            .map(|(number, node)| format!("{number}@127.0.0.1:{}", node.ports[3]))
            .collect();
        for (number, kafka) in (1..).zip(&mut nodes) {
            let node = kafka.node.as_mut().expect("a cluster of its own");
            let place = [
                ("KAFKA_NODE", format!("{number}")),
                ("KAFKA_VOTERS", voters.join(",")),
                ("KAFKA_REPLICAS", "3".into()),
            ];
            node.place = place.into();
            node.spawn(kafka.ports);
        }
        for kafka in &nodes {
            kafka.node.as_ref().expect("a cluster of its own").wait();
        }
        Trio(nodes)
    }

    /// As an array of TOML.
    pub(crate) fn brokers(&self) -> String {
        let quoted = self
            .0
            .each_ref()
            .map(|node| format!("\"{}\"", node.plain()));
        format!("[{}]", quoted.join(", "))
    }

    /// The node by its number, from 1.
    pub(crate) fn node(&mut self, number: usize) -> &mut Kafka {
        &mut self.0[number - 1]
    }
}

impl Node {
    fn launch(&mut self, ports: [u16; 4]) {
        self.spawn(ports);
        self.wait();
    }

    fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }

    fn wait(&self) {
        wait_for("Kafka", || {
            fs::read_to_string(self.log())
                .ok()?
                .contains("Kafka Server started")
                .then_some(())
        });
    }

    fn spawn(&mut self, ports: [u16; 4]) {
        assert!(kafka_is_here());
        let path = self.log();
        let log = fs::File::create(&path).expect("a log can be made");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(project().join("tests/kafka/broker"))
            .arg("run");
        command
            .arg(self.directory.path())
            .args(ports.map(|port| port.to_string()));
        command.env("KAFKA_AUTOCREATE", self.autocreate.to_string());
        command.envs(self.place.iter().map(|(name, value)| (name, value)));
        self.child = Some(
            command
                .stdout(log)
                .stderr(Stdio::null())
                .spawn()
                .expect("Kafka can be started"),
        );
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && child.kill().is_ok()
        {
            let _status = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- log of Kafka, its end\n{last}");
        }
    }
}
