//! `tidegate plan`: what an outage does to each lane, from what its sources give. Pure.

mod drain;

mod month;

mod rates;

mod table;

use std::time::Duration;

use buffer::WhenFull;

use std::path::PathBuf;
use std::process::ExitCode;

use adapters::{Size, Span};

use super::console::{ask, fail, load, say};
use crate::config::{Intent, Intents, Rate, full_after};
use crate::pace::number::float;
use crate::pace::{Shape, WIRE};
use rates::{Given, Rates};

#[derive(Debug, clap::Args)]
pub(super) struct PlanArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    #[arg(long, default_value = "24h")]
    outage: Span,
    /// What the sources of an intent give: events a second, and bytes of a payload, as in state=10x200. Can be repeated.
    #[arg(long, value_name = "INTENT=EVENTSxBYTES")]
    rate: Vec<Given>,
    /// Ask the running agent what it takes in, and what an event takes on disk.
    #[arg(long)]
    measured: bool,
    /// What the link carries in a second, as in "30 kB". Default: more than is sent.
    #[arg(long, value_name = "SIZE")]
    link: Option<Size>,
}

pub(super) fn run(arguments: &PlanArguments) -> ExitCode {
    let settings = match load(&arguments.config) {
        Ok(loaded) => loaded.settings,
        Err(code) => return code,
    };
    let measured = match arguments.measured.then(|| ask(&settings.store.state)) {
        None => None,
        Some(Ok(snapshot)) => Some(snapshot),
        Some(Err(error)) => return fail(&*error),
    };
    let rates = Rates {
        given: &arguments.rate,
        measured: measured.as_ref(),
    };
    let intents = &settings.intents;
    let rates = match rates.of(settings.status.heartbeat, intents) {
        Ok(rates) => rates,
        Err(error) => return fail(&error),
    };
    let outage = arguments.outage.0;
    let link = arguments.link.map(|size| float(size.0));
    let plans = plan(intents, &settings.replay, &rates, outage, link);
    say(&table::table(intents, &plans, outage))
}

/// Bytes written to the flash for each that is stored, commits of half a second (`tests/bars/flash`).
const FLASH: f64 = 1.8;

/// What an outage does to a lane.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LanePlan {
    pub name: String,
    pub rate: Rate,
    /// After so long its budget is used up; never, where nothing comes.
    pub full_after: Option<Duration>,
    pub when_full: WhenFull,
    /// Events given up or refused in the outage.
    pub lost: f64,
    pub backlog: f64,
    /// From the return on; never, where more comes in than goes out.
    pub drained_in: Option<Duration>,
    /// Bytes of the backlog on the link and on the flash.
    pub wire: f64,
    pub flash: f64,
}

/// What an outage does to each lane; `link` is what the link carries, in bytes a second, if that is known.
#[must_use]
pub(crate) fn plan(
    intents: &Intents,
    shape: &Shape,
    rates: &[Rate],
    outage: Duration,
    link: Option<f64>,
) -> Vec<LanePlan> {
    let lanes = intents.iter().zip(rates);
    let mut plans: Vec<LanePlan> = lanes
        .map(|((_, intent), rate)| lane(intent, *rate, outage))
        .collect();
    drain::drain(intents, shape, &mut plans, outage);
    // What all together may do bounds each: the last is done when all is.
    let all = drained_together(shape, &plans, link);
    for plan in plans.iter_mut().filter(|plan| plan.backlog > 0.0) {
        plan.drained_in = plan.drained_in.zip(all).map(|(alone, all)| alone.max(all));
    }
    plans
}

fn lane(intent: &Intent, rate: Rate, outage: Duration) -> LanePlan {
    let full_after = full_after(intent, &rate);
    let kept_for = full_after.map_or(outage, |full| full.min(outage));
    let backlog = rate.events_per_s * kept_for.as_secs_f64();
    let lost = rate.events_per_s * outage.saturating_sub(kept_for).as_secs_f64();
    LanePlan {
        name: intent.name.clone(),
        full_after,
        when_full: intent.lane.when_full,
        lost,
        backlog,
        drained_in: None,
        wire: backlog * rate.record() * WIRE,
        flash: backlog * rate.stored() * FLASH,
        rate,
    }
}

/// Under the limits of `[replay]` and of the link, which all lanes share.
fn drained_together(shape: &Shape, plans: &[LanePlan], link: Option<f64>) -> Option<Duration> {
    let sum = |of: fn(&LanePlan) -> f64| plans.iter().map(of).sum::<f64>();
    let events = sum(|plan| plan.backlog);
    let bytes = sum(|plan| plan.backlog * plan.rate.record());
    let (live, live_wire) = (
        sum(|plan| plan.rate.events_per_s),
        sum(|plan| plan.rate.events_per_s * plan.rate.record() * WIRE),
    );
    let takes = [
        shape
            .events_per_s
            .map(|most| events / (f64::from(most) - live)),
        shape
            .bytes_per_s
            .map(|most| bytes / (float(most) - live_wire)),
        link.map(|most| bytes * WIRE / (most - live_wire)),
    ];
    let all = takes.into_iter().flatten();
    all.map(seconds)
        .try_fold(Duration::ZERO, |most, one| one.map(|one| one.max(most)))
}

/// None for never: what is negative, or has no end.
fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;
