//! `[status]` as written, and as meant.

use std::path::PathBuf;
use std::time::Duration;

use adapters::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[status]`: how the agent shows its state to this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StatusSection {
    /// Serve `/metrics`, `/healthz` and `/status` on `listen`. Default: true.
    pub http: bool,
    /// A loopback address. Default: `"127.0.0.1:9464"`.
    pub listen: String,
    /// Names and addresses, besides those of this machine, under which a request may ask for the port. Default: none.
    pub hosts: Vec<String>,
    /// Interval of heartbeats in the health lane. Default: `"1m"`.
    pub heartbeat: Span,
}

impl Default for StatusSection {
    fn default() -> Self {
        StatusSection {
            http: true,
            listen: "127.0.0.1:9464".into(),
            hosts: Vec::new(),
            heartbeat: Span(Duration::from_mins(1)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusSettings {
    /// Of the port, if there is to be one.
    pub listen: Option<String>,
    /// Names of this machine, in requests to the port.
    pub hosts: Vec<String>,
    pub heartbeat: Duration,
    pub state: PathBuf,
}
