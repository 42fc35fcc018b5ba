//! Whether and how much may be sent now. Pure: time comes in as an argument, a decision goes out as a value.
//!
//! The link is up or down; the allowance has windows and budgets; the flow of a connection follows what it delivers; the
//! shaper puts urgent lanes first and holds a replay to its rates.

mod allowance;

mod bunches;

mod flow;

mod lane;

mod limit;

mod link;

pub(crate) mod number;

mod pacer;

mod room;

mod shape;

mod shaper;

pub(crate) use allowance::{
    Allowance, BudgetUse, Cron, LinkSection, LinkSettings, Period, WIRE, zone,
};
pub(crate) use bunches::{Bunches, Gathered, TOGETHER};
pub(crate) use flow::{Flow, Hold};
pub(crate) use lane::LanePace;
pub(crate) use limit::Limit;
pub(crate) use link::{Change, Link};
pub(crate) use room::{ReplayRate, Room, Wait};
pub(crate) use shape::{ReplaySection, Shape, catch_up_rate, delay, live_behind};
pub(crate) use shaper::{Backlog, Decision, Recovered, Shaper};
