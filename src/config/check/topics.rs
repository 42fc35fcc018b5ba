//! Names of Kafka's topics. What Kafka does not take in one becomes `_`, so that events of several topics may end in one.

use super::super::file::File;
use super::Problems;
use crate::drain::{TOPIC_LENGTH_MAX, Template};

pub(super) fn check(file: &File, found: &mut Problems<'_>) {
    let intents = file.intent.iter().enumerate();
    let topics = intents.filter_map(|(index, section)| {
        Some((format!("intent[{index}].topic"), section.topic.as_ref()?))
    });
    let templates = topics.filter_map(|(at, text)| Some((at, text, Template::parse(text).ok()?)));
    for (at, text, template) in templates {
        let parts: Vec<&str> = template.texts().collect();
        let is_whole = template.names().next().is_none();
        if let Some(flaw) = flaw(text, &parts, is_whole) {
            found.tolerate(at, flaw);
        }
    }
    let fallback = &file.uplink.fallback_topic;
    if let Some(flaw) = flaw(fallback, &[fallback], true) {
        found.tolerate("uplink.fallback_topic", flaw);
    }
}

/// What is wrong with a topic's name of which these `parts` are known (`org.apache.kafka.common.internals.Topic`).
fn flaw(text: &str, parts: &[&str], is_whole: bool) -> Option<String> {
    if is_whole && matches!(text, "" | "." | "..") {
        return Some(format!(
            "`{text}` is no name that Kafka takes for a topic; use one like \"plant7.alarms\""
        ));
    }
    let legal = |one: &char| one.is_ascii_alphanumeric() || "._-".contains(*one);
    let illegal = parts
        .iter()
        .flat_map(|part| part.chars())
        .find(|one| !legal(one));
    if let Some(one) = illegal {
        let right = text.replace('/', ".");
        let such = if one == '/' {
            format!(", such as `{right}`")
        } else {
            String::new()
        };
        return Some(format!(
            "`{text}` has a `{one}`, which no name of a topic may have, and for which the agent puts `_`; use letters, digits, `.`, `_` and `-`{such}"
        ));
    }
    let length: usize = parts.iter().map(|part| part.len()).sum();
    (length > TOPIC_LENGTH_MAX).then(|| {
        format!("`{text}` is longer than the {TOPIC_LENGTH_MAX} characters that a topic's name may have, and is cut there; use a shorter one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_kafka_does_not_take_is_told_by_what_is_wrong_in_it() {
        for (text, said) in [
            ("plant7.alarms_a-B", None),
            ("{site}.{kind}", None),
            (
                "plant/alarms",
                Some("has a `/`, which no name of a topic may have"),
            ),
            ("plant/alarms", Some("such as `plant.alarms`")),
            ("{site}/alarms", Some("has a `/`")),
            ("alarms hall", Some("has a ` `")),
            (".", Some("is no name that Kafka takes")),
            ("..", Some("is no name that Kafka takes")),
            (&"x".repeat(250), Some("249 characters")),
        ] {
            let template = Template::parse(text).unwrap();
            let parts: Vec<&str> = template.texts().collect();
            let flaw = flaw(text, &parts, template.names().next().is_none());
            let says = said.map_or(flaw.is_none(), |said| {
                flaw.iter().any(|it| it.contains(said))
            });
            assert!(says, "{text}: {flaw:?}");
        }
    }
}
