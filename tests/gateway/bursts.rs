//! A broker that plays from memory: it sends as fast as a large window of acknowledgements allows.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use load::consume::account;
use load::play::{Play, Played, play};

use crate::hung::Hung;
use crate::needs_kafka;
use crate::pause::assert_nothing_is_dropped;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, publish_to, received, tidegate, wait_for};

/// Many thousands of messages, as many as the test wants.
struct Player {
    port: u16,
    played: Arc<Played>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    fn start(window: u16) -> Player {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let job = Play {
            topic: "plant/{d}/state/temp".into(),
            devices: 10,
            numbers: 0..60_000,
            size: 600,
            window,
        };
        let played = Arc::<Played>::default();
        let progress = Arc::clone(&played);
        let thread = std::thread::spawn(move || play(&listener, &job, &progress).unwrap());
        Player {
            port,
            played,
            thread: Some(thread),
        }
    }

    /// Returns how many messages were sent, once all of them are acknowledged.
    fn rest(&self) -> u64 {
        self.played.rest();
        wait_for("all acknowledgements", || {
            let (sent, acknowledged) = self.played.so_far();
            (sent == acknowledged).then_some(sent)
        })
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.played.end();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn source(name: &str, version: &str, port: u16, topic: &str, intent: &str) -> String {
    format!(
        "[[mqtt]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nversion = \"{version}\"\nwindow = 4096\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/{topic}/+\"\nintent = \"{intent}\"\n"
    )
}

/// The status as a person reads it.
fn table(gateway: &Gateway) -> String {
    let mut status = tidegate();
    let output = status
        .args(["status", "-c"])
        .arg(gateway.path("gateway.toml"))
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

fn wait_until_paused(gateway: &mut Gateway) {
    let why = "lane diagnostic waits for the disk";
    wait_for("the pause in the status", || {
        let status = gateway.status();
        let sources = status["sources"].as_array()?;
        let paused = |name: &str| sources.iter().find(|source| source["name"] == name);
        assert!(paused("alarms")?["paused"].is_null(), "{status}");
        (paused("plant")?["paused"] == why).then_some(())
    });
    wait_for("the pause as people read it", || {
        let table = table(gateway);
        table
            .contains(&format!("plant is paused: {why}"))
            .then_some(())
    });
}

#[test]
fn a_broker_that_plays_from_memory_is_paused_and_that_is_shown_and_what_it_was_told_is_kept_arrives()
 {
    needs_kafka!();
    for version in ["3.1.1", "5"] {
        let (mut kafka, mqtt) = (Kafka::own(), Mosquitto::start(""));
        let player = Player::start(20_000);
        let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
        let small = [("diagnostic", "memory = \"128 KiB\"")];
        let sources = source("plant", version, player.port, "state", "diagnostic")
            + &source("alarms", version, mqtt.port, "alarm", "critical");
        let tiny = "[memory]\nprofile = \"tiny\"\n";
        let config = [&uplink, tiny, &sources, &kafka.topics(&small)].concat();
        let mut gateway = Gateway::new(&config).start();
        gateway.wait_until_connected("plant");
        gateway.wait_until_connected("alarms");
        publish_to(mqtt.port, "plant/{d}/alarm/door", 0..10, 100, 1);
        // However fast a disk is, there is one that is slower than this player.
        let hung = Hung::begin(&gateway);
        player.played.go();
        wait_until_paused(&mut gateway);
        // With the first ten as many as a broker sends that hears of no receipt.
        publish_to(mqtt.port, "plant/{d}/alarm/door", 10..20, 100, 1);
        wait_for("the alarms of another source", || {
            (gateway.lane("critical")["accepted"] == 20).then_some(())
        });
        drop(hung);
        publish_to(mqtt.port, "plant/{d}/alarm/door", 20..50, 100, 1);
        wait_for("the rest of them", || {
            (gateway.lane("critical")["accepted"] == 50).then_some(())
        });
        assert_nothing_is_dropped(&mut gateway);
        gateway.kill_9();
        gateway.launch();
        gateway.wait_until_connected("plant");
        let acknowledged = player.rest();
        assert!(acknowledged > 4096, "{acknowledged}: more than a window");
        assert_nothing_is_dropped(&mut gateway);
        kafka.launch();
        let records = received(&kafka, "diagnostic", 0..acknowledged);
        let account = account(&records, 0..acknowledged);
        assert_eq!((account.lost, account.doubled), (0, 0), "{account:?}");
        assert!(received(&kafka, "critical", 0..50).len() >= 50);
        gateway.wait_until_drained();
        assert_nothing_is_dropped(&mut gateway);
    }
}
