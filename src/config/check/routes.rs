//! What must fit together in the routes, and in what names an intent.

use adapters::{AdapterKind, Pattern};

use super::super::file::File;
use super::super::intents::Intents;
use super::sources::are_taken as sources_taken;
use super::{Problems, all_sources};
use crate::ingest::RouteSection;

pub(super) fn check(file: &File, intents: &Intents, found: &mut Problems<'_>) {
    for (index, route) in file.route.iter().enumerate() {
        if intents.id(&route.intent).is_none() {
            found.no_intent(format!("route[{index}].intent"), &route.intent, intents);
        }
        if let Some(Err(error)) = route.subject.as_deref().map(Pattern::parse) {
            found.error(format!("route[{index}].subject"), error.to_string());
        }
    }
    for (at, source) in all_sources(file) {
        for (key, name) in source.intents() {
            if intents.id(name).is_none() {
                found.no_intent(format!("{at}.{key}"), name, intents);
            }
        }
    }
    for (index, route) in file.route.iter().enumerate() {
        if !never(file, index, route, found) {
            covered(file, index, route, found);
        }
    }
}

/// Tells of a route for events that no source makes. Returns whether it is one.
fn never(file: &File, index: usize, route: &RouteSection, found: &mut Problems<'_>) -> bool {
    let sources: Vec<(&str, String)> = all_sources(file)
        .map(|(_, source)| (source.section(), source.name().to_owned()))
        .collect();
    if sources_taken(found) {
        return false;
    }
    let kind = route.adapter.map(AdapterKind::name);
    let named = route.source.as_ref();
    let of_source = |(_, name): &&(&str, String)| named.is_none_or(|named| named == name);
    let mut known = sources.iter().filter(of_source).peekable();
    if let Some(name) = named.filter(|_| known.peek().is_none()) {
        let names: Vec<&str> = sources.iter().map(|(_, name)| name.as_str()).collect();
        let what = format!(
            "no source is named `{name}`, so that this route never matches; there are {}",
            names.join(", ")
        );
        found.warn(format!("route[{index}].source"), what);
        return true;
    }
    let Some(kind) = kind.filter(|kind| !known.any(|(section, _)| section == kind)) else {
        return false;
    };
    let what = match named {
        Some(name) => format!(
            "`{name}` is no `{kind}` source, so that this route never matches; leave one of `adapter` and `source` out"
        ),
        None => {
            format!("there is no `{kind}` source, so that this route never matches; leave it out")
        }
    };
    found.warn(format!("route[{index}].adapter"), what);
    true
}

/// Tells of a route all of whose events an earlier one takes.
fn covered(file: &File, index: usize, route: &RouteSection, found: &mut Problems<'_>) {
    let mut before = file.route.iter().take(index);
    let Some(first) = before.position(|first| covers(first, route)) else {
        return;
    };
    let place = found.taken.written(&format!("route[{first}]"));
    let what = format!(
        "never matches: {place}, before it, takes all of its events; put the narrower route first, or leave this one out"
    );
    found.warn(format!("route[{index}]"), what);
}

/// Whether all that matches `route` matches `first`.
fn covers(first: &RouteSection, route: &RouteSection) -> bool {
    let is = |one: &Option<String>, other: &Option<String>| one.is_none() || one == other;
    let parse = |text: &String| Pattern::parse(text).ok();
    let subject = match (&first.subject, &route.subject) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(one), Some(other)) => parse(one)
            .zip(parse(other))
            .is_some_and(|(one, other)| one.covers(&other)),
    };
    let mut tags = first.tags.iter();
    subject
        && (first.adapter.is_none() || first.adapter == route.adapter)
        && is(&first.source, &route.source)
        && is(&first.kind, &route.kind)
        && is(&first.device, &route.device)
        && tags.all(|(name, value)| route.tags.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::super::super::load::problems_of;

    const SOURCE: &str =
        "[uplink]\nbrokers = [\"a:1\"]\n[[inference]]\nname = \"v\"\nsocket = \"/s\"\n";

    #[test]
    fn a_route_that_can_never_match_is_told_with_the_reason() {
        for (routes, said) in [
            (&["source = \"v\"", "kind = \"x\""][..], None),
            (&["kind = \"x\"", ""], None),
            (
                &["", "kind = \"x\""],
                Some("route[1]: never matches: route[0], before it, takes all"),
            ),
            (
                &["kind = \"x\"", "kind = \"x\"\ndevice = \"d\""],
                Some("route[1]: never matches"),
            ),
            (
                &["subject = \"v/#\"", "subject = \"v/+/x\""],
                Some("route[1]: never matches"),
            ),
            (&["subject = \"v/+/x\"", "subject = \"v/#\""], None),
            (&["tags = { a = \"1\" }", "tags = { a = \"2\" }"], None),
            (
                &["tags = { a = \"1\" }", "tags = { a = \"1\", b = \"2\" }"],
                Some("route[1]: never matches"),
            ),
            (
                &["source = \"w\""],
                Some(
                    "route[0].source: no source is named `w`, so that this route never matches; there are v",
                ),
            ),
            (
                &["adapter = \"mqtt\""],
                Some("route[0].adapter: there is no `mqtt` source"),
            ),
            (
                &["adapter = \"modbus\"\nsource = \"v\""],
                Some("route[0].adapter: `v` is no `modbus` source"),
            ),
        ] {
            let all = routes
                .iter()
                .map(|one| format!("[[route]]\n{one}\nintent = \"state\"\n"));
            let found = problems_of(&format!("{SOURCE}{}", all.collect::<String>()), &[]);
            let says = |said: &str| found.len() == 1 && found.iter().all(|one| one.contains(said));
            assert!(said.map_or(found.is_empty(), says), "{routes:?} {found:?}");
        }
    }
}
