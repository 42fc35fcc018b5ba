//! What must fit together in `[link]`.

use super::super::file::File;
use super::super::intents::Intents;
use super::Problems;
use crate::pace::{Cron, LinkSection, Period, zone};

/// What a connection takes alone, a day: less is no budget for events.
const BYTES_MIN: u64 = 64 * 1024;

pub(super) fn check(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    let link = &file.link;
    if let Err(error) = zone(link) {
        let name = link.time_zone.as_deref().unwrap_or_default();
        found.error(
            "link.time_zone",
            format!("`{name}` is no time zone that this machine knows ({error}); install tzdata, or write one like \"CET-1CEST,M3.5.0,M10.5.0/3\""),
        );
    }
    budgets(link, intents, found);
    for (index, window) in link.window.iter().enumerate() {
        if let Err(error) = window.open.parse::<Cron>() {
            found.error(format!("link.window[{index}].open"), error.to_string());
        }
        for (i, name) in window.intents.iter().enumerate() {
            bulk(
                name,
                &format!("link.window[{index}].intents[{i}]"),
                intents,
                found,
            );
        }
    }
}

fn budgets(link: &LinkSection, intents: &Intents, found: &mut Problems<'_>) {
    let mut known: Vec<Period> = Vec::new();
    for (index, budget) in link.budget.iter().enumerate() {
        let at = |key: &str| format!("link.budget[{index}].{key}");
        if known.contains(&budget.per) {
            let what = format!(
                "`{}` stands twice; put all of it into one section",
                budget.per.name()
            );
            found.error(at("per"), what);
        }
        known.push(budget.per);
        if budget.bytes.0 < BYTES_MIN {
            let what = format!(
                "`{}` is less than the connections take by themselves; use \"64 KiB\" or more",
                budget.bytes
            );
            found.error(at("bytes"), what);
        }
        if !(0.0..1.0).contains(&budget.reserve) {
            let what = format!(
                "`{}` is no share; use 0 to less than 1, such as 0.2",
                budget.reserve
            );
            found.error(at("reserve"), what);
        }
        for (name, share) in &budget.shares {
            let at = at(&format!("shares.{name}"));
            if !(*share > 0.0 && *share <= 1.0) {
                found.error(
                    &at,
                    format!("`{share}` is no share; use more than 0 and at most 1"),
                );
            }
            bulk(name, &at, intents, found);
        }
    }
}

/// `name` must be an intent that can be held back.
fn bulk(name: &str, at: &str, intents: &Intents, found: &mut Problems<'_>) {
    match intents.id(name).map(|lane| intents.get(lane)) {
        None => found.no_intent(at, name, intents),
        Some(intent) if intent.pace.urgent => {
            found.error(at, format!("`{name}` is urgent, and never held back; leave it out, or set its `urgent` to false"));
        }
        Some(_) => {}
    }
}
