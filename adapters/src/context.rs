//! What sources are told of the gateway that they work for.

use std::path::Path;
use std::sync::Arc;

use crate::{Origin, WriteWhole};

/// What a source has to know of the gateway that it works for.
pub struct Context<'a> {
    /// Its id.
    pub gateway: &'a str,
    /// Its state directory, and how small files are written there.
    pub state: &'a Path,
    pub write: WriteWhole,
    /// The intent of events on a source itself.
    pub health: &'static str,
    /// Bytes of an MQTT source's messages that may wait for their receipts.
    pub unacked_bytes: usize,
    /// Bytes of the origins that a source remembers.
    pub origin_bytes: usize,
    /// Whether an event of it may be of an urgent intent.
    pub may_be_urgent: bool,
    /// Whether events of this origin are of an urgent intent.
    pub is_urgent: &'a dyn Fn(&Arc<Origin>) -> bool,
}
