//! What became of the last configurations, and what somebody did about them by hand. Pure.

use serde::{Deserialize, Serialize};

use crate::config::Version;

/// Entries that are remembered.
const ENTRIES_MAX: usize = 50;

/// The last entries, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct History(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// By the system's clock, in UTC; it may be wrong.
    pub at: String,
    /// A state, or what somebody did: `retry`, `return` or `buffer repair`.
    pub what: String,
    /// SHA-256 of the file that was delivered, and of its layers.
    pub sha256: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub layers: String,
    /// Who did it; nobody where the agent itself came to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Entry {
    /// Of this version; `by` is who did it by hand.
    pub(super) fn of(
        what: &str,
        version: &Version,
        by: Option<&str>,
        why: Option<&str>,
        at: String,
    ) -> Entry {
        Entry {
            at,
            what: what.to_owned(),
            sha256: version.sha256.clone(),
            layers: version.layers.clone(),
            by: by.map(ToOwned::to_owned),
            why: why.map(ToOwned::to_owned),
        }
    }
}

impl History {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Takes a note of what has become of a configuration, if that is news.
    pub(super) fn becomes(
        &mut self,
        what: &str,
        version: &Version,
        why: Option<&str>,
        at: impl FnOnce() -> String,
    ) {
        let is_news = self
            .0
            .iter()
            .rfind(|one| one.by.is_none())
            .is_none_or(|last| {
                let last = (&*last.what, &last.sha256, &last.layers, last.why.as_deref());
                last != (what, &version.sha256, &version.layers, why)
            });
        if is_news {
            self.add(Entry::of(what, version, None, why, at()));
        }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.0.push(entry);
        let surplus = self.0.len().saturating_sub(ENTRIES_MAX);
        self.0.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Texts;

    #[test]
    fn each_change_is_noted_once_and_each_act_always_and_old_ones_are_forgotten() {
        let mut history = History::default();
        let version = Version::of_texts(&Texts::of("a"));
        for at in ["1", "2"] {
            history.becomes("proving", &version, None, || at.to_owned());
        }
        history.add(Entry::of(
            "retry",
            &version,
            Some("uid 0"),
            None,
            "3".into(),
        ));
        history.becomes("proving", &version, None, || "4".into());
        history.becomes("unproven", &version, Some("an outage"), || "5".into());
        history.becomes("unproven", &version, Some("a longer one"), || "6".into());
        let said: Vec<(&str, &str)> = history
            .entries()
            .iter()
            .map(|one| (&*one.at, &*one.what))
            .collect();
        assert_eq!(
            said,
            [
                ("1", "proving"),
                ("3", "retry"),
                ("5", "unproven"),
                ("6", "unproven")
            ]
        );
        for number in 0..100 {
            history.add(Entry::of(
                "return",
                &version,
                Some("uid 0"),
                None,
                number.to_string(),
            ));
        }
        assert_eq!(history.entries().len(), ENTRIES_MAX);
    }
}
