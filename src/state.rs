//! The state directory: the buffer in it and the thread that owns that, and the agent's own notes.

mod keeper;

mod last_stop;

mod link_use;

mod section;

mod store;

pub(crate) use keeper::{Answer, Disked, Job, Keeper};
pub(crate) use last_stop::LastStop;
pub(crate) use link_use::LinkUse;
pub(crate) use section::BufferSection;
pub(crate) use store::{Store, StoreError, StoreSettings, keys};
