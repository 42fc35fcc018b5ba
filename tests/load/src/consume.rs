//! What arrived in Kafka, and whether it is all there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;

use crate::{Numbered, unix_us};

/// One record as it arrived.
#[derive(Debug, Clone)]
pub struct Record {
    pub topic: String,
    pub key: String,
    pub payload: Vec<u8>,
    /// Its value is null, not only empty.
    pub is_tombstone: bool,
    pub headers: BTreeMap<String, String>,
    /// Microseconds since 1970 when the consumer had it.
    pub received: u64,
    pub timestamp: i64,
}

impl Record {
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Reads topics from their beginning.
pub struct Reader {
    consumer: BaseConsumer,
    topics: Vec<String>,
    assigned: HashSet<(String, i32)>,
}

impl Reader {
    /// `settings` are librdkafka's, besides the brokers.
    ///
    /// # Panics
    /// When librdkafka does not take the settings.
    #[must_use]
    pub fn new(brokers: &str, topics: &[&str], settings: &[(&str, &str)]) -> Reader {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("group.id", "load")
            .set("enable.auto.commit", "false");
        config
            .set("fetch.wait.max.ms", "5")
            .set("fetch.error.backoff.ms", "50");
        config
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "1000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let consumer = config.create().expect("settings are good");
        let mut reader = Reader {
            consumer,
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            assigned: HashSet::new(),
        };
        reader.assign();
        reader
    }

    /// Takes in partitions that have come to exist.
    fn assign(&mut self) {
        let mut fresh = TopicPartitionList::new();
        for topic in &self.topics {
            let Ok(metadata) = self
                .consumer
                .fetch_metadata(Some(topic), Duration::from_secs(2))
            else {
                continue;
            };
            for partition in metadata
                .topics()
                .iter()
                .flat_map(rdkafka::metadata::MetadataTopic::partitions)
            {
                if self.assigned.insert((topic.clone(), partition.id())) {
                    fresh
                        .add_partition_offset(topic, partition.id(), Offset::Beginning)
                        .expect("an offset is valid");
                }
            }
        }
        if fresh.count() > 0 {
            self.consumer
                .incremental_assign(&fresh)
                .expect("partitions can be assigned");
        }
    }

    /// The next record, if one comes within `patience`.
    pub fn next(&mut self, patience: Duration) -> Option<Record> {
        if self.assigned.is_empty() {
            self.assign();
        }
        let message = self.consumer.poll(patience)?.ok()?;
        let headers = message.headers().map(|headers| {
            let text = |value: Option<&[u8]>| {
                String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
            };
            headers
                .iter()
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect()
        });
        Some(Record {
            topic: message.topic().to_owned(),
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            payload: message.payload().unwrap_or_default().to_vec(),
            is_tombstone: message.payload().is_none(),
            headers: headers.unwrap_or_default(),
            received: unix_us(),
            timestamp: message.timestamp().to_millis().unwrap_or(0),
        })
    }

    /// Records until `enough` says so, or nothing more is expected after `patience`.
    pub fn until(
        &mut self,
        patience: Duration,
        mut enough: impl FnMut(&[Record]) -> bool,
    ) -> Vec<Record> {
        let begun = Instant::now();
        let mut records = Vec::new();
        while begun.elapsed() < patience && !enough(&records) {
            records.extend(self.next(Duration::from_millis(100)));
        }
        records
    }
}

/// The account of numbered events.
#[derive(Debug, Default, Serialize, PartialEq)]
pub struct Account {
    pub records: u64,
    pub distinct: u64,
    /// Numbers that never arrived.
    pub lost: u64,
    /// Records that arrived again, with the id of the first.
    pub repeated: u64,
    /// Records that arrived again with another id.
    pub doubled: u64,
    /// First arrivals after a later number of the same key.
    pub out_of_order: u64,
    /// From source to consumer, milliseconds.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Compares what arrived with the numbers that were sent.
#[must_use]
pub fn account(records: &[Record], numbers: std::ops::Range<u64>) -> Account {
    let mut first: HashMap<u64, String> = HashMap::new();
    let mut last_of_key: HashMap<(String, String), u64> = HashMap::new();
    let mut latencies = Vec::new();
    let mut account = Account::default();
    for record in records {
        let Ok(event) = Numbered::parse(&record.payload) else {
            continue;
        };
        if !numbers.contains(&event.n) {
            continue;
        }
        account.records += 1;
        let id = record.header("ce_id");
        match first.get(&event.n) {
            Some(known) if known == id => account.repeated += 1,
            Some(_) => account.doubled += 1,
            None => {
                first.insert(event.n, id.to_owned());
                latencies.push(record.received.saturating_sub(event.t));
                let last = last_of_key
                    .entry((record.topic.clone(), record.key.clone()))
                    .or_insert(event.n);
                account.out_of_order += u64::from(event.n < *last);
                *last = event.n.max(*last);
            }
        }
    }
    account.distinct = first.len() as u64;
    account.lost = (numbers.end - numbers.start) - account.distinct;
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        let us = latencies.get(index).copied().unwrap_or(0);
        Duration::from_micros(us).as_secs_f64() * 1000.0
    };
    (account.p50_ms, account.p99_ms, account.max_ms) = (at(50), at(99), at(100));
    account
}

/// A line for each second: when it began, in seconds since 1970, and how many records arrived in it.
#[must_use]
pub fn rates(records: &[Record]) -> String {
    let seconds = records.iter().map(|record| record.received / 1_000_000);
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    seconds.for_each(|second| *counts.entry(second).or_default() += 1);
    let lines = counts
        .iter()
        .map(|(second, count)| format!("{second} {count}\n"));
    lines.collect()
}
