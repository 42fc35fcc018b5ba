//! `[fleet]`: how a configuration that was delivered is judged.

use std::time::Duration;

use adapters::Span;
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
}

impl Default for FleetSection {
    fn default() -> Self {
        FleetSection {
            prove_within: Span(Duration::from_mins(10)),
            serial: None,
            replaces: None,
            may_remove_sources: false,
        }
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
