//! What of `[[mqtt]]` can never work, and what works and is hardly meant. Neither keeps a gateway from starting: versions before
//! let both through.

use std::path::PathBuf;

use super::section::MqttSection;
use crate::SecretRef;
use crate::endpoint::host_flaw;
use crate::topic::Pattern;

impl MqttSection {
    /// What can never be connected to: the key below the section, and what would be right.
    #[must_use]
    pub fn futile(&self) -> Vec<(String, String)> {
        let host = host_flaw(&self.host).map(|flaw| ("host".into(), flaw));
        let port = (self.port == Some(0))
            .then(|| ("port".into(), "`0` is no port; use 1 to 65535".into()));
        host.into_iter().chain(port).collect()
    }

    /// Files that it cannot begin without: the key below the section, and the path.
    #[must_use]
    pub fn needed_files(&self) -> Vec<(String, PathBuf)> {
        let password = self.password.as_ref().and_then(SecretRef::path);
        let password = password.map(|path| ("password".into(), path));
        let tls = self.tls.iter().flat_map(|tls| tls.files().named());
        let tls = tls.map(|(key, path)| (format!("tls.{key}"), path));
        password.into_iter().chain(tls).collect()
    }

    /// Subscriptions of which no message is ever taken: the key below the section, and what would be right.
    #[must_use]
    pub fn doubts(&self) -> Vec<(String, String)> {
        let filters = self.subscribe.iter().map(|one| Pattern::parse(&one.topic));
        let filters: Vec<Option<Pattern>> = filters.map(Result::ok).collect();
        let doubt = |(index, filter): (usize, &Option<Pattern>)| {
            let filter = filter.as_ref()?;
            let mut before = filters.iter().take(index).flatten();
            let first = before.find(|first| first.covers(filter))?;
            let topic = &self.subscribe.get(index)?.topic;
            let what = if first.filter() == filter.filter() {
                format!(
                    "`{topic}` is subscribed to twice, and what the first says of its messages counts; leave one of them out"
                )
            } else {
                format!(
                    "`{topic}` says nothing of any message: `{first}`, before it, takes all of its topics; put the narrower filter first"
                )
            };
            Some((format!("subscribe[{index}].topic"), what))
        };
        filters.iter().enumerate().filter_map(doubt).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> MqttSection {
        toml::from_str(&format!("name = \"x\"\n{text}")).unwrap()
    }

    #[test]
    fn what_can_never_be_connected_to_is_told() {
        for (text, keys) in [
            ("host = \"broker\"\nport = 1883\n", &[][..]),
            ("host = \"mqtt://broker\"\n", &["host"]),
            ("host = \"\"\nport = 0\n", &["host", "port"]),
        ] {
            let said = section(&format!("{text}subscribe = []\n")).futile();
            assert!(said.iter().map(|(key, _)| key).eq(keys), "{text}: {said:?}");
        }
    }

    #[test]
    fn a_filter_whose_topics_an_earlier_one_takes_is_told() {
        for (filters, said) in [
            (
                &["a/{device}", "a/{line}"][..],
                Some("is subscribed to twice"),
            ),
            (&["a/#", "a/b"], Some("put the narrower filter first")),
            (&["a/b", "a/#"], None),
            (&["a/+", "a/+/c"], None),
            (&["#", "$SYS/#"], None),
        ] {
            let all = filters
                .iter()
                .map(|one| format!("[[subscribe]]\ntopic = \"{one}\"\n"));
            let doubts = section(&all.collect::<String>()).doubts();
            assert_eq!(doubts.len(), usize::from(said.is_some()), "{doubts:?}");
            for (doubt, said) in doubts.iter().zip(said) {
                assert!(
                    doubt.0 == "subscribe[1].topic" && doubt.1.contains(said),
                    "{doubt:?}"
                );
            }
        }
    }
}
