//! `[[intent]]`.

use adapters::{Size, Span};
use buffer::{Order, WhenFull};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drain::Expired;
use crate::uplink::CompressionKind;

/// `[[intent]]`: what events are for and how they leave. For a built-in intent, what is not given
/// keeps its default (see the table in README).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IntentSection {
    /// `critical`, `state`, `feature`, `diagnostic`, `health`, or a name of your own.
    pub name: String,
    /// Kafka topic. A template: `"{site}.alerts"`.
    pub topic: Option<String>,
    /// Record key. A template: `"{device}"`.
    pub key: Option<String>,
    /// An event with an empty payload is sent with the value null, Kafka's tombstone: a compacted topic forgets its key. Default:
    /// with an empty value.
    pub tombstones: Option<bool>,
    /// What becomes of an event that waited here longer than its publisher says that it is of use (MQTT 5's message expiry
    /// interval): `"drop"`, and it is counted, or `"mark"`, and it is sent with the header `tg-expired: true`. Default: `"drop"`;
    /// an urgent intent drops none.
    pub expired: Option<Expired>,
    pub order: Option<OrderKind>,
    /// How long an event may wait in memory for its delivery before it is written to disk; "0s"
    /// writes each while it is being sent.
    pub persist_after: Option<Span>,
    /// During an outage, the interval of writes.
    pub commit_every: Option<Span>,
    /// Bytes on disk.
    pub budget: Option<Size>,
    /// Bytes in memory.
    pub memory: Option<Size>,
    pub when_full: Option<FullPolicy>,
    /// `"latest"`: of what has to wait on disk, only the latest event of each source, device, kind and subject.
    pub coalesce: Option<CoalesceKind>,
    /// An intent that gets a copy of every event of this one during an outage, so that what is coalesced here
    /// arrives there, later.
    pub history: Option<String>,
    /// What is older is dropped and counted, a generation at a time. Time without power does not count.
    pub max_age: Option<Span>,
    /// What was delivered stays on disk for a replay on demand, for so long and so much, within the budget.
    pub keep: Option<KeepSection>,
    /// Sent before all others, on a connection of its own.
    pub urgent: Option<bool>,
    /// Share of the rate among intents that are not urgent.
    pub weight: Option<u32>,
    pub compression: Option<CompressionKind>,
    /// How long an event may wait for others to leave with; not while a source waits for its receipts.
    pub linger: Option<Span>,
    /// Bytes in one request to a partition.
    pub batch: Option<Size>,
    /// Replay rate of this intent alone, in events a second; 0 is no limit.
    pub events_per_s: Option<u32>,
    /// Replay rate of this intent alone, in bytes a second.
    pub bytes_per_s: Option<Size>,
    /// What its sources are expected to give, for `tidegate plan` and `survive_outage`.
    pub expected: Option<ExpectedSection>,
    /// How long an outage may be of which nothing is to be given up: `check` fails where `budget` cannot hold what is
    /// `expected` in that time.
    pub survive_outage: Option<Span>,
}

/// `expected = { events_per_s = 10.0, bytes = "200" }`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedSection {
    pub events_per_s: f64,
    /// Of a payload.
    pub bytes: Size,
    /// Bytes on disk of an event, compressed, as `tidegate plan` measured them. Default: nothing is compressed away.
    pub stored: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderKind {
    InOrder,
    LiveFirst,
}

impl From<OrderKind> for Order {
    fn from(kind: OrderKind) -> Order {
        match kind {
            OrderKind::LiveFirst => Order::LiveFirst,
            OrderKind::InOrder => Order::InOrder,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FullPolicy {
    Refuse,
    DropOldest,
    DropNewest,
    CoalesceLatest,
}

impl From<FullPolicy> for WhenFull {
    fn from(policy: FullPolicy) -> WhenFull {
        match policy {
            FullPolicy::Refuse => WhenFull::Refuse,
            FullPolicy::DropNewest => WhenFull::DropNewest,
            FullPolicy::CoalesceLatest => WhenFull::CoalesceLatest,
            FullPolicy::DropOldest => WhenFull::DropOldest,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CoalesceKind {
    Never,
    Latest,
}

/// `keep = { age = "24h", size = "1 GiB" }`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeepSection {
    pub age: Span,
    pub size: Size,
}
