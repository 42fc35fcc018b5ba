//! When lanes have caught up: urgent ones first, then the rest by weight, out of one budget.

use std::time::Duration;

use super::{LanePlan, seconds};
use crate::config::{Intent, Intents};
use crate::pace::number::float;
use crate::pace::{Shape, catch_up_rate, live_behind};

/// Events a second, more than anything takes.
const UNLIMITED: f64 = 1e12;

/// Fills in `drained_in` of each plan, as far as the gateway's budget and the limits of each intent go.
pub(super) fn drain(intents: &Intents, shape: &Shape, plans: &mut [LanePlan], outage: Duration) {
    let usual = plans.iter().map(|plan| plan.rate.events_per_s).sum();
    let budget = shape
        .catch_up
        .map_or(UNLIMITED, |share| catch_up_rate(share, usual));
    let intents: Vec<&Intent> = intents.iter().map(|(_, intent)| intent).collect();
    let (urgent, rest): (Vec<usize>, Vec<usize>) =
        (0..plans.len()).partition(|index| intents[*index].pace.urgent);
    let alarms: f64 = urgent.iter().map(|index| plans[*index].backlog).sum();
    let begun = shape.delay_after(outage) + shape.ramp_after(outage) / 2;
    let begun = begun.as_secs_f64().max(alarms / budget);
    for index in urgent {
        let own = plans[index].backlog / own_rate(intents[index], &plans[index]);
        plans[index].drained_in = seconds(own.max(alarms / budget));
    }
    let mut behind: Vec<(usize, f64)> = rest
        .into_iter()
        .map(|index| (index, plans[index].backlog))
        .collect();
    let mut passed = begun;
    while !behind.is_empty() {
        let weights: f64 = behind
            .iter()
            .map(|(index, _)| weight(intents[*index]))
            .sum();
        let rate = |index: usize| {
            let fair = budget * weight(intents[index]) / weights;
            fair.min(own_rate(intents[index], &plans[index]))
        };
        let lasts = behind.iter().map(|(index, left)| left / rate(*index));
        let step = lasts
            .filter(|time| *time >= 0.0)
            .fold(f64::INFINITY, f64::min);
        if step.is_infinite() {
            return; // more comes in than goes out
        }
        passed += step;
        for (index, left) in &mut behind {
            *left -= step * rate(*index);
        }
        behind.retain(|(index, left)| {
            let drained = *left < 1e-6;
            if drained {
                plans[*index].drained_in = seconds(passed);
            }
            !drained
        });
    }
}

fn weight(intent: &Intent) -> f64 {
    f64::from(intent.pace.weight)
}

/// Events a second of backlog that the limits of the intent itself allow; in order, what arrives is behind it.
fn own_rate(intent: &Intent, plan: &LanePlan) -> f64 {
    let limits = [
        intent.pace.events_per_s.map(f64::from),
        intent
            .pace
            .bytes_per_s
            .map(|bytes| float(bytes) / plan.rate.record()),
    ];
    let most = limits.into_iter().flatten().fold(f64::INFINITY, f64::min);
    most - live_behind(&intent.pace) * plan.rate.events_per_s
}
