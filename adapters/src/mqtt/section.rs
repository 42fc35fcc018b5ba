//! `[[mqtt]]` as written, and as meant.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MqttError;
use super::certificate::Pin;
use super::headers;
use crate::tls::TlsSection;
use crate::topic::Pattern;
use crate::{Context, SecretRef, Span};

/// An MQTT broker to collect from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttSection {
    /// Name of the source, in logs, metrics and events.
    pub name: String,
    /// Host name or address of the broker. Default: `"localhost"`.
    #[serde(default = "default_host")]
    pub host: String,
    /// Default: 1883, or 8883 with `tls`.
    pub port: Option<u16>,
    /// MQTT version: `"5"` or `"3.1.1"`. Default: `"5"`.
    #[serde(default)]
    pub version: Version,
    /// Client id; the broker keeps the session under it. Default: gateway id and source name.
    pub client_id: Option<String>,
    pub username: Option<String>,
    pub password: Option<SecretRef>,
    /// Use TLS.
    pub tls: Option<MqttTlsSection>,
    /// Time between pings on a silent connection. Default: `"30s"`.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Span,
    /// How long the broker is asked to keep the session while the gateway is away (version 5).
    /// Default: `"7d"`.
    #[serde(default = "default_session_expiry")]
    pub session_expiry: Span,
    /// Messages the broker may have in flight. Version 5 asks the broker for it (default 1000, less by `memory.profile`); with
    /// 3.1.1 say what the broker is set to (mosquitto's `max_inflight_messages`; default 20): when so
    /// many wait for an acknowledgement, the buffer is asked for an early commit.
    pub window: Option<u16>,
    /// User properties of messages that become headers of their records, by name, and `content-type` for the content type of the
    /// message (version 5). Of several with one name the last counts; a text of over 1024 bytes is left out and counted. Default:
    /// none. Example: `["trace-id", "content-type"]`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What to subscribe to; the first that matches a topic says what it is.
    pub subscribe: Vec<SubscribeSection>,
}

/// TLS to a broker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttTlsSection {
    /// PEM file of the authorities to trust. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the gateway's own certificate and key, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name that the broker's certificate is to have, where it is not for `host`.
    pub server_name: Option<String>,
    /// SHA-256 fingerprint of the broker's certificate, as `openssl x509 -noout -fingerprint -sha256` prints it: this one is
    /// trusted and no other, also where it is self-signed, for another name, or has expired.
    pub pin: Option<String>,
}

impl MqttTlsSection {
    /// What it takes of files.
    pub(super) fn files(&self) -> TlsSection {
        TlsSection {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.cert_file.is_some() != self.key_file.is_some() {
            problems.push((
                "tls".into(),
                "mutual TLS needs both `cert_file` and `key_file`".into(),
            ));
        }
        if let Some(name) = &self.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            problems.push((
                "tls.server_name".into(),
                format!("`{name}` is no host name or address; use one that is in the broker's certificate"),
            ));
        }
        if let Some(pin) = &self.pin {
            if Pin::parse(pin).is_none() {
                problems.push((
                    "tls.pin".into(),
                    format!("`{pin}` is no SHA-256 fingerprint; use the 64 hexadecimal digits that `openssl x509 -noout -fingerprint -sha256` prints"),
                ));
            }
            if self.ca_file.is_some() {
                problems.push((
                    "tls.ca_file".into(),
                    "has no use beside `pin`, which trusts one certificate; leave one of them out"
                        .into(),
                ));
            }
        }
        problems
    }
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeSection {
    /// Topic filter. A level written `{name}` matches any and is taken as that field: `{device}` and
    /// `{kind}` are the event's, any other name becomes a tag. Example: `"plant/{line}/{device}/alarm/+"`.
    pub topic: String,
    /// 0, 1 or 2. Default: 1.
    #[serde(default = "default_qos")]
    pub qos: u8,
    /// The intent of these events, if no route says otherwise.
    pub intent: Option<String>,
    /// Device, where the topic does not name it.
    pub device: Option<String>,
    /// Kind, where the topic does not name it.
    pub kind: Option<String>,
    /// More tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Media type of the payloads, e.g. `"application/json"`.
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Version {
    #[serde(rename = "3.1.1")]
    V311,
    #[default]
    #[serde(rename = "5")]
    V5,
}

impl Version {
    /// Messages under way, if nothing else is said.
    #[must_use]
    pub fn window(self) -> u16 {
        match self {
            Version::V311 => 20,
            Version::V5 => 1000,
        }
    }
}

fn default_host() -> String {
    "localhost".into()
}

fn default_keep_alive() -> Span {
    Span(Duration::from_secs(30))
}

fn default_session_expiry() -> Span {
    Span(Duration::from_hours(168))
}

fn default_qos() -> u8 {
    1
}

impl MqttSection {
    /// What is wrong with it: the key below the section, and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.subscribe.is_empty() {
            problems.push((
                "subscribe".into(),
                "at least one [[mqtt.subscribe]] is needed".into(),
            ));
        }
        for (index, subscription) in self.subscribe.iter().enumerate() {
            if let Err(error) = Pattern::parse(&subscription.topic) {
                problems.push((format!("subscribe[{index}].topic"), error.to_string()));
            }
            if subscription.qos > 2 {
                let qos = subscription.qos;
                problems.push((
                    format!("subscribe[{index}].qos"),
                    format!("`{qos}` is not a QoS; use 0, 1 or 2"),
                ));
            }
        }
        let seconds = self.keep_alive.0.as_secs();
        if !(5..=65_535).contains(&seconds) {
            let value = self.keep_alive;
            problems.push((
                "keep_alive".into(),
                format!("`{value}` is out of range; use \"5s\" to \"18h\""),
            ));
        }
        if self.window == Some(0) {
            problems.push((
                "window".into(),
                "`0` lets nothing in; use 1 to 65535".into(),
            ));
        }
        if !self.headers.is_empty() && self.version == Version::V311 {
            problems.push((
                "headers".into(),
                "MQTT 3.1.1 has no user properties and no content type; use `version = \"5\"`, or leave `headers` out".into(),
            ));
        }
        problems.extend(headers::problems(&self.headers));
        problems.extend(self.tls.iter().flat_map(MqttTlsSection::problems));
        if self.password.is_some() && self.username.is_none() {
            problems.push((
                "username".into(),
                "missing; a password needs a user name".into(),
            ));
        }
        problems
    }
}

/// A section that was checked.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// The name that the broker's certificate is to have.
    pub(super) server_name: String,
    pub(super) version: Version,
    pub(super) client_id: String,
    pub(super) keep_alive: Duration,
    pub(super) session_expiry: u32,
    pub(super) window: u16,
    /// Bytes of messages that may wait for their receipts; one message always may.
    pub(super) unacked_bytes: usize,
    /// An alarm may be among them.
    pub(super) may_be_urgent: bool,
    /// Filter and QoS of each subscription.
    pub(super) filters: Vec<(String, u8)>,
}

impl Settings {
    pub(super) fn new(section: &MqttSection, context: &Context<'_>) -> Result<Settings, MqttError> {
        let mut filters = Vec::new();
        for subscription in &section.subscribe {
            filters.push((
                Pattern::parse(&subscription.topic)?.filter(),
                subscription.qos,
            ));
        }
        let tls = section.tls.as_ref();
        let server_name = tls.and_then(|tls| tls.server_name.as_ref());
        Ok(Settings {
            name: section.name.clone(),
            host: section.host.clone(),
            server_name: server_name.unwrap_or(&section.host).clone(),
            port: section
                .port
                .unwrap_or(if section.tls.is_some() { 8883 } else { 1883 }),
            version: section.version,
            client_id: section
                .client_id
                .clone()
                .unwrap_or_else(|| format!("tidegate-{}-{}", context.gateway, section.name)),
            keep_alive: section.keep_alive.0,
            session_expiry: u32::try_from(section.session_expiry.0.as_secs()).unwrap_or(u32::MAX),
            window: section.window.unwrap_or(section.version.window()),
            unacked_bytes: context.unacked_bytes,
            may_be_urgent: context.may_be_urgent,
            filters,
        })
    }

    /// In seconds; the section was checked to be below 18 hours.
    pub(super) fn keep_alive_s(&self) -> u16 {
        u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_and_a_name_are_checked_and_a_pin_stands_alone() {
        let fingerprint = "ab:".repeat(31) + "cd";
        let tls = |pin: Option<&str>, name: Option<&str>, ca: Option<&str>| MqttTlsSection {
            pin: pin.map(Into::into),
            server_name: name.map(Into::into),
            ca_file: ca.map(Into::into),
            ..MqttTlsSection::default()
        };
        for (section, keys) in [
            (tls(Some(&fingerprint), Some("broker"), None), &[][..]),
            (tls(None, Some("192.0.2.1"), Some("ca.pem")), &[]),
            (tls(None, Some("not a name"), None), &["tls.server_name"]),
            (tls(Some("abc"), None, None), &["tls.pin"]),
            (
                tls(Some(&fingerprint), None, Some("ca.pem")),
                &["tls.ca_file"],
            ),
        ] {
            let problems = section.problems();
            assert!(problems.iter().map(|(key, _)| key).eq(keys), "{problems:?}");
        }
    }
}
