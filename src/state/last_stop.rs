//! The note of why the agent stopped last.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapters::off_task;
use serde_json::{Value, json};

/// How long a stop waits for its note.
const PATIENCE: Duration = Duration::from_secs(1);

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

    /// Writes the reason; a disk that hangs does not keep the agent from ending.
    pub(crate) async fn note(&self, reason: &Value) {
        let (path, text) = (self.0.clone(), reason.to_string());
        let written = off_task(move || buffer::write_whole(&path, text.as_bytes()));
        let error = match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the disk did not take it within {} s", PATIENCE.as_secs()),
        };
        tracing::warn!(error, path = %self.0.display(), "cannot note the reason of this stop; the next start takes it for a kill");
    }
}
