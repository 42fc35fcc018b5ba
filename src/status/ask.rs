//! What others may ask of the running agent.

use tokio::sync::oneshot;

use super::Snapshot;

#[derive(Debug)]
pub(crate) enum Ask {
    /// How it is.
    Snapshot(oneshot::Sender<Snapshot>),
}
