//! The configuration: one TOML file, with overrides from the environment.
//!
//! Three steps, each in a file of its own: `load` puts the layers together, `file` is what is
//! written, `check` says all that is wrong with it. What passes `check` is not validated again.

mod file;

mod intent;

mod link;

mod load;

mod memory;

mod check;

pub(crate) use file::{
    Dscp, File, LogFormat, LogSection, ReplaySection, RouteSection, SaslMechanism, UplinkSection,
};
pub(crate) use intent::{
    CoalesceKind, CompressionKind, ExpectedSection, FullPolicy, IntentSection, OrderKind,
};
pub(crate) use link::{BudgetSection, LinkSection, Period};
pub(crate) use load::{Loaded, Problem, load};
pub(crate) use memory::Profile;
