//! Each block of docs/RECIPES.md, as it stands there, with messages as the programs send them.

mod device;

mod programs;

mod sparkplug;

use std::collections::BTreeMap;
use std::fs;

use load::consume::{Reader, Record};

use crate::configuration::{UPLINK, check, check_file, warnings};
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, project, wait_for};
use device::Device;

const RECIPES: [&str; 5] = [
    "Sparkplug B",
    "zigbee2mqtt",
    "Tasmota",
    "Shelly",
    "AWS IoT Device Shadows",
];

/// The headings that have a block, each with its block.
fn recipes() -> Vec<(String, String)> {
    let text = fs::read_to_string(project().join("docs/RECIPES.md")).unwrap();
    let mut recipes = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap().to_owned();
        for block in section.split("```toml\n").skip(1) {
            let (block, _) = block.split_once("```").unwrap();
            recipes.push((heading.clone(), block.to_owned()));
        }
    }
    recipes
}

fn recipe(heading: &str) -> String {
    let mut recipes = recipes().into_iter().filter(|(name, _)| name == heading);
    recipes.next().expect("the recipe is in docs/RECIPES.md").1
}

#[test]
fn check_has_nothing_to_say_of_a_recipe_alone_or_of_all_of_them_together() {
    let recipes = recipes();
    let headings = recipes.iter().map(|(heading, _)| heading.as_str());
    assert!(headings.eq(RECIPES), "each block has a test here");
    let all: String = recipes.iter().map(|(_, block)| block.as_str()).collect();
    let each = recipes.iter().map(|(_, block)| block).chain([&all]);
    for block in each {
        let (code, said) = check(&format!("{UPLINK}{block}"));
        assert_eq!(code, Some(0), "{said}");
        assert!(warnings(&said).is_empty(), "{said}");
    }
}

#[test]
fn check_refuses_a_recipe_of_sparkplug_whose_data_is_coalesced() {
    let wrong = recipe("Sparkplug B").replace("\"drop_oldest\"", "\"coalesce_latest\"");
    let (code, said) = check(&format!("{UPLINK}{wrong}"));
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "mqtt[1].subscribe[2].intent: `spBv1.0/+/NDATA/+` takes Sparkplug B DATA, and `sparkplug` has `when_full = \"coalesce_latest\"`",
        "mqtt[1].subscribe[3].intent: `spBv1.0/+/DDATA/+/+` takes",
        "every message is needed",
        "2 to be put right",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
}

/// A message, and what is to become of it.
#[derive(Debug, Clone)]
struct Sent {
    topic: String,
    payload: Vec<u8>,
    intent: &'static str,
    key: &'static str,
    kind: &'static str,
    retained: bool,
}

impl Sent {
    fn new(
        topic: &str,
        payload: impl AsRef<[u8]>,
        intent: &'static str,
        key: &'static str,
        kind: &'static str,
    ) -> Sent {
        Sent {
            topic: topic.into(),
            payload: payload.as_ref().to_vec(),
            intent,
            key,
            kind,
            retained: false,
        }
    }

    /// One that the broker has before the gateway comes.
    fn retained(self) -> Sent {
        Sent {
            retained: true,
            ..self
        }
    }
}

/// A gateway with a recipe, a broker and a cluster.
struct Site {
    gateway: Gateway,
    mqtt: Mosquitto,
    kafka: Kafka,
    /// The intents of the recipe's own.
    own: Vec<String>,
}

impl Site {
    /// `kept` is with the broker before the gateway comes.
    fn open(heading: &str, kept: &[Sent]) -> Site {
        let mqtt = Mosquitto::start("");
        let port = mqtt.port;
        Site::at(&recipe(heading), mqtt, port, kept)
    }

    /// The gateway connects to `port`.
    fn at(block: &str, mqtt: Mosquitto, port: u16, kept: &[Sent]) -> Site {
        let mut device = Device::connect(mqtt.port, "before", None);
        for sent in kept {
            device.publish(&sent.topic, &sent.payload, 1, true);
        }
        let line = |line: &str| match line.strip_prefix("host = ") {
            Some(_) => format!("host = \"localhost\"\nport = {port}\n"),
            None => format!("{line}\n"),
        };
        let block: String = block.lines().map(line).collect();
        let table: toml::Table = block.parse().unwrap();
        let names = |section: &str| -> Vec<String> {
            let sections = table.get(section).and_then(toml::Value::as_array);
            let names = sections.into_iter().flatten();
            names
                .map(|one| one["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let kafka = Kafka::shared();
        let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
        let gateway = Gateway::new(&(uplink + &block + &kafka.topics(&[])));
        let (code, said) = check_file(&gateway.path("gateway.toml"));
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("warning"), "{said}");
        let mut gateway = gateway.start();
        for source in names("mqtt") {
            gateway.wait_until_connected(&source);
        }
        Site {
            gateway,
            mqtt,
            kafka,
            own: names("intent"),
        }
    }

    fn device(&self, name: &str) -> Device {
        Device::connect(self.mqtt.port, name, None)
    }

    fn publish(&self, all: &[Sent]) {
        let mut device = self.device("device");
        for sent in all.iter().filter(|sent| !sent.retained) {
            device.publish(&sent.topic, &sent.payload, 1, false);
        }
    }

    fn kafka_topic(&self, intent: &str) -> String {
        if self.own.iter().any(|own| own == intent) {
            format!("tidegate.{intent}")
        } else {
            self.kafka.topic(intent)
        }
    }

    /// All have arrived, each once and where it is to be; of one key in one topic in the order in which they were sent.
    fn assert_arrived(mut self, all: &[Sent]) {
        let own = self.own.iter().map(String::as_str);
        let intents = ["critical", "state", "feature", "diagnostic"];
        let intents: Vec<&str> = intents.into_iter().chain(own).collect();
        let mut taken = || {
            let accepted = intents.iter().map(|name| {
                let lane = self.gateway.lane(name);
                lane["accepted"].as_u64().unwrap()
            });
            accepted.sum::<u64>()
        };
        wait_for("all messages", || {
            (taken() >= all.len() as u64).then_some(())
        });
        self.gateway.wait_until_drained();
        let topics = intents.iter().map(|intent| self.kafka_topic(intent));
        let topics: Vec<String> = topics.collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut reader = Reader::new(&self.kafka.plain(), &names, &[]);
        let records = reader.until(PATIENCE, |records| records.len() >= all.len());
        assert_eq!(records.len(), all.len(), "each arrived once");
        let mut expected: BTreeMap<_, Vec<&Sent>> = BTreeMap::new();
        for sent in all {
            let place = (self.kafka_topic(sent.intent), sent.key.to_owned());
            expected.entry(place).or_default().push(sent);
        }
        for ((topic, key), sent) in expected {
            let here = |record: &&Record| record.topic == topic && record.key == key;
            let arrived: Vec<&Record> = records.iter().filter(here).collect();
            assert_eq!(arrived.len(), sent.len(), "{topic} {key}: {records:?}");
            for (record, sent) in arrived.into_iter().zip(sent) {
                assert_is(record, sent);
            }
        }
        let mut delivered = 0;
        for name in intents {
            delivered += self.gateway.lane(name)["delivered"].as_u64().unwrap();
        }
        assert_eq!(delivered, all.len() as u64, "each came once");
        self.gateway.assert_account_closes();
    }
}

fn assert_is(record: &Record, sent: &Sent) {
    assert_eq!(record.header("ce_subject"), sent.topic);
    assert_eq!(record.payload, sent.payload, "{}", sent.topic);
    assert_eq!(record.header("tg-lane"), sent.intent, "{}", sent.topic);
    let kind = format!("tidegate.mqtt.{}", sent.kind);
    assert_eq!(record.header("ce_type"), kind, "{}", sent.topic);
    let is_retained = record.header("tg-retained") == "true";
    assert_eq!(is_retained, sent.retained, "{}", sent.topic);
}
