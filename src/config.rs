//! The configuration: one TOML file, with overrides from the environment.
//!
//! Steps, each in a file of its own: `texts` are the file and its layers, `merge` puts together what they say, `load` reads that, `file` is what is written, `check` says all that is
//! wrong with it, `settings` is what is meant. Sections stand with the part that they configure. What passes `check` is not
//! validated again.

mod capacity;

mod check;

mod difference;

mod environment;

mod expected;

mod file;

mod fleet;

mod hash;

mod installation;

mod intent;

mod intents;

mod kept;

mod lines;

mod load;

mod loaded;

mod map;

mod marks;

mod memory;

mod merge;

mod minimum;

mod origin;

mod parts;

mod place;

mod problem;

mod pull;

mod settings;

mod texts;

mod trust;

mod version;

mod words;

#[cfg(test)]
pub(crate) use capacity::budget_for;
pub(crate) use capacity::{RECORD, Rate, RateSource, expected_rate, full_after};
pub(crate) use difference::{Difference, Part};
#[cfg(feature = "simulate")]
pub(crate) use file::File;
pub(crate) use file::{STATE_DIR, schema};
pub(crate) use hash::sha256;
pub(crate) use intents::{HEALTH, Intent, Intents};
pub(crate) use kept::{kept_fleet, load_pulled, pulled_texts};
pub(crate) use load::{load, load_for, load_texts};
pub(crate) use loaded::Loaded;
pub(crate) use minimum::{minimum, state_dir, state_of};
pub(crate) use origin::{Setting, settings, settings_of};
pub(crate) use problem::{Problem, Weight};
pub(crate) use pull::PullSettings;
pub(crate) use settings::Settings;
pub(crate) use texts::{Texts, directory as layers_of};
#[cfg(test)]
pub(crate) use trust::Trust;
pub(crate) use trust::{asks_for_signature, may_be_believed, sealed, signature_of, vouchers};
pub(crate) use version::Version;
