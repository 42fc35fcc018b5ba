//! Connections begin anew with other settings, one by one: those of another configuration, or of files that were replaced.

use std::time::Instant;

use super::connection::Connection;
use super::credentials::Credentials;
use super::hosts::Hosts;
use super::settings::Cluster;
use super::{Uplink, UplinkError};

impl Uplink {
    /// Goes on with another cluster, or another way to it: each connection begins anew.
    ///
    /// # Errors
    /// A password or certificate cannot be read; those connections that have not got the new settings go on with the old ones.
    pub(crate) fn change(&mut self, cluster: &Cluster, now: Instant) -> Result<(), UplinkError> {
        self.credentials = Credentials::new(cluster, self.credentials.sendings(), now);
        self.hosts = Hosts::new(&cluster.section.brokers, now);
        self.dscp = cluster.section.dscp;
        self.begin_with_new(now)
    }

    /// A connection has delivered with its present settings.
    #[must_use]
    pub(crate) fn delivers(&self) -> bool {
        self.connections.iter().any(Connection::delivers)
    }

    /// Has the connections begin anew where a file of theirs was replaced.
    pub(super) fn follow_credentials(&mut self, now: Instant) {
        let Some(file) = self.credentials.changed(now) else {
            return;
        };
        tracing::info!(file = %file.display(), "a file that the login to the cluster takes was replaced; the connections begin anew with it");
        if let Err(error) = self.begin_with_new(now) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the new credentials cannot be used; the connections go on with the old ones until a file changes again"
            );
        }
    }

    fn begin_with_new(&mut self, now: Instant) -> Result<(), UplinkError> {
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if let Some(config) = self.credentials.config(number)? {
                connection.begin_with(config, now);
            }
        }
        Ok(())
    }
}
