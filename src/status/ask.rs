//! What others may ask of the running agent.

use tokio::sync::oneshot;

use super::Snapshot;

#[derive(Debug)]
pub(crate) enum Ask {
    /// How it is.
    Snapshot(oneshot::Sender<Snapshot>),
    /// To do this about the configuration; who asks is beside it. Only of who may use the state directory.
    Order(Order, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// To try the configuration in the file again, also if it was gone back from.
    Retry,
    /// Also if nothing vouches for it where something did before, and if it removes most sources.
    Force,
    /// To go back from the one that runs to the one that delivered before.
    Return,
}

impl Order {
    /// As the command is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Order::Retry => "retry",
            Order::Force => "retry --force",
            Order::Return => "return",
        }
    }
}
