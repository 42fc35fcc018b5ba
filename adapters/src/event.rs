//! What a source said, and where it came from.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One observation. Its payload is opaque from here to the cluster.
#[derive(Debug, Clone)]
pub struct Event {
    pub origin: Arc<Origin>,
    pub stamp: Stamp,
    /// Tells events of one source apart that are otherwise equal, and is the same when the source
    /// offers an event again: the event's id is made from it.
    pub mark: u64,
    pub payload: Bytes,
    /// None where the message says nothing of itself, as most do.
    pub properties: Option<Arc<Properties>>,
}

impl Event {
    /// What it holds of memory at most, roughly: its origin may be shared.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.properties.as_deref();
        self.payload.len() + self.origin.bytes() + properties.map_or(0, Properties::bytes)
    }
}

/// What one message says of itself beside its payload. Unlike the tags of an [`Origin`], it is no part of where an event goes, nor of
/// its id.
// Persisted in packed CBOR, by the place of each field: add fields at the end, never reorder or remove.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Properties {
    /// Headers of the record: name and text.
    pub headers: Vec<(String, String)>,
    /// Media type of the payload; it counts for more than the one of the origin.
    pub content_type: Option<String>,
    /// Seconds after its stamp for which it is of use (MQTT 5 section 3.3.2.3.3).
    pub expiry_s: Option<u32>,
}

impl Properties {
    /// Bytes that they hold, roughly.
    fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, text)| name.len() + text.len());
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        headers.sum::<usize>() + content_type + self.surplus()
    }

    /// Bytes that they hold beyond their texts.
    #[must_use]
    pub fn surplus(&self) -> usize {
        size_of::<Properties>() + self.headers.len() * TAG_BYTES
    }
}

/// The part of an event that is the same for all events of one subject.
// Persisted in packed CBOR, by the place of each field: add fields at the end, never reorder or remove.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    pub adapter: AdapterKind,
    /// Name of the source in the configuration.
    pub source: String,
    /// MQTT topic, Modbus `bus/slave/group`, or what an inference client named.
    pub subject: String,
    pub device: String,
    pub kind: String,
    pub tags: BTreeMap<String, String>,
    /// The intent that the source asks for; routes may say otherwise.
    pub intent: Option<String>,
    /// Media type of the payload, where it is known.
    pub content_type: Option<String>,
    pub quality: Quality,
}

/// What a tag takes in memory besides its texts, and how many of them are no more than an entry of a lane is counted with anyway.
const TAG_BYTES: usize = 112;
const FEW_TAGS: usize = 8;

impl Origin {
    /// Bytes that it holds, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tags = self.tags.iter();
        let tags = tags.map(|(name, text)| name.len() + text.len());
        let intent = self.intent.as_ref().map_or(0, String::len);
        self.subject.len()
            + self.device.len()
            + self.kind.len()
            + intent
            + tags.sum::<usize>()
            + self.surplus()
    }

    /// Bytes that it holds beyond its texts: many short tags take more room in memory than they are long.
    #[must_use]
    pub fn surplus(&self) -> usize {
        self.tags.len().saturating_sub(FEW_TAGS) * TAG_BYTES
    }

    /// Of no source at all: what a template makes of it does not depend on an event.
    #[must_use]
    pub fn nowhere() -> Origin {
        Origin {
            adapter: AdapterKind::Gateway,
            source: String::new(),
            subject: String::new(),
            device: String::new(),
            kind: String::new(),
            tags: BTreeMap::new(),
            intent: None,
            content_type: None,
            quality: Quality::Good,
        }
    }
}

// Persisted in packed CBOR, by the number of each variant: add variants at the end, never reorder or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    Mqtt,
    Modbus,
    Inference,
    /// Tidegate's own reports.
    Gateway,
}

impl AdapterKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AdapterKind::Mqtt => "mqtt",
            AdapterKind::Modbus => "modbus",
            AdapterKind::Inference => "inference",
            AdapterKind::Gateway => "gateway",
        }
    }
}

// Persisted in packed CBOR, by the number of each variant: add variants at the end, never reorder or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    Good,
    /// The source could not be read; the payload says why.
    Bad,
}

/// When an event was seen.
// Persisted in packed CBOR, by the place of each field: add fields at the end, never reorder or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// What the time was believed to be, microseconds since 1970.
    pub unix_us: i64,
    /// Set when no witness vouched for that: microseconds since boot, so that the time can be corrected by what is known later
    /// of the same boot.
    pub unsynced_boot_us: Option<u64>,
    /// The number of that boot; none where the time is not to be corrected, as a client's own, or an earlier version's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<NonZeroU32>,
    /// Set with `unsynced_boot_us`: whether the time was known to be wrong. Earlier versions did not say, and meant yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_wrong: Option<bool>,
}

impl Stamp {
    /// A time that a client gives of itself: no correction is known, and it is as trustworthy as this machine's clock.
    #[must_use]
    pub(crate) fn given(self, unix_us: i64) -> Stamp {
        Stamp {
            unix_us,
            boot: None,
            ..self
        }
    }

    /// The stamp of a moment that was `earlier_us` before this one.
    #[must_use]
    pub(crate) fn earlier(self, earlier_us: u64) -> Stamp {
        let us = i64::try_from(earlier_us).unwrap_or(i64::MAX);
        let since_boot = self.unsynced_boot_us;
        Stamp {
            unix_us: self.unix_us.saturating_sub(us),
            unsynced_boot_us: since_boot.map(|boot| boot.saturating_sub(earlier_us)),
            ..self
        }
    }
}
