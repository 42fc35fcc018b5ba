//! `[buffer]` as written.

use adapters::{SecretRef, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[buffer]`: the disk under all lanes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BufferSection {
    /// Keys for encryption at rest, 64 hexadecimal digits each. The first one writes, all of them read; a key
    /// can go once no generation is left that needs it. Default: none, what is stored is not encrypted.
    pub keys: Vec<SecretRef>,
    /// Bytes that the agent may write to the flash in a day. As they are used up, intents that are not urgent
    /// wait longer for their commits; nothing is dropped for it. Default: no limit.
    pub write_budget: Option<Size>,
    /// Whether `gateway.state_dir` must be on another file system than `/`: while nothing is mounted there,
    /// the agent goes on from memory instead of filling the root. Default: false.
    pub require_mount: bool,
}
