//! `[uplink]` as written.

use std::collections::BTreeMap;
use std::time::Duration;

use adapters::{SecretRef, Size, Span, TlsSection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[uplink]`: the Kafka cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UplinkSection {
    /// `host:port` of brokers to begin with. Example: `["kafka-1:9092"]`.
    pub brokers: Vec<String>,
    /// Kafka `client.id`, which quotas go by. Default: `"tidegate-"` and the gateway's id.
    pub client_id: Option<String>,
    pub tls: Option<TlsSection>,
    pub sasl: Option<SaslSection>,
    /// Bytes handed to each of the two connections and not yet delivered. Default: `"1 MiB"`, or what `memory.profile`
    /// leaves of it.
    pub in_flight: Option<Size>,
    /// Marks of the packets (DSCP, RFC 2474), for a router on site that keeps queues by them.
    #[serde(default)]
    pub dscp: Dscp,
    /// Where an event goes whose topic template names a field that it does not have.
    /// Default: `"tidegate.unrouted"`.
    #[serde(default = "default_fallback_topic")]
    pub fallback_topic: String,
    /// Time between attempts at a topic that the cluster refuses. Its events wait in the buffer, those of other topics
    /// go on. Default: `"30s"`.
    #[serde(default = "default_topic_retry")]
    pub topic_retry: Span,
    /// Settings of librdkafka that can break no guarantee; `check` names them, and the range of each. Example: `"socket.keepalive.enable" = "true"`.
    #[serde(default)]
    pub kafka: BTreeMap<String, String>,
}

/// `uplink.dscp`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dscp {
    /// 0 to 63, of the connection of urgent intents. Default: 18, low-latency data (AF21, RFC 4594).
    pub urgent: u8,
    /// 0 to 63, of the others. Default: 0.
    pub other: u8,
}

impl Default for Dscp {
    fn default() -> Dscp {
        Dscp {
            urgent: 18,
            other: 0,
        }
    }
}

/// `[uplink.sasl]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaslSection {
    pub mechanism: SaslMechanism,
    pub username: String,
    pub password: SecretRef,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

fn default_fallback_topic() -> String {
    "tidegate.unrouted".into()
}

fn default_topic_retry() -> Span {
    Span(Duration::from_secs(30))
}
