//! Where a record goes: topic, key and the headers that do not change, by lane and origin.

use std::collections::HashSet;
use std::sync::Arc;

use adapters::{Memo, Origin};
use buffer::LaneId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::DrainSettings;
use super::template::{Identity, Template, topic_name};

/// What a lane's records are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneAddress {
    pub name: String,
    pub topic: Template,
    pub key: Template,
    /// An empty payload leaves as Kafka's null, which deletes its key from a compacted topic.
    pub tombstones: bool,
    pub expired: Expired,
    /// For how long an event waits for others to leave with, in whole seconds: that is no reason for it to expire.
    pub lingers_s: u64,
}

/// What becomes of an event that waited here longer than it says that it is of use (MQTT 5 section 3.3.2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expired {
    /// It is dropped and counted.
    Drop,
    /// It is sent with the header `tg-expired: true`.
    Mark,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub topic: String,
    pub key: String,
    /// `ce_source`: `/gateway/source`.
    pub source: String,
    /// `ce_type`: `tidegate.adapter.kind`.
    pub kind: String,
}

impl Address {
    /// Bytes that it holds, roughly.
    fn bytes(&self) -> usize {
        let texts = [&self.topic, &self.key, &self.source, &self.kind];
        size_of::<Address>() + texts.map(String::len).iter().sum::<usize>()
    }
}

/// The topic is looked up when sending, not when storing: a corrected topic applies to the backlog.
#[derive(Debug)]
pub(crate) struct Addresses {
    lanes: Vec<LaneAddress>,
    identity: Identity,
    fallback_topic: String,
    by_pointer: Memo<(LaneId, usize), (Arc<Origin>, Arc<Address>)>,
    by_origin: Memo<(LaneId, Arc<Origin>), Arc<Address>>,
    /// Hashes of the topics that were named so far. A client of Kafka keeps what it knows of a topic, so that there must not be
    /// as many as whoever publishes has names.
    topics: HashSet<u64>,
    topics_max: usize,
    /// Addresses made with the fallback topic.
    pub fallbacks: u64,
}

impl Addresses {
    #[must_use]
    pub(crate) fn new(
        lanes: Vec<LaneAddress>,
        identity: Identity,
        settings: &DrainSettings,
    ) -> Addresses {
        let half = settings.address_bytes / 2;
        let mut addresses = Addresses {
            lanes,
            identity,
            fallback_topic: settings.fallback_topic.clone(),
            by_pointer: Memo::new(half),
            by_origin: Memo::new(half),
            topics: HashSet::new(),
            topics_max: settings.topics_max,
            fallbacks: 0,
        };
        // What is configured has its place whatever events name.
        for topic in addresses.constant().into_iter().flatten() {
            addresses.topics.insert(xxh3_64(topic.as_bytes()));
        }
        addresses
    }

    pub(crate) fn lanes(&self) -> &[LaneAddress] {
        &self.lanes
    }

    /// The topic of each lane whose records all go to one.
    pub(crate) fn constant(&self) -> Vec<Option<String>> {
        let lanes = self.lanes.iter();
        let topics = lanes.map(|lane| lane.topic.constant(&lane.name, &self.identity));
        topics
            .map(|topic| topic.map(|name| topic_name(&name)))
            .collect()
    }

    pub(crate) fn of(&mut self, lane: LaneId, origin: &Arc<Origin>) -> Arc<Address> {
        let pointer = (lane, Arc::as_ptr(origin).addr());
        if let Some((_, address)) = self.by_pointer.get(&pointer) {
            return Arc::clone(address);
        }
        let key = (lane, Arc::clone(origin));
        let known = self.by_origin.get(&key).cloned();
        let address = known.unwrap_or_else(|| {
            let address = Arc::new(self.make(lane, origin));
            let bytes = origin.bytes() + size_of::<Origin>() + address.bytes();
            self.by_origin.insert(key, Arc::clone(&address), bytes);
            address
        });
        // Records read from disk bring an origin of their own, which is not seen again.
        if Arc::strong_count(origin) > 1 {
            let bytes = origin.bytes() + size_of::<Origin>() + address.bytes();
            let entry = (Arc::clone(origin), Arc::clone(&address));
            self.by_pointer.insert(pointer, entry, bytes);
        }
        address
    }

    fn make(&mut self, lane: LaneId, origin: &Origin) -> Address {
        let intent = self
            .lanes
            .get(lane.index())
            .expect("every lane has an address");
        let topic = intent.topic.render(origin, &intent.name, &self.identity);
        let topic = topic.map(|text| topic_name(&text));
        let hash = topic.as_deref().map(|topic| xxh3_64(topic.as_bytes()));
        let is_one_too_many = self.topics.len() >= self.topics_max
            && hash.is_some_and(|hash| !self.topics.contains(&hash));
        if is_one_too_many {
            self.fallbacks += 1;
            tracing::warn!(intent = %intent.name, source = %origin.source, subject = %origin.subject, topic = %self.fallback_topic, topics_max = self.topics_max,
                "an event names one topic more than this memory.profile keeps; it goes to the fallback topic; use a topic template that names fewer topics, or find out who publishes under so many names");
        } else if let Some(hash) = hash {
            self.topics.insert(hash);
        } else {
            self.fallbacks += 1;
            tracing::warn!(intent = %intent.name, source = %origin.source, subject = %origin.subject, topic = %self.fallback_topic,
                "an event lacks a field that its topic template names; it goes to the fallback topic");
        }
        let key = intent.key.render(origin, &intent.name, &self.identity);
        let dotted = |part: &str| {
            if part.is_empty() {
                String::new()
            } else {
                format!(".{part}")
            }
        };
        Address {
            topic: topic
                .filter(|_| !is_one_too_many)
                .unwrap_or_else(|| topic_name(&self.fallback_topic)),
            // Without its fields the subject still keeps its own order.
            key: key.unwrap_or_else(|| origin.subject.clone()),
            source: format!("/{}/{}", self.identity.id, origin.source),
            kind: format!("tidegate.{}{}", origin.adapter.name(), dotted(&origin.kind)),
        }
    }
}
