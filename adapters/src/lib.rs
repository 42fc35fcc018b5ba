//! What Tidegate observes: MQTT brokers, Modbus lines and local inference programs.
//!
//! An adapter owns an event until its receipt: it submits the event to its [`Intake`] and tells the
//! source (a PUBACK, an `ack` line) only once the receipt is there. What it may hold in between is
//! bounded. It knows nothing of lanes, disks or clusters.

mod event;

mod stats;

mod receipt;

mod pause;

mod queue;

mod intake;

mod clock;

mod backoff;

mod retry;

mod files;

mod origins;

mod units;

mod source;

mod secret;

mod tls;

mod topic;

pub mod mqtt;

pub mod modbus;

pub mod inference;

pub use backoff::Backoff;
pub use clock::{Belief, Clock, Reading, Trust, read as read_clocks};
pub use event::{AdapterKind, Event, Origin, Quality, Stamp};
pub use files::{off_task, write_whole};
pub use intake::{Intake, Urge};
pub use queue::{Inlet, Patience, Paused, Queues, Submission, queues};
pub use receipt::{Claim, Outcome, Receipts, Refused};
pub use secret::{SecretError, SecretRef};
pub use source::{Context, Source, SourceError, SourceSettings};
pub use stats::SourceStats;
pub use tls::{TlsError, TlsSection};
pub use topic::{Pattern, PatternError};
pub use units::{Size, Span, age, size};

/// Becomes `true` when the agent stops: adapters then take nothing new, wait for the receipts they
/// still need, and return.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// Waits until the agent stops.
pub(crate) async fn stopped(stop: &mut Stop) {
    // An error means that the agent itself is gone, which is a stop as well.
    if stop.wait_for(|stop| *stop).await.is_err() {}
}
