//! Sets of sequences, kept as ranges.
//!
//! A lane's account is kept with these: a sequence is *waiting* from the moment its record is
//! accepted until it is delivered or dropped, so what is buffered can be counted, never estimated.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of `u64` that is small when its members come in runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// Start of a run, and the first number after it. Runs neither touch nor overlap.
    runs: BTreeMap<u64, u64>,
    len: u64,
}

impl Ranges {
    /// How many numbers are in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.runs
            .range(..=number)
            .next_back()
            .is_some_and(|(_, end)| *end > number)
    }

    /// The smallest number of the set that is at least `from`.
    #[must_use]
    pub fn first_from(&self, from: u64) -> Option<u64> {
        if self.contains(from) {
            return Some(from);
        }
        self.runs.range(from..).next().map(|(start, _)| *start)
    }

    /// Numbers of runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// What lies between the runs.
    pub fn gaps(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let starts = self.runs.keys().skip(1);
        self.runs
            .values()
            .zip(starts)
            .map(|(end, start)| *end..*start)
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(start, end)| *start..*end)
    }

    /// The parts of the set that lie within `bounds`.
    pub fn within(&self, bounds: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self
            .runs
            .range(..=bounds.start)
            .next_back()
            .map_or(bounds.start, |(start, _)| *start);
        self.runs
            .range(first..bounds.end.max(first))
            .map(move |(start, end)| (*start).max(bounds.start)..(*end).min(bounds.end))
            .filter(|part| !part.is_empty())
    }

    /// Adds every number of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some(mut last) = self.runs.last_entry()
            && range.start == *last.get()
        {
            self.len += range.end - range.start;
            last.insert(range.end);
            return;
        }
        self.remove(range.clone());
        let (mut start, mut end) = (range.start, range.end);
        if let Some((before, touching)) =
            self.runs.range(..start).next_back().map(|(s, e)| (*s, *e))
            && touching == start
        {
            self.runs.remove(&before);
            start = before;
        }
        if let Some(after) = self.runs.remove(&end) {
            end = after;
        }
        self.runs.insert(start, end);
        self.len += range.end - range.start;
    }

    /// The numbers that are in both.
    #[must_use]
    pub fn common(&self, other: &Ranges) -> Ranges {
        other.iter().flat_map(|run| self.within(run)).collect()
    }

    pub fn remove_all(&mut self, other: &Ranges) {
        for run in other.iter() {
            self.remove(run);
        }
    }

    /// Takes every number of `range` out and returns how many were in.
    pub fn remove(&mut self, range: Range<u64>) -> u64 {
        let parts: Vec<Range<u64>> = self.within(range).collect();
        for part in &parts {
            let (start, end) = self
                .runs
                .range(..=part.start)
                .next_back()
                .map(|(start, end)| (*start, *end))
                .expect("a part lies within a run");
            self.runs.remove(&start);
            if start < part.start {
                self.runs.insert(start, part.start);
            }
            if part.end < end {
                self.runs.insert(part.end, end);
            }
            self.len -= part.end - part.start;
        }
        parts.iter().map(|part| part.end - part.start).sum()
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Ranges::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In lock-step with a plain set of numbers.
        #[test]
        fn a_set_of_ranges_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 1..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (add, start, length) in steps {
                let range = start..start + length;
                if add {
                    ranges.insert(range.clone());
                    model.extend(range);
                } else {
                    let inside = range.clone().filter(|n| model.remove(n)).count() as u64;
                    prop_assert_eq!(ranges.remove(range), inside);
                }
                prop_assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.len(), model.len() as u64);
                prop_assert_eq!(ranges.first_from(start), model.range(start..).next().copied());
                prop_assert_eq!(
                    ranges.within(start..start + 7).flatten().collect::<Vec<_>>(),
                    model.range(start..start + 7).copied().collect::<Vec<_>>()
                );
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end < b.start));
            }
        }
    }
}
