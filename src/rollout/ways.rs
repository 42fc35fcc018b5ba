//! The two ways that a configuration comes by: dropped as a file, or pulled from a URL. The one that this gateway saw change last
//! counts; no time that is written on a file does, since clocks are wrong. Pure.

use serde::{Deserialize, Serialize};

/// A way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// Dropped in the place of the file.
    #[default]
    File,
    /// Pulled from `fleet.url`.
    Url,
}

/// SHA-256 of the texts that they brought last, as far as this gateway has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Last {
    pub file: String,
    pub url: String,
}

impl By {
    /// As in `state.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            By::File => "file",
            By::Url => "url",
        }
    }
}

impl Last {
    /// These are there now: what changed says which counts, where `by` did. Returns whether that is another.
    pub(super) fn sees(&mut self, by: &mut By, file: Option<&str>, url: Option<&str>) -> bool {
        let before = *by;
        let is_first = self.file.is_empty();
        let is_another = |now: Option<&str>, last: &str| now.is_some_and(|now| now != last);
        let (dropped, pulled) = (is_another(file, &self.file), is_another(url, &self.url));
        if let Some(file) = file.filter(|_| dropped) {
            (*by, self.file) = (By::File, file.to_owned());
        }
        // Where nothing was seen before, as after this note was lost, which is later is not known: the file counts, and the other
        // when it is pulled once more.
        if let Some(url) = url.filter(|_| pulled && !(dropped && is_first)) {
            url.clone_into(&mut self.url);
            if !dropped {
                *by = By::Url;
            }
        }
        if url.is_none() {
            *by = By::File;
        }
        *by != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_changed_last_counts() {
        let (mut last, mut counts) = (Last::default(), By::default());
        for (file, url, by) in [
            (Some("a"), None, By::File),
            (Some("a"), Some("x"), By::Url),
            (Some("a"), Some("x"), By::Url),
            (Some("b"), Some("x"), By::File),
            (Some("b"), Some("x"), By::File),
            (Some("b"), Some("y"), By::Url),
            // The file is being replaced.
            (None, Some("y"), By::Url),
            (Some("b"), Some("y"), By::Url),
            // Both at once, as between two starts: somebody was here.
            (Some("c"), Some("z"), By::File),
            (Some("c"), Some("z"), By::File),
            (Some("c"), Some("y"), By::Url),
            // What was pulled is lost.
            (Some("c"), None, By::File),
        ] {
            last.sees(&mut counts, file, url);
            assert_eq!(counts, by, "{file:?} {url:?}");
        }
    }

    #[test]
    fn where_the_note_was_lost_the_file_counts_until_the_other_is_pulled_once_more() {
        let (mut last, mut by) = (Last::default(), By::default());
        last.sees(&mut by, Some("a"), Some("x"));
        assert_eq!((by, last.url.as_str()), (By::File, ""));
        assert!(last.sees(&mut by, Some("a"), Some("x")));
        assert_eq!(by, By::Url);
    }
}
