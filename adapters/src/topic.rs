//! Topic filters whose levels may have names.

use std::fmt;

/// `plant/{line}/{device}/alarm/#`: an MQTT topic filter (MQTT 3.1.1 section 4.7) in which `{name}`
/// stands for `+` and takes the level's text.
///
/// Of a shared subscription, `$share/group/plant/#` (MQTT 5 section 4.8.2), the part behind the group is what topics match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Of a shared subscription.
    group: Option<String>,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Is(String),
    Any,
    Named(String),
    Rest,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    #[error("an empty topic filter matches nothing")]
    Empty,
    #[error(
        "`{0}` is no shared subscription; it needs the name of a group without `+` and `#`, and a filter behind it, as in `$share/gateways/plant/#`"
    )]
    Share(String),
    #[error("in `{0}` the `#` must be the last level and stand alone")]
    Rest(String),
    #[error(
        "in `{0}` the level `{1}` mixes a wildcard with text; a wildcard stands alone between slashes"
    )]
    Mixed(String, String),
    #[error(
        "in `{0}` the level `{1}` is not a name; use letters, digits and `_`, as in `{{device}}`"
    )]
    Name(String, String),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let (group, filter) = share(text)?;
        let count = filter.split('/').count();
        let levels = filter
            .split('/')
            .enumerate()
            .map(|(index, level)| match level {
                "+" => Ok(Level::Any),
                "#" if index + 1 == count => Ok(Level::Rest),
                _ if level.contains('#') => Err(PatternError::Rest(text.into())),
                _ if level.contains('+') => Err(PatternError::Mixed(text.into(), level.into())),
                _ => match level
                    .strip_prefix('{')
                    .and_then(|rest| rest.strip_suffix('}'))
                {
                    Some(name) if is_name(name) => Ok(Level::Named(name.into())),
                    Some(_) => Err(PatternError::Name(text.into(), level.into())),
                    None if level.contains(['{', '}']) => {
                        Err(PatternError::Mixed(text.into(), level.into()))
                    }
                    None => Ok(Level::Is(level.into())),
                },
            });
        Ok(Pattern {
            group: group.map(str::to_owned),
            levels: levels.collect::<Result<_, _>>()?,
        })
    }

    /// The filter as the broker understands it.
    #[must_use]
    pub fn filter(&self) -> String {
        let levels = self.levels.iter().map(|level| match level {
            Level::Is(text) => text.as_str(),
            Level::Any | Level::Named(_) => "+",
            Level::Rest => "#",
        });
        let filter = levels.collect::<Vec<_>>().join("/");
        match &self.group {
            Some(group) => format!("{SHARE}{group}/{filter}"),
            None => filter,
        }
    }

    /// The named levels of `topic`, if it matches.
    #[must_use]
    pub fn capture<'a>(&'a self, topic: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        // MQTT 3.1.1 section 4.7.2: a wildcard at the start does not match a topic of the broker's own.
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Is(_))) {
            return None;
        }
        let mut captured = Vec::new();
        let mut topic = topic.split('/');
        for level in &self.levels {
            match (level, topic.next()) {
                (Level::Rest, _) => return Some(captured),
                (Level::Is(text), Some(part)) if text == part => {}
                (Level::Any, Some(_)) => {}
                (Level::Named(name), Some(part)) => captured.push((name.as_str(), part)),
                (Level::Is(_), Some(_)) | (Level::Is(_) | Level::Any | Level::Named(_), None) => {
                    return None;
                }
            }
        }
        topic.next().is_none().then_some(captured)
    }

    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.capture(topic).is_some()
    }

    /// What both match, with the names of this one, if there is any such topic.
    #[must_use]
    pub fn meet(&self, other: &Pattern) -> Option<Pattern> {
        // A wildcard at the start matches no topic of the broker's own.
        let own = |pattern: &Pattern| matches!(pattern.levels.first(), Some(Level::Is(text)) if text.starts_with('$'));
        let open = |pattern: &Pattern| !matches!(pattern.levels.first(), Some(Level::Is(_)));
        if own(self) && open(other) || own(other) && open(self) {
            return None;
        }
        let mut levels = Vec::new();
        let (mut left, mut right) = (self.levels.iter(), other.levels.iter());
        loop {
            match (left.next(), right.next()) {
                (None | Some(Level::Rest), None) | (None, Some(Level::Rest)) => break,
                (Some(Level::Rest), Some(level)) => {
                    levels.push(level.clone());
                    levels.extend(right.cloned());
                    break;
                }
                (Some(level), Some(Level::Rest)) => {
                    levels.push(level.clone());
                    levels.extend(left.cloned());
                    break;
                }
                (Some(Level::Is(one)), Some(Level::Is(two))) if one != two => return None,
                (Some(Level::Any), Some(level)) => levels.push(level.clone()),
                // A name stays, with what the level must be, only where that is open.
                (Some(Level::Named(_)), Some(Level::Is(text))) => {
                    levels.push(Level::Is(text.clone()));
                }
                (Some(level), Some(_)) => levels.push(level.clone()),
                (Some(_), None) | (None, Some(_)) => return None,
            }
        }
        let group = self.group.clone();
        Some(Pattern { group, levels })
    }

    /// Whether it matches every topic that `other` matches, whatever their groups.
    #[must_use]
    pub fn covers(&self, other: &Pattern) -> bool {
        // A wildcard at the start matches no topic of the broker's own.
        let own = matches!(other.levels.first(), Some(Level::Is(text)) if text.starts_with('$'));
        if own && !matches!(self.levels.first(), Some(Level::Is(_))) {
            return false;
        }
        let mut others = other.levels.iter();
        for level in &self.levels {
            match (level, others.next()) {
                (Level::Rest, _) => return true,
                (
                    Level::Any | Level::Named(_),
                    Some(Level::Is(_) | Level::Any | Level::Named(_)),
                ) => {}
                (Level::Is(one), Some(Level::Is(two))) if one == two => {}
                (Level::Is(_) | Level::Any | Level::Named(_), _) => return false,
            }
        }
        others.next().is_none()
    }

    /// Whether both spell out the same level at the same place.
    #[must_use]
    pub fn names_level_of(&self, other: &Pattern) -> bool {
        let both = self.levels.iter().zip(&other.levels);
        let mut both = both.filter(|(one, _)| matches!(one, Level::Is(_)));
        both.any(|(one, two)| one == two)
    }

    /// Whether it is `#`, which matches every topic but the broker's own.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.levels == [Level::Rest]
    }

    /// A topic that it matches: `named` says what a level with a name is to be, and `other` stands at the wildcards.
    #[must_use]
    pub fn example<'a>(
        &'a self,
        named: impl Fn(&str) -> Option<&'a str>,
        other: &'a str,
    ) -> String {
        let levels = self.levels.iter().map(|level| match level {
            Level::Is(text) => text.as_str(),
            Level::Named(name) => named(name).unwrap_or(other),
            Level::Any | Level::Rest => other,
        });
        levels.collect::<Vec<_>>().join("/")
    }

    /// The names that a match gives.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|level| match level {
            Level::Named(name) => Some(name.as_str()),
            Level::Is(_) | Level::Any | Level::Rest => None,
        })
    }
}

/// What a shared subscription begins with.
const SHARE: &str = "$share/";

/// The group of a shared subscription, and the filter.
fn share(text: &str) -> Result<(Option<&str>, &str), PatternError> {
    let Some(shared) = text.strip_prefix(SHARE) else {
        return Ok((None, text));
    };
    let parts = shared.split_once('/');
    let is_right = |(group, filter): &(&str, &str)| {
        !group.is_empty() && !group.contains(['+', '#', '{', '}']) && !filter.is_empty()
    };
    let (group, filter) = parts
        .filter(is_right)
        .ok_or_else(|| PatternError::Share(text.into()))?;
    Ok((Some(group), filter))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.filter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_another_where_it_takes_all_of_its_topics() {
        for (one, other, covers) in [
            ("#", "a/b", true),
            ("#", "#", true),
            ("a/#", "a", true),
            ("a/#", "a/+/{device}", true),
            ("a/+", "a/{device}", true),
            ("$share/g/a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("+/b", "a/c", false),
            ("a/+/c", "a/b", false),
            ("a", "a/b", false),
            ("#", "$SYS/broker", false),
            ("+/broker", "$SYS/broker", false),
            ("$SYS/#", "$SYS/broker", true),
        ] {
            let parse = |text| Pattern::parse(text).unwrap();
            assert_eq!(parse(one).covers(&parse(other)), covers, "{one} {other}");
        }
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, matches) in [
            ("sport/tennis/#", "sport/tennis", true),
            ("sport/tennis/#", "sport/tennis/player1/score", true),
            ("sport/+", "sport/tennis/player1", false),
            ("sport/+", "sport/", true),
            ("+/monitor", "$SYS/monitor", false),
            ("#", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("+/+", "/finance", true),
            ("+", "/finance", false),
        ] {
            assert_eq!(
                Pattern::parse(filter).unwrap().matches(topic),
                matches,
                "{filter} {topic}"
            );
        }
    }

    #[test]
    fn named_levels_are_taken_from_the_topic() {
        let pattern = Pattern::parse("plant/{line}/{device}/alarm/+").unwrap();
        assert_eq!(pattern.filter(), "plant/+/+/alarm/+");
        assert_eq!(
            pattern.capture("plant/a/press-3/alarm/door"),
            Some(vec![("line", "a"), ("device", "press-3")])
        );
        assert_eq!(pattern.capture("plant/a/press-3/state/door"), None);
    }

    #[test]
    fn a_shared_subscription_matches_what_its_filter_matches() {
        let pattern = Pattern::parse("$share/gw/plant/{device}/state/#").unwrap();
        assert_eq!(pattern.filter(), "$share/gw/plant/+/state/#");
        let device = pattern.capture("plant/press-3/state/temp");
        assert_eq!(device, Some(vec![("device", "press-3")]));
        assert_eq!(pattern.capture("$share/gw/plant/press-3/state/temp"), None);
        let all = Pattern::parse("$share/gw/#").unwrap();
        assert!(all.matches("plant/press-3") && !all.matches("$SYS/uptime"));
    }

    #[test]
    fn what_two_filters_both_match_is_a_filter() {
        for (one, two, both) in [
            ("a/{device}/c", "a/b/+", Some("a/b/c")),
            ("a/#", "+/b/c", Some("a/b/c")),
            ("+/b/c", "a/#", Some("a/b/c")),
            ("#", "a/+/#", Some("a/+/#")),
            ("a/#", "a", Some("a")),
            ("a", "a/#", Some("a")),
            ("a/+", "a", None),
            ("a/b", "a/c", None),
            ("a/b", "a/b/c", None),
            ("#", "$aws/things", None),
            ("$aws/things", "+/things", None),
            ("$aws/#", "$aws/+/shadow", Some("$aws/+/shadow")),
            ("$share/gw/a/#", "a/b", Some("$share/gw/a/b")),
        ] {
            let parse = |text| Pattern::parse(text).unwrap();
            let met = parse(one).meet(&parse(two)).map(|met| met.filter());
            assert_eq!(met.as_deref(), both, "{one} {two}");
        }
    }

    #[test]
    fn an_example_of_a_filter_is_a_topic_that_it_matches() {
        let pattern = Pattern::parse("plant/{line}/{device}/+/#").unwrap();
        let named = |name: &str| (name == "device").then_some("press-3");
        let topic = pattern.example(named, "?");
        assert_eq!(topic, "plant/?/press-3/?/?");
        assert!(pattern.matches(&topic));
    }

    #[test]
    fn what_is_not_a_filter_is_named() {
        for text in [
            "$share/",
            "$share/gw",
            "$share/gw/",
            "$share//a",
            "$share/+/a",
            "",
            "a/#/b",
            "a/b#",
            "a/x+",
            "a/{b}c",
            "a/{}",
            "a/{b-c}",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
