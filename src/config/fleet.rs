//! `[fleet]`: how a configuration that was delivered is judged.

use std::path::PathBuf;
use std::time::Duration;

use adapters::{SecretRef, Size, Span, TlsSection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[fleet]`: what the fleet asks of a configuration that it delivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FleetSection {
    /// How long a new configuration may take to prove itself: until then, what speaks against it has the gateway go back to the one
    /// before; after it, one that is neither proved nor refuted goes on running and is called `unproven`. Default: `"10m"`.
    pub prove_within: Span,
    /// Number of this configuration, which rises: one with a lower one than a configuration that delivered here is refused, so that
    /// nobody can send an old one again. One without counts as 0. Default: none.
    pub serial: Option<u64>,
    /// Goes back to a lower `serial` on purpose: the number that this one replaces, at least the highest that delivered. Counts only
    /// where the file is signed. Default: none.
    pub replaces: Option<u64>,
    /// Whether this one may remove over half of the sources though nothing vouches that the file is whole. Default: `false`.
    pub may_remove_sources: bool,
    /// Where configurations are pulled from: `"https://..."`, or `"http://..."` on this machine. Default: nowhere.
    pub url: Option<String>,
    /// How often it is asked whether there is another one, each gateway at a moment of its own: 10 s to 7 days. Default: `"15m"`.
    pub every: Span,
    /// The authority that is trusted there, the gateway's own certificate and key, and the name in the server's certificate.
    pub tls: Option<PullTlsSection>,
    /// The token that is sent there as `Authorization: Bearer`.
    pub bearer: Option<SecretRef>,
    /// A larger file is not taken. Default: `"1 MiB"`.
    pub max_size: Size,
    /// How long one pull may take as a whole. Default: `"2m"`.
    pub timeout: Span,
    /// A new configuration is tried within this time, each gateway at a moment of its own for each file. Default: `"0s"`, at once.
    pub spread: Span,
}

impl Default for FleetSection {
    fn default() -> Self {
        FleetSection {
            prove_within: Span(Duration::from_mins(10)),
            serial: None,
            replaces: None,
            may_remove_sources: false,
            url: None,
            every: Span(Duration::from_mins(15)),
            tls: None,
            bearer: None,
            max_size: Size(1 << 20),
            timeout: Span(Duration::from_mins(2)),
            spread: Span(Duration::ZERO),
        }
    }
}

/// TLS to where configurations are pulled from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PullTlsSection {
    /// PEM file of the authorities to trust. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the gateway's own certificate and key, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate is to have, where it is not for the host of `url`.
    pub server_name: Option<String>,
}

impl PullTlsSection {
    /// What it takes of files.
    pub(super) fn files(&self) -> TlsSection {
        TlsSection {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// The files that it names, by key.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + use<> {
        self.files().named()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::problems_of;

    #[test]
    fn what_replaces_another_has_a_number_itself() {
        let uplink = "[uplink]\nbrokers = [\"a:1\"]\n[fleet]\n";
        let said = |fleet: &str| problems_of(&format!("{uplink}{fleet}"), &[]).join("\n");
        assert!(!said("serial = 3\nreplaces = 9\n").contains("fleet"));
        assert!(said("replaces = 9\n").contains("fleet.replaces: `9` has no `serial`"));
        assert!(said("serial = -1\n").contains("fleet.serial: `-1`"));
        assert!(said("serial = \"7\"\n").contains("fleet.serial: `7`"));
    }
}
