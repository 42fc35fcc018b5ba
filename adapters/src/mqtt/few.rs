//! What was told already: a few things, so that whoever sends cannot make the log long.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

/// Things of one kind that are logged. What comes beyond them is only counted.
const MOST: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Few(HashSet<u64>);

impl Few {
    /// Whether this is to be told: for the first time, and of not too many.
    pub(super) fn is_news(&mut self, thing: &[u8]) -> bool {
        self.0.len() < MOST && self.0.insert(xxh3_64(thing))
    }

    /// All is news again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_told_once_and_not_too_many_are() {
        let mut few = Few::default();
        assert!(few.is_empty() && few.is_news(b"a") && !few.is_news(b"a"));
        let told = (0..100_u8).filter(|n| few.is_news(&[0, *n])).count();
        assert_eq!(told, MOST - 1);
        few.clear();
        assert!(few.is_news(b"a"), "again");
    }
}
