//! Why a configuration is not tried yet: what waits on disk would have no place with it. Pure.

use crate::config::Loaded;

/// What of a lane waits on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub lane: &'a str,
    pub events: u64,
    pub bytes: u64,
}

/// The lanes that a configuration which was delivered has no place for.
#[derive(Debug)]
pub(super) struct Homeless(Vec<(String, u64)>);

/// What of this waits with no place in `new`, and why that is a reason not to try it, in words for whoever pushed it.
pub(super) fn homeless<'a>(
    waiting: impl Iterator<Item = Waiting<'a>>,
    new: &Loaded,
) -> Option<(Homeless, String)> {
    let budget = |lane: &str| {
        let intents = &new.settings.intents;
        let id = intents.id(lane)?;
        Some(intents.get(id).lane.budget)
    };
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let mut why = Vec::new();
    let mut lanes = Vec::new();
    for one in waiting {
        let Waiting {
            lane,
            events,
            bytes,
        } = one;
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
        lanes.push((lane.to_owned(), room.unwrap_or(0)));
    }
    (!lanes.is_empty()).then(|| {
        let why = why.join("; ");
        let what =
            "it is tried once they are delivered, or at once with `tidegate config retry --force`";
        (Homeless(lanes), format!("{why}; {what}"))
    })
}

impl Homeless {
    /// There is a place for all that still waits.
    pub(super) fn is_over<'a>(&self, mut waiting: impl Iterator<Item = Waiting<'a>>) -> bool {
        let is_homeless = |one: &Waiting<'_>| {
            let mut lanes = self.0.iter();
            lanes.any(|(lane, room)| lane == one.lane && one.bytes > *room)
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
        let events = 7;
        std::iter::once(Waiting {
            lane,
            events,
            bytes,
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
            let found = homeless(waits(lane, bytes), &new);
            let why = found.as_ref().map(|(_, why)| why.as_str());
            assert_eq!(why.is_some(), said.is_some(), "{lane} {bytes}");
            if let (Some((homeless, why)), Some(said)) = (found, said) {
                assert!(why.contains(said), "{why}");
                assert!(!homeless.is_over(waits(lane, bytes)));
                assert!(homeless.is_over(waits("other", bytes)));
                assert!(homeless.is_over(std::iter::empty()));
            }
        }
    }
}
