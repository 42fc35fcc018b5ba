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

mod memo;

mod origins;

mod printable;

mod units;

mod endpoint;

mod context;

mod source;

mod secret;

mod tls;

mod topic;

mod watched;

pub mod mqtt;

pub mod modbus;

pub mod inference;

pub use backoff::Backoff;
pub use clock::{Belief, Clock, Reading, Trust, read as read_clocks};
pub use context::Context;
pub use endpoint::{endpoint_flaw, host_flaw, in_brackets};
pub use event::{AdapterKind, Event, Origin, Properties, Quality, Stamp};
pub use files::{WriteWhole, make_way_for_socket, off_task};
pub use intake::{Intake, Urge};
pub use memo::Memo;
pub use printable::{Escaped, is_dangerous, printable};
pub use queue::{Inlet, Patience, Paused, Queues, Submission, queues};
pub use receipt::{Claim, Outcome, Receipts, Refused};
pub use secret::{SecretError, SecretRef};
pub use source::{Source, SourceError, SourceSettings};
pub use stats::{SlaveStats, SourceStats};
pub use tls::{TlsError, TlsSection, tls_client};
pub use topic::{Pattern, PatternError};
pub use units::{Size, Span, age, size};
pub use watched::Watched;

/// Becomes `true` when the agent stops: adapters then take nothing new, wait for the receipts they
/// still need, and return.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// How long a stop waits for a peer that does not read what it is sent.
const PARTING: std::time::Duration = std::time::Duration::from_secs(1);

/// Waits until the agent stops and a peer has had its time to read what is sent last.
pub(crate) async fn parted(stop: &mut Stop) {
    stopped(stop).await;
    tokio::time::sleep(PARTING).await;
}

/// Waits until the agent stops.
pub(crate) async fn stopped(stop: &mut Stop) {
    // An error means that the agent itself is gone, which is a stop as well.
    if stop.wait_for(|stop| *stop).await.is_err() {}
}
