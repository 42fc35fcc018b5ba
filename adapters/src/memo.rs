//! What is learnt and can be learnt again, bounded in bytes: whoever sends chooses what is to be remembered, and how large it is.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// What an entry takes besides its texts, roughly.
const ENTRY_BYTES: usize = 128;
/// An entry that is larger than this share of all is learnt again each time: it would push out what is used.
const SHARE: usize = 8;

#[derive(Debug)]
pub struct Memo<K, V> {
    known: HashMap<K, V>,
    bytes: usize,
    most: usize,
}

impl<K: Eq + Hash, V> Memo<K, V> {
    /// Beyond `most` bytes all is forgotten and learnt again.
    #[must_use]
    pub fn new(most: usize) -> Memo<K, V> {
        Memo {
            known: HashMap::new(),
            bytes: 0,
            most,
        }
    }

    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.known.get(key)
    }

    /// Remembers an entry that is not known, and holds so many `bytes` besides its own size.
    pub fn insert(&mut self, key: K, value: V, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        if bytes > self.most / SHARE {
            return;
        }
        if self.bytes + bytes > self.most {
            // Not `clear`, which keeps the room.
            (self.known, self.bytes) = (HashMap::new(), 0);
        }
        self.bytes += bytes;
        self.known.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_bound_and_what_is_used_again_is_known(
            sizes in prop::collection::vec(0_usize..4000, 1..300)
        ) {
            let mut memo: Memo<usize, usize> = Memo::new(16_000);
            for (key, bytes) in sizes.iter().copied().enumerate() {
                memo.insert(key, bytes, bytes);
                let held: usize = memo.known.values().map(|bytes| bytes + ENTRY_BYTES).sum();
                prop_assert!(held <= 16_000 && held == memo.bytes);
                prop_assert_eq!(memo.get(&key).is_some(), bytes + ENTRY_BYTES <= 2000);
            }
        }
    }
}
