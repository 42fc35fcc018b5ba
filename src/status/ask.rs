//! What others may ask of the running agent.

use tokio::sync::oneshot;

use super::Snapshot;

#[derive(Debug)]
pub(crate) enum Ask {
    /// How it is.
    Snapshot(oneshot::Sender<Snapshot>),
    /// To try the configuration in the file again, also if it was gone back from. Only of who may use the state directory.
    Retry,
}
