//! The gateway's notices on itself, which leave by the health lane like any other event.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapters::{AdapterKind, Clock, Event, Origin, Quality};
use bytes::Bytes;
use serde_json::Value;

use crate::config::HEALTH;

#[derive(Debug)]
pub(super) struct Health {
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

    /// Milliseconds since 1970; 0 where the clock is known to be wrong.
    pub(super) fn wall_ms(&self) -> u64 {
        let us = self.clock.now_us().unwrap_or(0);
        u64::try_from(us / 1000).unwrap_or(0)
    }

    /// A notice of `kind`: `start`, `stop`, `link`, `drops`, `damage`, `heartbeat`, `part`, `clock`.
    pub(crate) fn event(&mut self, kind: &'static str, notice: &Value) -> Event {
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
            payload: Bytes::from(notice.to_string()),
            properties: None,
        }
    }
}
