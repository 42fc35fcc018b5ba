//! The origins that a source has seen, so that all events of one share it.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use crate::{Memo, Origin};

/// By what tells them apart at their source.
#[derive(Debug)]
pub(crate) struct Origins<K>(Memo<K, Arc<Origin>>);

impl<K: Eq + Hash> Origins<K> {
    /// Beyond `most` bytes all are forgotten and learnt again.
    pub(crate) fn new(most: usize) -> Origins<K> {
        Origins(Memo::new(most))
    }

    /// The origin of `key`. Where it is not known yet `learn` makes it, and `keep` the key by which it is remembered.
    pub(crate) fn of<Q>(
        &mut self,
        key: &Q,
        learn: impl FnOnce() -> Origin,
        keep: impl FnOnce(&Arc<Origin>) -> K,
    ) -> Arc<Origin>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(known) = self.0.get(key) {
            return Arc::clone(known);
        }
        let origin = Arc::new(learn());
        // The key may be a text of its own, as long as the subject.
        let bytes = origin.bytes() + origin.subject.len() + size_of::<Origin>();
        self.0.insert(keep(&origin), Arc::clone(&origin), bytes);
        origin
    }
}
