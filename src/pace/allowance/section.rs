//! `[link]`: what may be sent when, and how much of it.

use std::collections::BTreeMap;

use adapters::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[link]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LinkSection {
    /// IANA name such as `"Europe/Berlin"`, or a POSIX one such as `"CET-1CEST,M3.5.0,M10.5.0/3"`, which needs no
    /// time zone data on the gateway. Default: the system's.
    pub time_zone: Option<String>,
    /// The link is paid for by the byte: events of intents that are not urgent wait up to 5 s for others to leave with, as a request
    /// costs as many bytes with one event as with ten; an intent's own `linger` counts for more. Default: whether there is a budget.
    pub metered: Option<bool>,
    /// How many bytes may go over the link.
    pub budget: Vec<BudgetSection>,
    /// When intents that are not urgent may use it.
    pub window: Vec<WindowSection>,
}

impl LinkSection {
    pub(crate) fn is_metered(&self) -> bool {
        self.metered.unwrap_or(!self.budget.is_empty())
    }
}

/// `[[link.budget]]`: bytes on the wire, both ways: compressed, with Kafka's protocol and an estimate of TCP and IP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetSection {
    pub per: Period,
    pub bytes: Size,
    /// Share of it that is kept for urgent intents, which are counted and never held back. Default: 0.2.
    #[serde(default = "default_reserve")]
    pub reserve: f64,
    /// The most that an intent may use, as a share of `bytes`.
    #[serde(default)]
    pub shares: BTreeMap<String, f64>,
}

/// Begins at the full hour, at midnight, on the first of the month, in the time zone of `[link]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Period {
    Hour,
    Day,
    Month,
}

impl Period {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
        }
    }
}

/// `[[link.window]]`: an intent that windows name may send only while one of them is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowSection {
    /// Default: all that are not urgent.
    #[serde(default)]
    pub intents: Vec<String>,
    /// The minutes in which it is open, as in crontab(5): minute, hour, day of the month, month, day of the week.
    /// `"* 22-5 * * *"` is every minute from 22:00 to 05:59.
    pub open: String,
}

fn default_reserve() -> f64 {
    0.2
}
