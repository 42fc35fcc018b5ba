//! Why a lane waits, for people.

use std::time::Duration;

use adapters::age;

use crate::pace::{ReplayRate, Wait};

pub(crate) fn words(wait: &Wait) -> String {
    let lasts = |left: &Duration| age(left.as_secs_f64());
    match wait {
        Wait::LinkDown => "the link is down".into(),
        Wait::ClockUnknown => {
            "the clock is known to be wrong, so that no window is known to be open (link.window); set the clock".into()
        }
        Wait::Window(left) => format!("its window opens in {} (link.window)", lasts(left)),
        Wait::Budget(per, left) => format!(
            "its share of the {}'s bytes is used up; it goes on in {} (link.budget)",
            per.name(),
            lasts(left)
        ),
        Wait::Topic(reason) => format!("the cluster does not take its topic {reason}"),
        Wait::ProducerFailed(reason) => {
            format!("its kafka producer failed and is rebuilt: {reason}")
        }
        Wait::Quota => "a quota of the cluster is reached".into(),
        Wait::Link => "the link carries no more".into(),
        Wait::Spread(left) => format!(
            "its turn in the fleet comes in {} s (replay.spread)",
            left.as_secs()
        ),
        Wait::Rate(ReplayRate::Intent) => "the rate of its intent is reached".into(),
        Wait::Rate(ReplayRate::CatchUp) => {
            "its share of what it usually takes in (replay.catch_up) is reached".into()
        }
        Wait::Rate(ReplayRate::Gateway) => "the rate of [replay] is reached".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Period;

    #[test]
    fn an_operator_reads_what_is_waited_for_and_the_key_that_decides_it() {
        let hour = Duration::from_hours(1);
        for (wait, said) in [
            (Wait::LinkDown, "the link is down"),
            (Wait::Window(hour), "its window opens in 1h0m (link.window)"),
            (
                Wait::Budget(Period::Day, hour),
                "its share of the day's bytes is used up; it goes on in 1h0m (link.budget)",
            ),
            (
                Wait::Spread(Duration::from_secs(7)),
                "its turn in the fleet comes in 7 s (replay.spread)",
            ),
            (
                Wait::Rate(ReplayRate::CatchUp),
                "its share of what it usually takes in (replay.catch_up) is reached",
            ),
        ] {
            assert_eq!(words(&wait), said);
        }
    }
}
