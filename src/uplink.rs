//! The way out. Only the files beneath name rdkafka; everything else knows these words.

mod accounts;
mod callbacks;
mod connection;
mod credentials;
mod extra;
mod failure;
mod headers;
mod hosts;
mod inquiry;
mod kafka;
mod measure;
mod owned;
mod renewal;
mod section;
mod settings;
mod sockets;
mod topics;
mod tuning;

pub(crate) use extra::{problem, setting_names, used};
pub(crate) use inquiry::Standing;
pub(crate) use kafka::Uplink;
pub(crate) use owned::wait_for_ends;
pub(crate) use section::UplinkSection;
pub(crate) use settings::{Cluster, CompressionKind, Sending, UplinkError};

use buffer::LaneId;

/// A record as it goes out.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub lane: LaneId,
    /// Names the record in its [`Report`].
    pub token: u64,
    pub topic: &'a str,
    pub key: &'a str,
    /// None is Kafka's null: a tombstone in a compacted topic.
    pub payload: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// In order: name and value; one without a value is left out.
    pub headers: &'a [(&'static str, Option<&'a [u8]>)],
    /// More of them, behind those.
    pub more: &'a [(String, String)],
}

impl Message<'_> {
    fn payload_bytes(&self) -> usize {
        self.payload.map_or(0, <[u8]>::len)
    }
}

/// What became of a record that was handed over.
#[derive(Debug)]
pub(crate) struct DeliveryReport {
    pub lane: LaneId,
    pub token: u64,
    pub outcome: Delivery,
    /// What the clock of its broker showed when it was taken, where the topic says that time (`LogAppendTime`), in milliseconds
    /// since 1970.
    pub appended_ms: Option<i64>,
}

/// Named by what is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// All in-sync replicas have it.
    Delivered,
    /// The cluster will never take this record: set it aside.
    Rejected { reason: String },
    /// The cluster will never take this record with its timestamp: send it with another, or set it aside.
    Untimely { topic: String, reason: String },
    /// The cluster does not take this topic: wait for a person, let other topics pass.
    Blocked { topic: String, reason: String },
    /// It did not work this time: send it again.
    Again,
    /// It was taken back before it was sent, or while its answer was awaited: send it again at once.
    Recalled,
}

/// What the connections have to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// At least one broker is connected, or none is.
    Connected(bool),
    /// A broker answered some request.
    Answered,
    /// Why a connection or a login failed.
    Trouble(String),
    /// Nothing of this topic was delivered since then, though a record was under way.
    Stalled {
        topic: String,
        since: std::time::Instant,
    },
    /// What the cluster says of a topic that it was asked about.
    Asked { topic: String, standing: Standing },
    /// A record of a topic that is held was delivered.
    Accepted { topic: String },
    /// A producer was rebuilt: what these lanes had in flight is forgotten, and must be sent again.
    Resend(Vec<LaneId>),
}

/// What went over a connection in a second or so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Whose it is.
    pub lanes: Vec<LaneId>,
    /// Bytes on the wire, both ways.
    pub wire: u64,
    /// Bytes of records that were delivered, as they were handed over.
    pub landed: usize,
}

/// Why a record was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The queue is full: later.
    Full,
    /// The client library knows at once what would become of it.
    Failed(Delivery),
}

/// The version of librdkafka that was linked.
#[must_use]
pub(crate) fn library_version() -> String {
    kafka::version()
}
