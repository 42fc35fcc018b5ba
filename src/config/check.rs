//! What types cannot say: everything that must fit together in a configuration.

mod buses;

mod changes;

mod intents;

mod link;

use std::collections::{BTreeMap, BTreeSet};

use adapters::Pattern;
use adapters::Size;
use adapters::{SecretError, SourceSettings};

use super::file::File;
use super::intents::{Intents, is_name};
use super::problem::{Problem, Weight};

pub(super) fn problems(file: &File) -> Vec<Problem> {
    let mut found = Problems::default();
    gateway(file, &mut found);
    uplink(file, &mut found);
    sources(file, &mut found);
    buses::check(file, &mut found);
    qos_two(file, &mut found);
    plain_passwords(file, &mut found);
    hosts(file, &mut found);
    largest_events(file, &mut found);
    buffer(file, &mut found);
    replay(file, &mut found);
    let intents = Intents::new(file);
    link::check(file, &intents, &mut found);
    intents::check(file, &intents, &mut found);
    routes(file, &intents, &mut found);
    changes::check(file, &intents, &mut found);
    found.0
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.into(),
            line: None,
            message: message.into(),
            weight: Weight::Error,
        });
    }

    /// [`Weight::LeftOut`]
    fn leave_out(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.into(),
            line: None,
            message: message.into(),
            weight: Weight::LeftOut,
        });
    }

    fn warn(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.into(),
            line: None,
            message: message.into(),
            weight: Weight::Warning,
        });
    }
}

fn gateway(file: &File, found: &mut Problems) {
    if file
        .gateway
        .id
        .as_ref()
        .is_some_and(|id| id.trim().is_empty())
    {
        found.error(
            "gateway.id",
            "`` is empty; leave it out to use the host name",
        );
    }
    if !file.gateway.state_dir.is_absolute() {
        let path = file.gateway.state_dir.display();
        found.error(
            "gateway.state_dir",
            format!("`{path}` is relative; use an absolute path"),
        );
    }
    if file.status.http {
        match file.status.listen.parse::<std::net::SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => {}
            Ok(address) => found.error("status.listen", format!("`{address}` is reachable from outside; use a loopback address like \"127.0.0.1:9464\"")),
            Err(_) => found.error("status.listen", format!("`{}` is not an address; use one like \"127.0.0.1:9464\"", file.status.listen)),
        }
    }
    if crate::process::logging::filter(&file.log.level).is_err() {
        found.error(
            "log.level",
            format!(
                "`{}` is not a level; use error, warn, info, debug or trace",
                file.log.level
            ),
        );
    }
}

fn uplink(file: &File, found: &mut Problems) {
    let uplink = &file.uplink;
    if uplink.brokers.is_empty() {
        found.error(
            "uplink.brokers",
            "`[]` is empty; name at least one broker as \"host:port\"",
        );
    }
    for (index, broker) in uplink.brokers.iter().enumerate() {
        let port = broker
            .rsplit_once(':')
            .map(|(host, port)| (!host.is_empty(), port.parse::<u16>().is_ok()));
        if port != Some((true, true)) {
            found.error(
                format!("uplink.brokers[{index}]"),
                format!("`{broker}` is not \"host:port\""),
            );
        }
    }
    for (key, value) in &uplink.kafka {
        if let Some(message) = crate::uplink::problem(key, value) {
            found.leave_out(format!("uplink.kafka.{key}"), message);
        }
    }
    if let Some(tls) = &uplink.tls
        && tls.cert_file.is_some() != tls.key_file.is_some()
    {
        found.error(
            "uplink.tls",
            "mutual TLS needs both `cert_file` and `key_file`",
        );
    }
    if uplink.sasl.is_some() && uplink.tls.is_none() {
        found.warn(
            "uplink.sasl",
            "without [uplink.tls] what is sent can be read on the way",
        );
    }
    marks(file, found);
    if let Some(size) = uplink.in_flight.filter(|size| size.0 < 128 * 1024) {
        found.error(
            "uplink.in_flight",
            format!("`{size}` is too small for a batch of events; use \"128 KiB\" or more"),
        );
    }
}

fn replay(file: &File, found: &mut Problems) {
    let share = file.replay.catch_up;
    if !(0.0..=1000.0).contains(&share) {
        found.error(
            "replay.catch_up",
            format!("`{share}` is no share; use one like 0.4, or 0 for no limit"),
        );
    }
}

fn marks(file: &File, found: &mut Problems) {
    let dscp = file.uplink.dscp;
    let marks = [("urgent", dscp.urgent), ("other", dscp.other)];
    for (name, mark) in marks.into_iter().filter(|(_, mark)| *mark > 63) {
        let at = format!("uplink.dscp.{name}");
        found.error(
            at,
            format!("`{mark}` is no DSCP; use 0 to 63, such as 18 for AF21 or 8 for CS1"),
        );
    }
}

/// The keys are read here: a missing one must not show only after a restart.
fn buffer(file: &File, found: &mut Problems) {
    for (index, key) in file.buffer.keys.iter().enumerate() {
        let at = format!("buffer.keys[{index}]");
        match key.read() {
            Ok(text) => {
                if let Err(error) = buffer::Keys::parse(&[text]) {
                    // The agent goes on without its disk; `check` refuses it.
                    found.warn(at, error.to_string());
                }
            }
            Err(error @ SecretError::Unreadable { .. }) => found.warn(at, error.to_string()),
            // `check` may run where systemd's credentials are not.
            Err(SecretError::NoCredentials { .. }) => {}
        }
    }
    if file
        .buffer
        .write_budget
        .is_some_and(|budget| budget.0 < 1 << 20)
    {
        found.error(
            "buffer.write_budget",
            "is too small to be kept; use \"64 MiB\" a day or more",
        );
    }
}

/// Every source, with the key of its section.
fn all_sources(file: &File) -> impl Iterator<Item = (String, SourceSettings)> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    file.sources().map(move |source| {
        let number = numbers.entry(source.section()).or_default();
        let at = format!("{}[{number}]", source.section());
        *number += 1;
        (at, source)
    })
}

fn sources(file: &File, found: &mut Problems) {
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
    }
    if !any {
        found.warn(
            "mqtt",
            "there is no source; add an [[mqtt]], [[modbus]] or [[inference]] section",
        );
    }
}

/// An event that a source lets in and no lane can hold would be dropped.
fn largest_events(file: &File, found: &mut Problems) {
    // What is not the payload: names, tags, and what the encoding adds.
    let most = file.memory.profile.record() - 16 * 1024;
    for (index, section) in file.inference.iter().enumerate() {
        if section.max_event.0 > most {
            let what = format!(
                "`{}` is more than an event may have with this memory.profile; use at most \"{}\", or a larger profile",
                section.max_event,
                Size(most / 1024 * 1024)
            );
            found.error(format!("inference[{index}].max_event"), what);
        }
    }
}

/// Exactly once ends at the receipt: QoS 2 gains nothing here.
fn qos_two(file: &File, found: &mut Problems) {
    for (m, mqtt) in file.mqtt.iter().enumerate() {
        for (s, _) in mqtt
            .subscribe
            .iter()
            .enumerate()
            .filter(|(_, section)| section.qos == 2)
        {
            found.warn(
                format!("mqtt[{m}].subscribe[{s}].qos"),
                "`2` costs two more packets and gains nothing, as repeats carry the same id; use 1",
            );
        }
    }
}

/// A password that is sent as it is can be read by whoever is on the way.
fn plain_passwords(file: &File, found: &mut Problems) {
    for (index, mqtt) in file.mqtt.iter().enumerate() {
        if mqtt.password.is_some() && mqtt.tls.is_none() && !is_loopback(&mqtt.host) {
            found.warn(
                format!("mqtt[{index}].password"),
                format!("without `tls` the password can be read on the way to `{}`; use [mqtt.tls] with the broker's TLS port", mqtt.host),
            );
        }
    }
}

/// Whether what is sent to this host stays on this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn hosts(file: &File, found: &mut Problems) {
    let legal = |one: char| one.is_ascii_alphanumeric() || "-._:".contains(one);
    for (index, host) in file.status.hosts.iter().enumerate() {
        if host.is_empty() || !host.chars().all(legal) {
            found.error(
                format!("status.hosts[{index}]"),
                format!("`{host}` is not a host name or an address; write it without a port"),
            );
        }
    }
}

fn routes(file: &File, intents: &Intents, found: &mut Problems) {
    for (index, route) in file.route.iter().enumerate() {
        if intents.id(&route.intent).is_none() {
            found.error(
                format!("route[{index}].intent"),
                format!(
                    "no intent is named `{}`; there are {}",
                    route.intent,
                    intents.names()
                ),
            );
        }
        if let Some(Err(error)) = route.subject.as_deref().map(Pattern::parse) {
            found.error(format!("route[{index}].subject"), error.to_string());
        }
    }
    for (at, source) in all_sources(file) {
        for (key, name) in source.intents() {
            if intents.id(name).is_none() {
                let known = intents.names();
                found.error(
                    format!("{at}.{key}"),
                    format!("no intent is named `{name}`; there are {known}"),
                );
            }
        }
    }
}
