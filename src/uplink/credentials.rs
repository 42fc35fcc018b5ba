//! Files that a login to the cluster takes: when one of them changes, the connections begin anew with it. Passwords and
//! certificates are rotated while nobody thinks of the gateway.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use adapters::Watched;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::UplinkError;
use super::settings::{Cluster, Sending, settings};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);

pub(super) struct Credentials {
    cluster: Cluster,
    /// Of each connection.
    sendings: Vec<Sending>,
    files: Watched,
    next: Instant,
}

impl Credentials {
    pub(super) fn new(cluster: &Cluster, sendings: Vec<Sending>, now: Instant) -> Credentials {
        let section = &cluster.section;
        let password = section.sasl.as_ref().map(|sasl| &sasl.password);
        Credentials {
            cluster: cluster.clone(),
            sendings,
            files: Watched::of_login(password, section.tls.as_ref()),
            next: now + EVERY,
        }
    }

    /// Of each connection, in their order.
    pub(super) fn sendings(&self) -> Vec<Sending> {
        self.sendings.clone()
    }

    /// The file that was replaced since the last call, if it is time to look.
    pub(super) fn changed(&mut self, now: Instant) -> Option<PathBuf> {
        if self.files.is_empty() || now < self.next {
            return None;
        }
        self.next = now + EVERY;
        self.files.changed()
    }

    /// The settings of connection `number`, with what is in the files now.
    pub(super) fn config(&self, number: usize) -> Result<Option<ClientConfig>, UplinkError> {
        let Some(sending) = self.sendings.get(number) else {
            return Ok(None);
        };
        config(&self.cluster, sending, number).map(Some)
    }
}

pub(super) fn config(
    cluster: &Cluster,
    sending: &Sending,
    number: usize,
) -> Result<ClientConfig, UplinkError> {
    let mut config = ClientConfig::new();
    config.extend(settings(cluster, sending, number)?);
    config.set_log_level(RDKafkaLogLevel::Warning);
    Ok(config)
}
