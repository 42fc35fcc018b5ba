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
}

impl Default for FleetSection {
    fn default() -> Self {
        FleetSection {
            prove_within: Span(Duration::from_mins(10)),
        }
    }
}
