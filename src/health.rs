//! The gateway's reports on itself, which leave by the health lane like any other event.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapters::{AdapterKind, Clock, Event, Origin, Quality};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::intent::HEALTH;

#[derive(Debug)]
pub(crate) struct Health {
    origins: BTreeMap<&'static str, Arc<Origin>>,
    clock: Clock,
    epoch: u32,
    number: u64,
}

impl Health {
    #[must_use]
    pub(crate) fn new(clock: Clock, epoch: u32) -> Health {
        Health {
            origins: BTreeMap::new(),
            clock,
            epoch,
            number: 0,
        }
    }

    /// A report of `kind`: `start`, `stop`, `link`, `drops`, `damage`, `heartbeat`.
    pub(crate) fn event(&mut self, kind: &'static str, report: &Value) -> Event {
        let origin = self.origins.entry(kind).or_insert_with(|| {
            Arc::new(Origin {
                adapter: AdapterKind::Gateway,
                source: "gateway".into(),
                subject: format!("gateway/{kind}"),
                device: String::new(),
                kind: kind.into(),
                tags: BTreeMap::new(),
                intent: Some(HEALTH.into()),
                content_type: Some("application/json".into()),
                quality: Quality::Good,
            })
        });
        self.number += 1;
        Event {
            origin: Arc::clone(origin),
            stamp: self.clock.stamp(),
            mark: (u64::from(self.epoch) << 32) | self.number,
            payload: Bytes::from(report.to_string()),
        }
    }
}

/// Why the agent stopped last, for its next start.
#[derive(Debug)]
pub(crate) struct LastStop(PathBuf);

impl LastStop {
    #[must_use]
    pub(crate) fn in_state(state: &Path) -> LastStop {
        LastStop(state.join("last-stop"))
    }

    /// Reads the reason and forgets it: without one, the agent did not stop of its own accord.
    #[must_use]
    pub(crate) fn take(&self) -> Value {
        let text = fs::read_to_string(&self.0).ok();
        if text.is_some()
            && let Err(error) = fs::remove_file(&self.0)
        {
            tracing::warn!(%error, path = %self.0.display(), "cannot forget the reason of the last stop");
        }
        text.and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_else(|| json!({ "reason": "killed or without power, or the first start" }))
    }

    pub(crate) fn note(&self, reason: &Value) {
        if let Err(error) = fs::write(&self.0, reason.to_string()) {
            tracing::warn!(%error, path = %self.0.display(), "cannot note the reason of this stop");
        }
    }
}
