//! A plan for people.

use std::fmt::Write;
use std::time::Duration;

use buffer::WhenFull;

use super::{LanePlan, month};
use crate::config::{Intents, RateSource as Source};
use crate::pace::number::whole;
use adapters::{age, size};

/// Lines that fit a terminal of 100 columns.
#[must_use]
pub(crate) fn table(intents: &Intents, plans: &[LanePlan], outage: Duration) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if draw(intents, plans, outage, &mut text).is_err() {
        text.push_str("(cut short)\n");
    }
    text
}

fn draw(
    intents: &Intents,
    plans: &[LanePlan],
    outage: Duration,
    text: &mut String,
) -> std::fmt::Result {
    writeln!(text, "an outage of {}\n", words(outage))?;
    writeln!(
        text,
        "{:<12}{:>10}{:>8}{:>10}  {:<9}{:>12}{:>10}{:>12}{:>9}{:>9}",
        "lane",
        "events/s",
        "bytes",
        "on disk",
        "from",
        "full after",
        "given up",
        "drained in",
        "link",
        "flash"
    )?;
    for plan in plans {
        row(plan, text)?;
    }
    writeln!(text)?;
    let full = plans.iter().filter(|plan| plan.lost > 0.0);
    let first = full.min_by_key(|plan| plan.full_after);
    match first.and_then(|plan| plan.full_after.map(|after| (plan, after))) {
        Some((plan, after)) => writeln!(
            text,
            "first to be full: {}, after {}; then {}",
            plan.name,
            words(after),
            policy(plan.when_full)
        )?,
        None => writeln!(text, "nothing is given up")?,
    }
    let (link, flash): (f64, f64) = (
        plans.iter().map(|plan| plan.wire).sum(),
        plans.iter().map(|plan| plan.flash).sum(),
    );
    writeln!(
        text,
        "in all {} on the link, if nothing is compressed, and {} on the flash",
        size(whole(link)),
        size(whole(flash))
    )?;
    notes(plans, text)?;
    month::draw(intents, plans, text)
}

fn notes(plans: &[LanePlan], text: &mut String) -> std::fmt::Result {
    let named = |what: fn(&LanePlan) -> bool| {
        let names = plans.iter().filter(|plan| what(plan));
        names
            .map(|plan| plan.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let unknown = named(|plan| plan.rate.source == Source::Unknown);
    if !unknown.is_empty() {
        writeln!(
            text,
            "not known: {unknown}; say --rate NAME=EVENTSxBYTES, set `expected` in its [[intent]], or ask a running agent with --measured"
        )?;
    }
    let plain = named(|plan| plan.rate.stored.is_none() && plan.rate.events_per_s > 0.0);
    if !plain.is_empty() {
        writeln!(
            text,
            "taken as if nothing were compressed away on disk: {plain}; --measured knows better once some was stored"
        )?;
    }
    let never = named(|plan| plan.backlog > 0.0 && plan.drained_in.is_none());
    if !never.is_empty() {
        writeln!(
            text,
            "never drained: {never}; more comes in than the shape or the link lets out"
        )?;
    }
    Ok(())
}

fn row(plan: &LanePlan, text: &mut String) -> std::fmt::Result {
    let from = match plan.rate.source {
        Source::Given => "given",
        Source::Measured => "measured",
        Source::Expected => "expected",
        Source::Unknown => "unknown",
    };
    let or = |time: Option<Duration>, none: &str| time.map_or(none.to_owned(), words);
    writeln!(
        text,
        "{:<12}{:>10.2}{:>8.0}{:>10.0}  {from:<9}{:>12}{:>10.0}{:>12}{:>9}{:>9}",
        plan.name,
        plan.rate.events_per_s,
        plan.rate.bytes,
        plan.rate.stored(),
        or(plan.full_after, "never"),
        plan.lost,
        or(plan.drained_in, "never"),
        size(whole(plan.wire)),
        size(whole(plan.flash)),
    )
}

fn policy(when_full: WhenFull) -> &'static str {
    match when_full {
        WhenFull::Refuse => "it refuses, and the source keeps what is new",
        WhenFull::DropOldest => "it drops its oldest",
        WhenFull::DropNewest => "it drops what is new",
        WhenFull::CoalesceLatest => "it keeps the latest of each device, then drops its oldest",
    }
}

/// A year and more is no time to plan for.
fn words(time: Duration) -> String {
    const YEAR: u64 = 365 * 24 * 3600;
    let days = time.as_secs() / 86_400;
    match time.as_secs() {
        0..172_800 => age(time.as_secs_f64()),
        172_800..YEAR => format!("{days}d{}h", time.as_secs() % 86_400 / 3600),
        _ => "years".into(),
    }
}
