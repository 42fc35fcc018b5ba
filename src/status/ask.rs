//! What others may ask of the running agent.

use tokio::sync::oneshot;

use super::Snapshot;

#[derive(Debug)]
pub(crate) enum Ask {
    /// How it is.
    Snapshot(oneshot::Sender<Snapshot>),
    /// To try the configuration in the file again, also if it was gone back from. Only of who may use the state directory.
    Retry(Retry),
}

/// How a configuration is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Plain,
    /// Also if nothing vouches for it where something did before, and if it removes most sources.
    Forced,
}
