//! The origins that a source has seen, so that all events of one share it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::Origin;

/// By what tells them apart at their source.
#[derive(Debug)]
pub(crate) struct Origins<K> {
    known: HashMap<K, Arc<Origin>>,
    most: usize,
}

impl<K: Eq + Hash> Origins<K> {
    /// Beyond `most` all are forgotten and learnt again.
    pub(crate) fn new(most: usize) -> Origins<K> {
        Origins {
            known: HashMap::new(),
            most,
        }
    }

    /// The origin of `key`; `learn` makes it, and the key that is kept, where it is not known yet.
    pub(crate) fn of<Q>(&mut self, key: &Q, learn: impl FnOnce() -> (K, Origin)) -> Arc<Origin>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(known) = self.known.get(key) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.most {
            self.known.clear();
        }
        let (key, origin) = learn();
        let origin = Arc::new(origin);
        self.known.insert(key, Arc::clone(&origin));
        origin
    }
}
