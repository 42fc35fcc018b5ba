//! The file as it is written. Every field has its documentation here, from which the JSON schema and
//! `configs/gateway.toml` are made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use adapters::inference::InferenceSection;
use adapters::modbus::ModbusSection;
use adapters::mqtt::{MqttSection, TlsSection};
use adapters::{AdapterKind, SecretRef, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::intent::IntentSection;
use super::link::LinkSection;
use super::memory::MemorySection;

/// The whole configuration file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub gateway: GatewaySection,
    #[serde(default)]
    pub log: LogSection,
    #[serde(default)]
    pub status: StatusSection,
    pub uplink: UplinkSection,
    #[serde(default)]
    pub replay: ReplaySection,
    #[serde(default)]
    pub link: LinkSection,
    #[serde(default)]
    pub buffer: BufferSection,
    #[serde(default)]
    pub memory: MemorySection,
    /// MQTT sources.
    #[serde(default)]
    pub mqtt: Vec<MqttSection>,
    /// Modbus buses.
    #[serde(default)]
    pub modbus: Vec<ModbusSection>,
    /// Inputs for local inference programs.
    #[serde(default)]
    pub inference: Vec<InferenceSection>,
    /// Rules that say which intent an event has; the first match wins.
    #[serde(default)]
    pub route: Vec<RouteSection>,
    /// Intents: changes to the built-in ones, and more.
    #[serde(default)]
    pub intent: Vec<IntentSection>,
}

/// `[gateway]`: who this gateway is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewaySection {
    /// Identity, unique in the fleet. Default: the host name.
    pub id: Option<String>,
    pub site: Option<String>,
    pub region: Option<String>,
    /// Free tags, for templates.
    pub tags: BTreeMap<String, String>,
    /// Where the buffer is. Default: `"/var/lib/tidegate"`.
    pub state_dir: PathBuf,
    /// Free space on that file system which is left to others. Default: `"32 MiB"`.
    pub free_floor: Size,
    /// How long a stop may take to deliver what is left. Default: `"10s"`.
    pub stop_grace: Span,
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// `"auto"`: journald under systemd, else lines for people.
    pub format: LogFormat,
    /// `"error"`, `"warn"`, `"info"`, `"debug"`, `"trace"`, or a filter like `"info,rdkafka=debug"`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
    Journald,
}

/// `[status]`: how the agent shows its state to this machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StatusSection {
    /// Serve `/metrics`, `/healthz` and `/status` on `listen`. Default: true.
    pub http: bool,
    /// A loopback address. Default: `"127.0.0.1:9464"`.
    pub listen: String,
    /// Interval of heartbeats in the health lane. Default: `"1m"`.
    pub heartbeat: Span,
}

/// `[uplink]`: the Kafka cluster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UplinkSection {
    /// `host:port` of brokers to begin with.
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
    /// How long an unknown or forbidden topic is waited for before the link is called blocked.
    /// Its events stay in the buffer meanwhile. Default: `"30s"` between attempts.
    #[serde(default = "default_topic_retry")]
    pub topic_retry: Span,
    /// Any librdkafka setting, unless it would break a guarantee. Example: `"socket.keepalive.enable" = "true"`.
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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

/// `[replay]`: how a backlog is sent after an outage.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplaySection {
    /// The start is delayed by a hash of the gateway's id over this time, so that a fleet does not
    /// return as one. Default: `"30s"`.
    pub spread: Span,
    /// From the start the rate rises over this time. Default: `"30s"`.
    pub ramp: Span,
    /// Events of backlog a second, all lanes together; 0 is no limit. Default: 10000.
    pub events_per_s: u32,
    /// Bytes of backlog a second, all lanes together. Default: `"4 MiB"`.
    pub bytes_per_s: Size,
    /// After an outage each intent sends what it usually takes in, and this share of it more, until it has caught up:
    /// with 0.4, a fleet that returns brings the cluster 1.4 times its usual load, and an outage of an hour is made up
    /// for in two and a half. 0 is no such limit. Default: 0.4.
    pub catch_up: f64,
}

/// `[buffer]`: the disk under all lanes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BufferSection {
    /// Keys for encryption at rest, 64 hexadecimal digits each. The first one writes, all of them read; a key
    /// can go once no generation is left that needs it. Default: none, what is stored is not encrypted.
    pub keys: Vec<SecretRef>,
    /// Bytes that the agent may write to the flash in a day. As they are used up, intents that are not urgent
    /// wait longer for their commits; nothing is dropped for it. Default: no limit.
    pub write_budget: Option<Size>,
    /// Whether `gateway.state_dir` must be on another file system than `/`: while nothing is mounted there,
    /// the agent goes on from memory instead of filling the root. Default: false.
    pub require_mount: bool,
}

/// `[[route]]`: every condition that is given must hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    pub adapter: Option<AdapterKind>,
    /// Name of a source.
    pub source: Option<String>,
    /// A topic filter over the MQTT topic, or over `bus/slave/group` of Modbus.
    pub subject: Option<String>,
    pub kind: Option<String>,
    pub device: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The intent of what matches.
    pub intent: String,
}

#[cfg(feature = "simulate")]
impl File {
    /// Nothing but what has no default.
    pub(crate) fn of_defaults() -> File {
        toml::from_str("[uplink]\nbrokers = [\"localhost:9092\"]\n").expect("it is complete")
    }
}

impl Default for GatewaySection {
    fn default() -> Self {
        GatewaySection {
            id: None,
            site: None,
            region: None,
            tags: BTreeMap::new(),
            state_dir: "/var/lib/tidegate".into(),
            free_floor: Size(32 << 20),
            stop_grace: Span(Duration::from_secs(10)),
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection {
            format: LogFormat::Auto,
            level: "info".into(),
        }
    }
}

impl Default for StatusSection {
    fn default() -> Self {
        StatusSection {
            http: true,
            listen: "127.0.0.1:9464".into(),
            heartbeat: Span(Duration::from_mins(1)),
        }
    }
}

impl Default for ReplaySection {
    fn default() -> Self {
        ReplaySection {
            spread: Span(Duration::from_secs(30)),
            ramp: Span(Duration::from_secs(30)),
            events_per_s: 10_000,
            bytes_per_s: Size(4 << 20),
            catch_up: 0.4,
        }
    }
}

fn default_fallback_topic() -> String {
    "tidegate.unrouted".into()
}

fn default_topic_retry() -> Span {
    Span(Duration::from_secs(30))
}
