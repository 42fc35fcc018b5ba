//! The configuration as meant: everything was validated before, nothing is defaulted or parsed after it. Each part of the agent
//! is built from its own settings, which can be compared with those of another configuration.

use std::time::Duration;

use adapters::SourceSettings;

use super::file::File;
use super::intents::Intents;
use super::memory::{ADDRESSES, IN_FLIGHT, ROUTES, TOPICS_MAX, UNACKED};
use crate::drain::{Addresses, DrainSettings, Identity};
use crate::ingest::Routes;
use crate::pace::{LinkSettings, Shape, number};
use crate::process::logging::LogSection;
use crate::state::StoreSettings;
use crate::status::StatusSettings;
use crate::uplink::{self, Cluster, UplinkSection};

/// All of it, by part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub gateway: Gateway,
    pub log: LogSection,
    pub intents: Intents,
    pub routes: Routes,
    pub sources: Vec<SourceSettings>,
    /// Bytes of an MQTT source's messages that may wait for their receipts.
    pub unacked_bytes: usize,
    /// Bytes of origins that each source remembers, and of those whose lane is remembered.
    pub origin_bytes: usize,
    pub route_bytes: usize,
    pub link: LinkSettings,
    pub replay: Shape,
    /// One today.
    pub clusters: Vec<Cluster>,
    pub drain: DrainSettings,
    pub store: StoreSettings,
    pub status: StatusSettings,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gateway {
    pub identity: Identity,
    pub stop_grace: Duration,
    /// Bytes a day.
    pub write_budget: Option<u64>,
}

impl Settings {
    /// `file` was checked.
    pub(crate) fn new(file: &File) -> Settings {
        let (identity, intents) = (identity(file), Intents::new(file));
        let profile = file.memory.profile;
        let client_id = file.uplink.client_id.clone();
        let in_flight = file.uplink.in_flight.map(|size| size.0);
        let state = &file.gateway.state_dir;
        let meant = |source: SourceSettings| match source {
            SourceSettings::Mqtt(section) => SourceSettings::Mqtt(profile.window(&section)),
            other @ (SourceSettings::Modbus(_) | SourceSettings::Inference(_)) => other,
        };
        Settings {
            log: file.log.clone(),
            routes: intents.routes(file),
            sources: file.sources().map(meant).collect(),
            unacked_bytes: number::in_memory(profile.of(UNACKED)),
            origin_bytes: profile.origins(file.sources().count()),
            route_bytes: number::in_memory(profile.of(ROUTES)),
            link: LinkSettings::new(&file.link),
            replay: Shape::new(&file.replay, &identity.id),
            clusters: vec![Cluster {
                client_id: client_id.unwrap_or_else(|| format!("tidegate-{}", identity.id)),
                in_flight: in_flight.unwrap_or(profile.of(IN_FLIGHT)),
                id_file: state.join("cluster"),
                // What `check` refuses of it is left out, so that no upgrade keeps a gateway from starting.
                section: UplinkSection {
                    kafka: uplink::used(&file.uplink.kafka),
                    ..file.uplink.clone()
                },
            }],
            drain: DrainSettings {
                fallback_topic: file.uplink.fallback_topic.clone(),
                topic_retry: file.uplink.topic_retry.0,
                address_bytes: number::in_memory(profile.of(ADDRESSES)),
                topics_max: number::in_memory(profile.of(TOPICS_MAX)),
            },
            store: StoreSettings {
                state: state.clone(),
                lanes: intents.on_disk(),
                floor: file.gateway.free_floor.0,
                keys: file.buffer.keys.clone(),
                gateway: identity.id.clone(),
                require_mount: file.buffer.require_mount,
            },
            status: StatusSettings {
                listen: file.status.http.then(|| file.status.listen.clone()),
                hosts: std::iter::once(host_name())
                    .chain(file.status.hosts.clone())
                    .collect(),
                heartbeat: file.status.heartbeat.0,
                state: state.clone(),
            },
            gateway: Gateway {
                identity,
                stop_grace: file.gateway.stop_grace.0,
                write_budget: file.buffer.write_budget.map(|size| size.0),
            },
            intents,
        }
    }

    /// Of a file with a broker and `text` after it.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Settings {
        let whole = format!("[uplink]\nbrokers = [\"localhost:9092\"]\n{text}");
        Settings::new(&toml::from_str(&whole).expect("a test writes a good file"))
    }

    /// Where its records go.
    pub(crate) fn addresses(&self) -> Addresses {
        let identity = self.gateway.identity.clone();
        Addresses::new(self.intents.addresses(), identity, &self.drain)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.clusters.first().expect("there is one cluster")
    }
}

/// The machine's own.
fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Who the gateway is; its id is the host's name unless the file says otherwise.
fn identity(file: &File) -> Identity {
    Identity {
        id: file.gateway.id.clone().unwrap_or_else(host_name),
        site: file.gateway.site.clone(),
        region: file.gateway.region.clone(),
        tags: file.gateway.tags.clone(),
    }
}
