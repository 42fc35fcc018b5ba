//! Where a record goes: topic, key and the headers that do not change, by lane and origin.

use std::collections::HashMap;
use std::sync::Arc;

use adapters::Origin;
use buffer::LaneId;

use super::template::{Identity, Template, topic_name};

/// Addresses that are remembered; beyond it all are forgotten and made anew.
const REMEMBERED_MAX: usize = 8192;

/// What a lane's records are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneAddress {
    pub name: String,
    pub topic: Template,
    pub key: Template,
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

/// The topic is looked up when sending, not when storing: a corrected topic applies to the backlog.
#[derive(Debug)]
pub(crate) struct Addresses {
    lanes: Vec<LaneAddress>,
    identity: Identity,
    fallback_topic: String,
    by_pointer: HashMap<(LaneId, usize), (Arc<Origin>, Arc<Address>)>,
    by_origin: HashMap<(LaneId, Arc<Origin>), Arc<Address>>,
    /// Addresses made with the fallback topic.
    pub fallbacks: u64,
}

impl Addresses {
    #[must_use]
    pub(crate) fn new(
        lanes: Vec<LaneAddress>,
        identity: Identity,
        fallback_topic: String,
    ) -> Addresses {
        let (by_pointer, by_origin) = (HashMap::new(), HashMap::new());
        Addresses {
            lanes,
            identity,
            fallback_topic,
            by_pointer,
            by_origin,
            fallbacks: 0,
        }
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
        if self.by_pointer.len() >= REMEMBERED_MAX {
            self.by_pointer.clear();
            self.by_origin.clear();
        }
        let known = self.by_origin.get(&(lane, Arc::clone(origin))).cloned();
        let address = known.unwrap_or_else(|| {
            let address = Arc::new(self.make(lane, origin));
            self.by_origin
                .insert((lane, Arc::clone(origin)), Arc::clone(&address));
            address
        });
        // Records read from disk bring an origin of their own, which is not seen again.
        if Arc::strong_count(origin) > 1 {
            self.by_pointer
                .insert(pointer, (Arc::clone(origin), Arc::clone(&address)));
        }
        address
    }

    fn make(&mut self, lane: LaneId, origin: &Origin) -> Address {
        let intent = self
            .lanes
            .get(lane.index())
            .expect("every lane has an address");
        let topic = intent.topic.render(origin, &intent.name, &self.identity);
        if topic.is_none() {
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
            topic: topic_name(&topic.unwrap_or_else(|| self.fallback_topic.clone())),
            // Without its fields the subject still keeps its own order.
            key: key.unwrap_or_else(|| origin.subject.clone()),
            source: format!("/{}/{}", self.identity.id, origin.source),
            kind: format!("tidegate.{}{}", origin.adapter.name(), dotted(&origin.kind)),
        }
    }
}
