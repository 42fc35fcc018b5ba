//! Which sources are well, as far as a configuration is judged by it. Pure: time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A source counts as well until it had its time to be well again: what a reload, or a configuration that was gone back from, has cut
/// off was well before.
#[derive(Debug)]
pub(super) struct Wellness(BTreeMap<String, Instant>);

impl Wellness {
    pub(super) fn new(names: impl Iterator<Item = String>, now: Instant) -> Wellness {
        Wellness(names.map(|name| (name, now)).collect())
    }

    /// All have their time anew: an agent begins, and none of its sources can be well yet.
    pub(super) fn begins(&mut self, now: Instant) {
        self.0.values_mut().for_each(|at| *at = now);
    }

    /// Takes down which sources are well now. With `patience` those that have not been well for so long count no longer; there is none
    /// while a configuration is on trial, which may be the reason.
    pub(super) fn look(
        &mut self,
        sources: &[(&str, bool)],
        patience: Option<impl Fn(&str) -> Duration>,
        now: Instant,
    ) {
        for (name, _) in sources.iter().filter(|(_, well)| *well) {
            match self.0.get_mut(*name) {
                Some(at) => *at = now,
                None => {
                    self.0.insert((*name).to_owned(), now);
                }
            }
        }
        if let Some(patience) = patience {
            self.0
                .retain(|name, at| now.saturating_duration_since(*at) < patience(name));
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// (what is asked at each second, what is well then, whether a configuration is on trial) and what is said of the source then.
    #[test]
    fn a_source_counts_as_well_until_it_had_its_time_without_a_trial() {
        let start = Instant::now();
        let mut wellness = Wellness::new(std::iter::empty(), start);
        let at = |s| start + Duration::from_secs(s);
        for (second, well, on_trial, counts) in [
            (1, false, false, false),
            (2, true, false, true),
            (3, false, false, true),
            (61, false, false, true),
            (62, false, false, false),
            (63, true, false, true),
            (70, false, true, true),
            (700, false, true, true),
            // Gone back from.
            (701, false, false, false),
        ] {
            let patience = (!on_trial).then_some(|_: &str| PATIENCE);
            wellness.look(&[("plant", well)], patience, at(second));
            assert_eq!(wellness.contains("plant"), counts, "second {second}");
        }
    }

    #[test]
    fn the_time_begins_anew_with_each_agent() {
        let start = Instant::now();
        let mut wellness = Wellness::new(["plant".to_owned()].into_iter(), start);
        let later = start + Duration::from_mins(10);
        wellness.begins(later);
        wellness.look(&[("plant", false)], Some(|_: &str| PATIENCE), later);
        assert!(wellness.contains("plant"));
        wellness.look(
            &[("plant", false)],
            Some(|_: &str| PATIENCE),
            later + PATIENCE,
        );
        assert!(!wellness.contains("plant"));
    }
}
