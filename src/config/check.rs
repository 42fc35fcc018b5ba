//! What types cannot say: everything that must fit together in a configuration.

mod buses;

mod changes;

mod files;

mod fleet;

mod intents;

mod link;

mod routes;

mod sources;

mod topics;

mod uplink;

use std::collections::BTreeMap;

use adapters::{SecretError, Size, SourceSettings};

use super::file::File;
use super::intents::Intents;
use super::place::TakenOut;
use super::problem::{Problem, Weight};

/// `taken` is what of the file cannot be read, which was reported already: nothing that is missing for it is reported as well.
pub(super) fn problems(file: &File, taken: &TakenOut) -> Vec<Problem> {
    let mut found = Problems {
        all: Vec::new(),
        taken,
    };
    gateway(file, &mut found);
    uplink::check(file, &mut found);
    sources::check(file, &mut found);
    files::check(file, &mut found);
    fleet::check(file, &mut found);
    buses::check(file, &mut found);
    qos_two(file, &mut found);
    plain_passwords(file, &mut found);
    hosts(file, &mut found);
    largest_events(file, &mut found);
    buffer(file, &mut found);
    replay(file, &mut found);
    fleet(file, &mut found);
    let intents = Intents::new(file);
    link::check(file, &intents, &mut found);
    intents::check(file, &intents, &mut found);
    topics::check(file, &mut found);
    routes::check(file, &intents, &mut found);
    changes::check(file, &intents, &mut found);
    found.all
}

struct Problems<'a> {
    all: Vec<Problem>,
    taken: &'a TakenOut,
}

impl Problems<'_> {
    fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.add(Weight::Error, &key.into(), message.into());
    }

    /// [`Weight::LeftOut`]
    fn leave_out(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.add(Weight::LeftOut, &key.into(), message.into());
    }

    /// [`Weight::Tolerated`]
    fn tolerate(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.add(Weight::Tolerated, &key.into(), message.into());
    }

    fn warn(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.add(Weight::Warning, &key.into(), message.into());
    }

    fn add(&mut self, weight: Weight, key: &str, message: String) {
        self.all.push(Problem {
            weight,
            ..Problem::whole(key, message)
        });
    }

    /// No intent has this `name`, as far as all of them can be read.
    fn no_intent(&mut self, key: impl Into<String>, name: &str, intents: &Intents) {
        if !self.taken.is_of("intent") {
            let known = intents.names();
            self.error(
                key,
                format!("no intent is named `{name}`; there are {known}"),
            );
        }
    }
}

fn gateway(file: &File, found: &mut Problems<'_>) {
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

fn replay(file: &File, found: &mut Problems<'_>) {
    let share = file.replay.catch_up;
    if !(0.0..=1000.0).contains(&share) {
        found.error(
            "replay.catch_up",
            format!("`{share}` is no share; use one like 0.4, or 0 for no limit"),
        );
    }
}

fn fleet(file: &File, found: &mut Problems<'_>) {
    if let (Some(replaces), None) = (file.fleet.replaces, file.fleet.serial) {
        found.error(
            "fleet.replaces",
            format!(
                "`{replaces}` has no `serial` beside it; say which number this configuration has"
            ),
        );
    }
}

/// The keys are read here: a missing one must not show only after a restart.
fn buffer(file: &File, found: &mut Problems<'_>) {
    for (index, key) in file.buffer.keys.iter().enumerate() {
        let at = format!("buffer.keys[{index}]");
        match key.read() {
            Ok(text) => {
                if let Err(error) = buffer::Keys::parse(&[text]) {
                    // The agent goes on without its disk; `check` refuses it.
                    found.warn(at, error.to_string());
                }
            }
            Err(SecretError::Unreadable { path, source }) => {
                let what = format!(
                    "`{}` cannot be read: {source}; where that is so, an agent keeps events in memory only",
                    path.display()
                );
                found.warn(at, what);
            }
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

/// An event that a source lets in and no lane can hold would be dropped.
fn largest_events(file: &File, found: &mut Problems<'_>) {
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
fn qos_two(file: &File, found: &mut Problems<'_>) {
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
fn plain_passwords(file: &File, found: &mut Problems<'_>) {
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

fn hosts(file: &File, found: &mut Problems<'_>) {
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
