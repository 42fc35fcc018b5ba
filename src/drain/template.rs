//! Templates for topics and keys: text with `{field}`s of the event and the gateway.

use std::collections::BTreeMap;

use adapters::Origin;

/// Kafka's own limit for a topic name (`org.apache.kafka.common.internals.Topic`).
pub(crate) const TOPIC_LENGTH_MAX: usize = 249;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    #[error("`{0}` has a `{{` without its `}}`")]
    Open(String),
    #[error("`{0}` names a field `{1}`; use letters, digits and `_`, as in `{{device}}`")]
    Name(String, String),
    #[error("an empty template gives no name")]
    Empty,
}

/// What the gateway gives to every template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub id: String,
    pub site: Option<String>,
    pub region: Option<String>,
    pub tags: BTreeMap<String, String>,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| TemplateError::Open(text.into()))?;
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err(TemplateError::Name(text.into(), name.into()));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Field(name.into()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template { parts })
    }

    /// Of a text that `check` refuses, so that everything else in the file is looked at as well.
    pub(crate) fn unreadable() -> Template {
        Template { parts: Vec::new() }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text between the fields.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Field(_) => None,
        })
    }

    /// Whether it names more of an event than where it is from, so that subjects of one device may differ in it.
    pub(crate) fn tells_subjects(&self) -> bool {
        let whose = |name: &str| matches!(name, "device" | "source" | "adapter");
        let given = |name: &str| matches!(name, "gateway" | "site" | "region" | "intent");
        self.names().any(|name| !whose(name) && !given(name))
    }

    /// Whether it names nothing of an event.
    pub(crate) fn is_constant(&self) -> bool {
        let given = |name: &str| matches!(name, "gateway" | "site" | "region" | "intent");
        self.names().all(given)
    }

    /// The text, if it is the same for all events of a gateway.
    pub(crate) fn constant(&self, intent: &str, identity: &Identity) -> Option<String> {
        let nothing = Origin::nowhere();
        self.is_constant()
            .then(|| self.render(&nothing, intent, identity))
            .flatten()
    }

    /// The text for this event; `None` when it has no value for a field.
    #[must_use]
    pub(crate) fn render(
        &self,
        origin: &Origin,
        intent: &str,
        identity: &Identity,
    ) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Field(name) => text.push_str(field(name, origin, intent, identity)?),
            }
        }
        Some(text)
    }
}

fn field<'a>(
    name: &str,
    origin: &'a Origin,
    intent: &'a str,
    identity: &'a Identity,
) -> Option<&'a str> {
    let value = match name {
        "gateway" => Some(identity.id.as_str()),
        "site" => identity.site.as_deref(),
        "region" => identity.region.as_deref(),
        "device" => Some(origin.device.as_str()),
        "kind" => Some(origin.kind.as_str()),
        "source" => Some(origin.source.as_str()),
        "adapter" => Some(origin.adapter.name()),
        "subject" => Some(origin.subject.as_str()),
        "intent" => Some(intent),
        tag => origin
            .tags
            .get(tag)
            .or_else(|| identity.tags.get(tag))
            .map(String::as_str),
    };
    value.filter(|value| !value.is_empty())
}

/// A legal Kafka topic name: other characters than letters, digits, `.`, `_` and `-` become `_`.
#[must_use]
pub(super) fn topic_name(text: &str) -> String {
    let legal = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(legal).take(TOPIC_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use adapters::{AdapterKind, Quality};
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn origin(device: &str) -> Origin {
        Origin {
            adapter: AdapterKind::Mqtt,
            source: "plant".into(),
            subject: "plant/a/press-3/alarm".into(),
            device: device.into(),
            kind: "alarm".into(),
            tags: BTreeMap::from([("line".into(), "a".into())]),
            intent: None,
            content_type: None,
            quality: Quality::Good,
        }
    }

    #[test]
    fn a_template_is_filled_from_event_and_gateway() {
        let identity = Identity {
            id: "gw-1".into(),
            site: Some("plant7".into()),
            ..Identity::default()
        };
        for (template, text) in [
            ("{site}.alerts", Some("plant7.alerts")),
            ("{site}-{line}.{kind}", Some("plant7-a.alarm")),
            ("{gateway}/{device}", Some("gw-1/press-3")),
            ("{region}.alerts", None),
            ("{nothing}", None),
            ("plain", Some("plain")),
        ] {
            let rendered = Template::parse(template).unwrap().render(
                &origin("press-3"),
                "critical",
                &identity,
            );
            assert_eq!(rendered.as_deref(), text, "{template}");
        }
        assert_eq!(
            Template::parse("{device}")
                .unwrap()
                .render(&origin(""), "state", &identity),
            None
        );
        for bad in ["", "{", "{device", "{}", "{de vice}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_name_is_always_legal_for_kafka(text in ".{0,300}") {
            let name = topic_name(&text);
            prop_assert!(name.len() <= 249);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
        }

        #[test]
        fn parsing_never_fails_on_text_without_braces(text in "[^{}]{1,40}") {
            let rendered = Template::parse(&text).unwrap().render(&origin("d"), "state", &Identity::default());
            prop_assert_eq!(rendered, Some(text));
        }
    }
}
