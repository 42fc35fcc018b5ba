//! What somebody does about the configuration by hand.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::history::Entry;
use super::Rollout;
use crate::config::{Loaded, Texts, Version};

impl Rollout {
    /// Somebody has the file tried again, as the command is called.
    pub(crate) fn tries_again(&mut self, what: &str, by: &str) {
        self.note_act(what, by);
        tracing::info!(
            by,
            "`tidegate config {what}`: the configuration in the file is tried again, also if it was gone back from"
        );
        self.record.forgets();
        self.record.hurries();
    }

    /// Somebody has gone back to what [`Rollout::back`] says: that counts as what delivered last.
    pub(crate) fn goes_back(&mut self, to: Arc<Loaded>, by: &str) {
        self.note_act("return", by);
        tracing::warn!(
            by,
            from = self.version.short(),
            to = to.version().short(),
            "`tidegate config return`: the configuration that delivered before runs again; the one that ran is not tried again until it is another, or `tidegate config retry`"
        );
        self.returns(&format!("`tidegate config return` by {by}"));
        self.record.proved = Some(to.version().clone());
        (self.proved, self.before) = (Some(to), None);
        self.write_kept();
    }

    fn note_act(&mut self, what: &str, by: &str) {
        let now = Timestamp::now().to_string();
        self.record
            .acts(Entry::of(what, &self.version, Some(by), None, now));
    }

    /// What somebody did by hand since this was last asked.
    pub(crate) fn take_acts(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.record.untold)
    }

    /// What `tidegate config return` goes back to.
    pub(crate) fn back(&self) -> Option<&Arc<Loaded>> {
        if self.record.is_proved(&self.version) {
            self.before.as_ref()
        } else {
            self.proved.as_ref()
        }
    }

    /// Somebody here wants this text tried whatever vouches for it.
    pub(super) fn forces_texts(&mut self, texts: &Texts) {
        self.record.forces(&Version::of_texts(texts).sha256);
    }
}
