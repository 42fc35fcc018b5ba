//! Why a configuration is not tried yet: what waits on disk would have no place with it. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Loaded;

/// With a link, what is younger is about to be sent, and is no backlog.
const YOUNG: Duration = Duration::from_secs(10);

/// What of a lane waits to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub lane: &'a str,
    pub events: u64,
    /// On disk.
    pub bytes: u64,
    /// Of the oldest.
    pub age: Duration,
}

impl Waiting<'_> {
    pub(super) fn is_backlog(&self, link_up: bool) -> bool {
        self.events > 0 && (!link_up || self.age >= YOUNG)
    }
}

/// What of a lane has waited for a while, or cannot be sent.
#[derive(Debug)]
pub(super) struct Backlog {
    lane: String,
    events: u64,
    bytes: u64,
}

impl Backlog {
    pub(super) fn of(waiting: Waiting<'_>) -> Backlog {
        Backlog {
            lane: waiting.lane.to_owned(),
            events: waiting.events,
            bytes: waiting.bytes,
        }
    }
}

/// The lanes that a configuration which was delivered has no place for, with the bytes that it has for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Homeless(Vec<(String, u64)>);

/// What of this waits with no place in `new`, and why that is a reason not to try it, in words for whoever pushed it.
pub(super) fn homeless(backlogs: &[Backlog], new: &Loaded) -> Option<(Homeless, String)> {
    let budget = |lane: &str| {
        let intents = &new.settings.intents;
        let id = intents.id(lane)?;
        Some(intents.get(id).lane.budget)
    };
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let mut why = Vec::new();
    let mut lanes = Vec::new();
    for one in backlogs {
        let (lane, events, bytes) = (&one.lane, one.events, one.bytes);
        let room = budget(lane);
        why.push(match room {
            None => format!("it has no intent `{lane}` any more, of which {events} events wait"),
            Some(room) if room < bytes => format!(
                "its `budget` of intent `{lane}` is {} KiB, and {} KiB of it wait, of which the oldest would be dropped",
                kib(room),
                kib(bytes)
            ),
            Some(_) => continue,
        });
        lanes.push((lane.clone(), room.unwrap_or(0)));
    }
    (!lanes.is_empty()).then(|| {
        let why = why.join("; ");
        let what =
            "it is tried once they are delivered, or at once with `tidegate config retry --force`";
        (Homeless(lanes), format!("{why}; {what}"))
    })
}

impl Homeless {
    /// There is a place for all that waits, but for what came since, which is `held_for` ago.
    pub(super) fn is_over<'a>(
        &self,
        mut waiting: impl Iterator<Item = Waiting<'a>>,
        held_for: Duration,
    ) -> bool {
        let is_homeless = |one: &Waiting<'_>| {
            let mut lanes = self.0.iter();
            let is_old = one.events > 0 && one.age >= held_for;
            is_old
                && lanes.any(|(lane, room)| lane == one.lane && (*room == 0 || one.bytes > *room))
        };
        !waiting.any(|one| is_homeless(&one))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Texts, Trust, load_texts};

    fn waits(lane: &str, bytes: u64) -> impl Iterator<Item = Waiting<'_>> {
        let (events, age) = (7, Duration::from_secs(30));
        std::iter::once(Waiting {
            lane,
            events,
            bytes,
            age,
        })
    }

    /// The lane that waits, its bytes, and what is said of it.
    #[test]
    fn what_waits_keeps_its_place_until_it_is_delivered() {
        let text =
            "[uplink]\nbrokers = [\"a:1\"]\n[[intent]]\nname = \"state\"\nbudget = \"1 MiB\"\n";
        let new = load_texts(Texts::of(text), Path::new("/nowhere"), Trust::default()).unwrap();
        for (lane, bytes, said) in [
            (
                "energy",
                1,
                Some("no intent `energy` any more, of which 7 events wait"),
            ),
            (
                "state",
                1024 * 1024 + 1,
                Some("is 1024 KiB, and 1025 KiB of it wait"),
            ),
            ("state", 1024 * 1024, None),
            ("critical", 5, None),
        ] {
            let backlogs: Vec<Backlog> = waits(lane, bytes).map(Backlog::of).collect();
            let found = homeless(&backlogs, &new);
            let why = found.as_ref().map(|(_, why)| why.as_str());
            assert_eq!(why.is_some(), said.is_some(), "{lane} {bytes}");
            if let (Some((homeless, why)), Some(said)) = (found, said) {
                assert!(why.contains(said), "{why}");
                let held_for = Duration::from_secs(20);
                assert!(!homeless.is_over(waits(lane, bytes), held_for));
                assert!(homeless.is_over(waits("other", bytes), held_for));
                assert!(homeless.is_over(std::iter::empty(), held_for));
                let all_is_newer = homeless.is_over(waits(lane, bytes), held_for * 2);
                assert!(all_is_newer);
            }
        }
    }
}
