//! Which group is read next. Pure: time comes in as an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Group;

/// Of a moment's due groups those that feed urgent intents go first, then whichever waits longest.
pub(super) fn next(groups: &[Group], now: Instant) -> Option<Next> {
    let wanted = |group: &Group| group.again.map_or(group.due, |(at, _)| at.min(group.due));
    let ready = groups
        .iter()
        .enumerate()
        .filter(|(_, group)| wanted(group) <= now)
        .min_by_key(|(_, group)| (!group.urgent, wanted(group)));
    match ready {
        Some((index, _)) => Some(Next::Read(index)),
        None => groups.iter().map(wanted).min().map(Next::Wait),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Read(usize),
    Wait(Instant),
}

/// Groups of one interval begin spread evenly over it, so that they do not pile up: a line that has time to fall silent
/// between reads costs no waiting for that.
pub(super) fn begin(groups: &mut [Group], now: Instant) {
    let mut alike: HashMap<Duration, u32> = HashMap::new();
    for group in groups.iter() {
        *alike.entry(group.interval).or_default() += 1;
    }
    let mut begun: HashMap<Duration, u32> = HashMap::new();
    for group in groups {
        let (number, all) = (
            begun.entry(group.interval).or_default(),
            alike.get(&group.interval).copied().unwrap_or(1),
        );
        group.due = now + group.interval / all * *number;
        group.again = None;
        *number += 1;
    }
}

/// The group has its turn, and is due again in its phase. Returns how often a busy slave may be asked again, if that is what it is for.
pub(super) fn take_turn(group: &mut Group, now: Instant) -> Option<u8> {
    if group.due <= now {
        group.due = next_due(group.due, group.interval, now);
    }
    let again = group.again.take_if(|(at, _)| *at <= now);
    again.map(|(_, left)| left)
}

/// Keeps the phase: after a stall the missed polls are left out, not made up for.
fn next_due(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now {
        return next;
    }
    let missed = now.saturating_duration_since(due).as_nanos() / interval.as_nanos().max(1);
    due + interval * u32::try_from(missed + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_schedule_keeps_its_phase_after_a_stall() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(next_due(begun, second, begun), begun + second);
        assert_eq!(
            next_due(begun, second, begun + Duration::from_millis(3_400)),
            begun + second * 4
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_feeds_an_alarm_is_read_before_what_has_waited_longer() {
        let group = |name: &str, intent: &str| {
            format!(
                "[[slave]]\naddress = 1\ndevice = \"d\"\n[[slave.group]]\nname = \"{name}\"\nintent = \"{intent}\"\n\
                 [[slave.group.field]]\nname = \"x\"\naddress = 0\n"
            )
        };
        let text = format!(
            "name = \"bus\"\nline = {{ port = \"/dev/null\" }}\n{}{}{}",
            group("slow", "feature"),
            group("alarm", "critical"),
            group("other", "feature")
        );
        let section = toml::from_str(&text).unwrap();
        let is_urgent =
            |origin: &std::sync::Arc<crate::Origin>| origin.intent.as_deref() == Some("critical");
        let mut groups = plan::groups(&section, &is_urgent);
        let now = Instant::now();
        let ms = Duration::from_millis;
        for (group, due) in groups.iter_mut().zip([1, 3, 2]) {
            group.due = now + ms(due);
        }
        assert_eq!(next(&groups, now), Some(Next::Wait(now + ms(1))));
        assert_eq!(next(&groups, now + ms(2)), Some(Next::Read(0)));
        assert_eq!(next(&groups, now + ms(3)), Some(Next::Read(1)));
        groups[2].again = Some((now, 1));
        assert_eq!(
            next(&groups, now + ms(1)),
            Some(Next::Read(2)),
            "a busy slave's turn"
        );
        assert_eq!(next(&[], now), None);
    }
}
