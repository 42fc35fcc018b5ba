//! `[memory]`: how much of it the agent may take.

use adapters::mqtt::{MqttSection, Version};
use buffer::RECORD_BYTES_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pace::number;

/// `uplink.in_flight`, if nothing else is said.
pub(super) const IN_FLIGHT: u64 = 1 << 20;

/// Bytes of an MQTT source's messages that may wait for their receipts: what an intent holds in memory and beyond.
pub(super) const UNACKED: u64 = 4 << 20;

/// Bytes of what is learnt of events and can be learnt again: origins, by what sources know them; lanes and addresses, by origin.
/// Those of some thousand topics with usual names.
const ORIGINS: u64 = 4 << 20;
pub(super) const ROUTES: u64 = 2 << 20;
pub(super) const ADDRESSES: u64 = 4 << 20;
/// The least of a source's origins: some dozen topics, so that one that is busy is known.
const ORIGINS_MIN: u64 = 64 << 10;

/// Topics of the cluster that events may name: a template may have a device's name in it, which is whatever somebody publishes.
/// librdkafka was measured to take 41 KiB for one of four partitions.
pub(super) const TOPICS_MAX: u64 = 1024;

/// `[memory]`
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MemorySection {
    /// How much memory the agent may take. Default: `"normal"`.
    pub profile: Profile,
}

/// `memory.profile`: the largest event, the defaults of `uplink.in_flight`, of the intents' `memory` and of an MQTT 5 source's
/// `window`, and what a lane holds beyond that while its disk writes. docs/MEMORY.md has what was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// A quarter.
    Tiny,
    /// Half.
    Small,
    #[default]
    Normal,
}

impl Profile {
    /// What it leaves of so many bytes.
    pub(crate) fn of(self, bytes: u64) -> u64 {
        match self {
            Profile::Tiny => bytes / 4,
            Profile::Small => bytes / 2,
            Profile::Normal => bytes,
        }
    }

    /// Bytes of origins that each of so many sources remembers.
    pub(super) fn origins(self, sources: usize) -> usize {
        let each = self.of(ORIGINS) / (sources as u64).max(1);
        number::in_memory(each.max(ORIGINS_MIN))
    }

    /// Bytes of the largest event, encoded. What a lane holds beyond its memory has room for two, `uplink.in_flight` for one.
    pub(crate) fn record(self) -> u64 {
        match self {
            Profile::Tiny => 256 * 1024,
            Profile::Small => 512 * 1024,
            Profile::Normal => RECORD_BYTES_MAX as u64,
        }
    }

    /// The section with its window; with 3.1.1 it is the broker's.
    pub(crate) fn window(self, section: &MqttSection) -> MqttSection {
        let version = section.version;
        let most = match version {
            Version::V311 => version.window(),
            Version::V5 => u16::try_from(self.of(version.window().into())).unwrap_or(u16::MAX),
        };
        MqttSection {
            window: section.window.or(Some(most)),
            ..section.clone()
        }
    }
}
