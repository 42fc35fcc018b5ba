//! The note of why the agent stopped last.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

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
