//! What must fit together in the sources: each has a name, a socket, a file and a session of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::file::File;
use super::super::intents::is_name;
use super::{Problems, all_sources};

const SECTIONS: [&str; 3] = ["mqtt", "modbus", "inference"];

pub(super) fn check(file: &File, found: &mut Problems<'_>) {
    let mut names = BTreeSet::new();
    let mut any = false;
    for (at, source) in all_sources(file) {
        any = true;
        let name = source.name();
        if !names.insert(name.to_owned()) {
            found.error(
                format!("{at}.name"),
                format!("`{name}` is the name of another source; each needs its own"),
            );
        }
        if !is_name(name) {
            found.error(
                format!("{at}.name"),
                format!("`{name}` is not a name; use letters, digits, `-` and `_`"),
            );
        }
        for (key, message) in source.problems() {
            found.error(format!("{at}.{key}"), message);
        }
        for (key, message) in source.futile() {
            found.tolerate(
                format!("{at}.{key}"),
                format!("{message}; it is never connected so"),
            );
        }
        for (key, message) in source.doubts() {
            found.warn(format!("{at}.{key}"), message);
        }
    }
    if !any && !are_taken(found) {
        found.warn(
            "mqtt",
            "there is no source; add an [[mqtt]], [[modbus]] or [[inference]] section",
        );
    }
    inputs(file, found);
    sessions(file, found);
}

/// Whether some that are in the file cannot be read, so that it is not known which there are.
pub(super) fn are_taken(found: &Problems<'_>) -> bool {
    let mut sections = SECTIONS.iter();
    sections.any(|section| found.taken.is_of(section))
}

/// Two on one socket take it from each other; two that follow one file each make events of it.
fn inputs(file: &File, found: &mut Problems<'_>) {
    let (mut sockets, mut tails) = (BTreeMap::new(), BTreeMap::new());
    let status = file.gateway.state_dir.join("status.sock");
    sockets.insert(status.as_path(), "the agent's own status".to_owned());
    for (index, input) in file.inference.iter().enumerate() {
        let at = |key: &str| format!("inference[{index}].{key}");
        if let Some(path) = &input.socket
            && let Some(other) = taken(&mut sockets, path, &input.name)
        {
            let what = format!(
                "`{}` is the socket of {other} too, and one of them never hears anything; give each its own",
                path.display()
            );
            found.tolerate(at("socket"), what);
        }
        if let Some(path) = &input.tail
            && let Some(other) = taken(&mut tails, path, &input.name)
        {
            let what = format!(
                "`{}` is followed by {other} too: each line of a file becomes two events, and of a FIFO each gets a part; leave one of them out",
                path.display()
            );
            found.warn(at("tail"), what);
        }
    }
}

/// Whose it is already; else it is `name`'s.
fn taken<'a>(all: &mut BTreeMap<&'a Path, String>, path: &'a Path, name: &str) -> Option<String> {
    let other = all.get(path).cloned();
    if other.is_none() {
        all.insert(path, format!("`{name}`"));
    }
    other
}

/// A broker closes the connection of a client when another comes with its id (MQTT 5 section 3.1.4).
fn sessions(file: &File, found: &mut Problems<'_>) {
    let mut sessions = BTreeMap::new();
    for (index, mqtt) in file.mqtt.iter().enumerate() {
        let Some(id) = &mqtt.client_id else { continue };
        let session = (mqtt.host.as_str(), mqtt.port, id.as_str());
        if let Some(other) = sessions.insert(session, mqtt.name.as_str()) {
            found.warn(
                format!("mqtt[{index}].client_id"),
                format!("`{id}` is the client id of `{other}` at the same broker too, which lets one in and throws the other out, for ever; give each its own"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::load::problems_of;

    #[test]
    fn what_two_sources_cannot_share_is_told_by_name() {
        let uplink = "[uplink]\nbrokers = [\"a:1\"]\n[gateway]\nstate_dir = \"/state\"\n";
        let input = |name: &str, what: &str| format!("[[inference]]\nname = \"{name}\"\n{what}\n");
        let mqtt = |name: &str| {
            format!(
                "[[mqtt]]\nname = \"{name}\"\nclient_id = \"x\"\n[[mqtt.subscribe]]\ntopic = \"a\"\n"
            )
        };
        for (text, said) in [
            (
                input("a", "socket = \"/s\"") + &input("b", "socket = \"/t\""),
                None,
            ),
            (
                input("a", "socket = \"/s\"") + &input("b", "socket = \"/s\""),
                Some("inference[1].socket: `/s` is the socket of `a` too"),
            ),
            (
                input("a", "socket = \"/state/status.sock\""),
                Some("is the socket of the agent's own status too"),
            ),
            (
                input("a", "tail = \"/f\"") + &input("b", "tail = \"/f\""),
                Some("inference[1].tail: `/f` is followed by `a` too"),
            ),
            (
                mqtt("m") + &mqtt("n"),
                Some("mqtt[1].client_id: `x` is the client id of `m` at the same broker"),
            ),
        ] {
            let found = problems_of(&format!("{uplink}{text}"), &[]);
            let says = |said: &str| found.len() == 1 && found.iter().all(|one| one.contains(said));
            assert!(said.map_or(found.is_empty(), says), "{text}{found:?}");
        }
    }
}
