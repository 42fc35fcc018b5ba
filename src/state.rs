//! The state directory: the buffer in it and the thread that owns that, and the agent's own notes.

mod clock_note;

mod job;

mod keeper;

mod last_stop;

mod link_use;

mod section;

mod store;

pub(crate) use clock_note::ClockNote;
pub(crate) use job::{Answer, Disked, Job};
pub(crate) use keeper::Keeper;
pub(crate) use last_stop::LastStop;
pub(crate) use link_use::LinkUse;
pub(crate) use section::BufferSection;
pub(crate) use store::{DISK_WRITER, Store, StoreError, StoreSettings, disk_writer, keys};
