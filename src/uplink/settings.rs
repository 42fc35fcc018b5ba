//! From `[uplink]` to librdkafka's settings.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use adapters::SecretError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section::{SaslMechanism, UplinkSection};

use crate::pace::TOGETHER;
use crate::uplink::sockets;

/// `[uplink]`, as meant: one cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cluster {
    pub section: UplinkSection,
    /// Kafka's `client.id`.
    pub client_id: String,
    /// Bytes handed to each connection and not yet delivered.
    pub in_flight: u64,
    /// The file that remembers the cluster's id.
    pub id_file: PathBuf,
}

/// How the records of a lane are batched; lanes that agree in it share a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    pub urgent: bool,
    pub compression: CompressionKind,
    /// Bytes.
    pub batch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CompressionKind {
    None,
    Lz4,
    Zstd,
    Gzip,
    Snappy,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UplinkError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("librdkafka refuses the settings of [uplink]")]
    Settings(#[source] rdkafka::error::KafkaError),
}

/// Messages in librdkafka's queue; bytes are bounded by `uplink.in_flight` before that.
const QUEUE_MESSAGES: &str = "100000";

/// librdkafka's queue holds two of the largest messages.
const QUEUE_KIB_MIN: u64 = 2048;
/// The largest record (`buffer::RECORD_BYTES_MAX`) with its headers. A broker takes batches of 1,048,588 bytes unless it is told
/// otherwise.
const MESSAGE_BYTES: &str = "1040000";

/// Name and value of every setting of a connection; later ones win.
pub(super) fn settings(
    cluster: &Cluster,
    sending: &Sending,
    number: usize,
) -> Result<Vec<(String, String)>, UplinkError> {
    let Cluster {
        section,
        client_id,
        in_flight,
        ..
    } = cluster;
    let (codec, level) = codec(sending.compression);
    // A quota of a client id is to hold up no alarm; and a lane that is not urgent lingers itself.
    let (client_id, linger) = if sending.urgent {
        (format!("{client_id}-urgent"), Duration::ZERO)
    } else {
        (client_id.clone(), TOGETHER)
    };
    let receive = sockets::receive_buffer(number).to_string();
    let linger = linger.as_millis().to_string();
    let queue_kib = (in_flight / 1024 * 2).max(QUEUE_KIB_MIN).to_string();
    let mut pairs: Vec<(String, String)> = [
        ("bootstrap.servers", section.brokers.join(",").as_str()),
        ("client.id", &client_id),
        // The Java client's partitioner, so that keys meet those of other producers.
        ("partitioner", "murmur2_random"),
        ("topic.metadata.propagation.max.ms", "5000"),
        ("reconnect.backoff.ms", "100"),
        (
            "reconnect.backoff.max.ms",
            &longest_wait(number).to_string(),
        ),
        ("socket.connection.setup.timeout.ms", "10000"),
        ("statistics.interval.ms", "1000"),
        ("socket.nagle.disable", "true"),
        ("socket.receive.buffer.bytes", &receive),
        ("log.connection.close", "false"),
        ("message.max.bytes", MESSAGE_BYTES),
        ("compression.codec", codec),
        ("compression.level", level),
        ("linger.ms", &linger),
        ("batch.size", &sending.batch.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    pairs.extend(security(section)?);
    pairs.extend(section.kafka.clone());
    // The guarantees rest on these; `check` has refused any other value.
    let fixed = [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("message.timeout.ms", "0"),
        ("queue.buffering.max.messages", QUEUE_MESSAGES),
        ("queue.buffering.max.kbytes", &queue_kib),
    ];
    pairs.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
    Ok(pairs)
}

/// Milliseconds between attempts to connect, at most. librdkafka draws each wait from three quarters to one and a half of
/// that; the rest of a full jitter over a fleet is that every producer has a ceiling of its own.
fn longest_wait(number: usize) -> u64 {
    1000 + RandomState::new().hash_one(number) % 4000
}

/// librdkafka's name of a codec, and its level. A request is small, and librdkafka makes a context for each: at zstd's usual level
/// that costs more than to compress.
fn codec(kind: CompressionKind) -> (&'static str, &'static str) {
    match kind {
        CompressionKind::None => ("none", "-1"),
        CompressionKind::Lz4 => ("lz4", "-1"),
        CompressionKind::Zstd => ("zstd", "1"),
        CompressionKind::Gzip => ("gzip", "-1"),
        CompressionKind::Snappy => ("snappy", "-1"),
    }
}

fn security(section: &UplinkSection) -> Result<Vec<(String, String)>, UplinkError> {
    let protocol = match (&section.tls, &section.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    let mut pairs = vec![("security.protocol".to_owned(), protocol.to_owned())];
    let mut add = |key: &str, value: String| pairs.push((key.to_owned(), value));
    if let Some(tls) = &section.tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (key, path) in files {
            if let Some(path) = path {
                add(key, path.display().to_string());
            }
        }
        if tls.ca_file.is_none() {
            add("ssl.ca.location", "probe".into());
        }
    }
    if let Some(sasl) = &section.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        add("sasl.mechanism", mechanism.into());
        add("sasl.username", sasl.username.clone());
        add("sasl.password", sasl.password.read()?);
    }
    Ok(pairs)
}
