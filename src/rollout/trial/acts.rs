//! What somebody does about the configuration by hand.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Rollout, Step};
use crate::config::{Loaded, Texts, Version};

impl Rollout {
    /// What somebody asked for by hand, to be done: to go back from what runs, or to try the file again.
    pub(crate) fn obeys(&mut self, what: &str, by: &str) -> Option<Step> {
        let now = Timestamp::now().to_string();
        self.record.history.acts(what, &self.version, by, &now);
        if what != "return" {
            tracing::info!(
                by,
                what,
                "`tidegate config retry`: the configuration in the file is tried again, also if it was gone back from"
            );
            self.forgets();
            return Some(Step::TryAgain);
        }
        let Some(back) = self.back().cloned() else {
            tracing::warn!(
                by,
                "`tidegate config return`: there is no configuration before this one to go back to; it goes on"
            );
            return None;
        };
        tracing::warn!(
            by,
            from = self.version.short(),
            to = back.version().short(),
            "`tidegate config return`: the configuration that delivered before runs again"
        );
        self.returns(&format!("`tidegate config return` by {by}"));
        self.record.is_all_that_is_left(back.version());
        (self.proved, self.before) = (Some(back), None);
        self.write_kept();
        Some(Step::Return)
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
    pub(crate) fn forces(&mut self, texts: &Texts) {
        self.record.forces(&Version::of_texts(texts).sha256);
    }

    /// Nothing was gone back from.
    pub(crate) fn forgets(&mut self) {
        self.record.forgets();
        self.doubt_until = None;
    }
}
