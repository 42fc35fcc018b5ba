//! `[uplink.kafka]`: librdkafka's settings that may be set, each with what it may be. Any other could break a guarantee, open the
//! connection to anybody, or take memory: what is not listed is refused by `check`, and left out by `run`.

use std::collections::BTreeMap;

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Switch,
    /// A whole number from the first to the second, in this unit.
    Number(i64, i64, &'static str),
    /// The same, or 0 for none at all.
    NumberOrNone(i64, i64, &'static str),
    OneOf(&'static [&'static str]),
    /// Some of these, with commas between them.
    SomeOf(&'static [&'static str]),
}

use Allowed::{Number, NumberOrNone, OneOf, SomeOf, Switch};

const MS: &str = "milliseconds";
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// What may be set.
const ALLOWED: [(&str, Allowed); 33] = [
    ("api.version.request.timeout.ms", Number(1000, 300_000, MS)),
    ("batch.num.messages", Number(100, 100_000, "events")),
    ("broker.address.family", OneOf(&["any", "v4", "v6"])),
    ("broker.address.ttl", Number(0, DAY, MS)),
    (
        "client.dns.lookup",
        OneOf(&[
            "use_all_dns_ips",
            "resolve_canonical_bootstrap_servers_only",
        ]),
    ),
    (
        "compression.level",
        Number(-1, 12, "of the codec, -1 is its default"),
    ),
    ("connections.max.idle.ms", NumberOrNone(60_000, DAY, MS)),
    (
        "debug",
        SomeOf(&[
            "generic", "broker", "topic", "metadata", "feature", "queue", "msg", "protocol",
            "security", "eos",
        ]),
    ),
    ("enable.metrics.push", Switch),
    ("enable.random.seed", Switch),
    ("log.connection.close", Switch),
    ("log.thread.name", Switch),
    ("log_level", Number(0, 7, "of syslog")),
    // The least holds most events; what is larger is set aside, as where the cluster takes no more.
    ("message.max.bytes", Number(65_536, 1_040_000, "bytes")),
    ("metadata.max.age.ms", Number(10_000, DAY, MS)),
    (
        "metadata.recovery.rebootstrap.trigger.ms",
        Number(10_000, HOUR, MS),
    ),
    (
        "metadata.recovery.strategy",
        OneOf(&["none", "rebootstrap"]),
    ),
    ("reconnect.backoff.max.ms", Number(100, 60_000, MS)),
    ("reconnect.backoff.ms", Number(10, 60_000, MS)),
    ("request.timeout.ms", Number(5000, 300_000, MS)),
    ("retry.backoff.max.ms", Number(10, 60_000, MS)),
    ("retry.backoff.ms", Number(10, 60_000, MS)),
    (
        "socket.connection.setup.timeout.ms",
        Number(1000, 300_000, MS),
    ),
    ("socket.keepalive.enable", Switch),
    ("socket.max.fails", NumberOrNone(1, 1000, "failures")),
    ("socket.nagle.disable", Switch),
    (
        "socket.send.buffer.bytes",
        NumberOrNone(4096, 4 << 20, "bytes"),
    ),
    ("socket.timeout.ms", Number(10_000, 300_000, MS)),
    ("sticky.partitioning.linger.ms", Number(0, 60_000, MS)),
    (
        "topic.metadata.propagation.max.ms",
        Number(1000, 600_000, MS),
    ),
    (
        "topic.metadata.refresh.fast.interval.ms",
        Number(100, 60_000, MS),
    ),
    (
        "topic.metadata.refresh.interval.ms",
        Number(10_000, HOUR, MS),
    ),
    ("topic.metadata.refresh.sparse", Switch),
];

/// What is asked for and has another place, or is decided here.
const ELSEWHERE: [(&str, &str); 30] = [
    (
        "acks",
        "an event is delivered when all in-sync replicas have it",
    ),
    (
        "request.required.acks",
        "an event is delivered when all in-sync replicas have it",
    ),
    ("batch.size", "use `batch` of the intent"),
    ("bootstrap.servers", "use uplink.brokers"),
    ("client.id", "use uplink.client_id"),
    ("compression.codec", "use `compression` of the intent"),
    ("compression.type", "use `compression` of the intent"),
    (
        "delivery.report.only.error",
        "without its report no event counts as delivered",
    ),
    ("delivery.timeout.ms", "no time-out may drop an event"),
    (
        "enable.gapless.guarantee",
        "a fatal error for one event would hold up all others",
    ),
    (
        "enable.idempotence",
        "order and freedom from duplicates rest on it",
    ),
    (
        "enable.ssl.certificate.verification",
        "it would accept any broker; name the cluster's authority in uplink.tls.ca_file",
    ),
    ("linger.ms", "use `linger` of the intent"),
    ("max.in.flight", "order rests on it"),
    ("max.in.flight.requests.per.connection", "order rests on it"),
    ("message.send.max.retries", "a send is tried until it works"),
    ("message.timeout.ms", "no time-out may drop an event"),
    ("metadata.broker.list", "use uplink.brokers"),
    (
        "partitioner",
        "keys must meet those of other producers: it is murmur2_random, as in Kafka's own client",
    ),
    ("plugin.library.paths", "no code is loaded from files"),
    ("queue.buffering.max.kbytes", "use uplink.in_flight"),
    ("queue.buffering.max.messages", "use uplink.in_flight"),
    ("queue.buffering.max.ms", "use `linger` of the intent"),
    ("queuing.strategy", "order rests on it"),
    ("retries", "a send is tried until it works"),
    ("security.protocol", "use [uplink.tls]"),
    (
        "socket.receive.buffer.bytes",
        "the agent knows its sockets by it",
    ),
    (
        "statistics.interval.ms",
        "the agent knows by statistics whether the link is up",
    ),
    ("transaction.timeout.ms", "there are no transactions here"),
    (
        "transactional.id",
        "there are no transactions here: repeats carry the same id",
    ),
];

/// The names of settings that there are, whether they may be set or not.
pub(crate) fn setting_names() -> impl Iterator<Item = &'static str> {
    let elsewhere = ELSEWHERE.iter().map(|(name, _)| *name);
    ALLOWED.iter().map(|(name, _)| *name).chain(elsewhere)
}

/// What is wrong with a setting, and what would be right.
pub(crate) fn problem(name: &str, value: &str) -> Option<String> {
    let known = ALLOWED.iter().find(|(known, _)| *known == name);
    if let Some((_, allowed)) = known {
        let what = allowed.says();
        return (!allowed.takes(value)).then(|| format!("`{value}` cannot be used; use {what}"));
    }
    let elsewhere = ELSEWHERE.iter().find(|(known, _)| *known == name);
    Some(match elsewhere {
        Some((_, why)) => format!("cannot be set: {why}"),
        None if name.starts_with("sasl.") || name.contains("password") => {
            "cannot be set here: use [uplink.sasl], whose secrets are read from files".into()
        }
        None if name.starts_with("ssl.") => "cannot be set here: use [uplink.tls]".into(),
        None => format!("cannot be set; {}", hint(name)),
    })
}

fn hint(name: &str) -> String {
    let like = |known: &str| strsim::jaro_winkler(known, name);
    let near = ALLOWED.iter().map(|(known, _)| *known);
    let near = near.max_by(|a, b| like(a).total_cmp(&like(b)));
    match near.filter(|near| like(near) > 0.9) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "what may be set is {}",
            ALLOWED.map(|(known, _)| known).join(", ")
        ),
    }
}

/// The settings that are used of those that are given.
pub(crate) fn used(given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let good = given
        .iter()
        .filter(|(name, value)| problem(name, value).is_none());
    good.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl Allowed {
    fn takes(self, value: &str) -> bool {
        let number = || value.parse::<i64>();
        match self {
            Switch => matches!(value, "true" | "false"),
            Number(least, most, _) => number().is_ok_and(|n| (least..=most).contains(&n)),
            NumberOrNone(least, most, _) => {
                number().is_ok_and(|n| n == 0 || (least..=most).contains(&n))
            }
            OneOf(known) => known.contains(&value),
            SomeOf(known) => value.split(',').all(|part| known.contains(&part.trim())),
        }
    }

    fn says(self) -> String {
        match self {
            Switch => "\"true\" or \"false\"".into(),
            Number(least, most, unit) => format!("{least} to {most} ({unit})"),
            NumberOrNone(least, most, unit) => format!("0, or {least} to {most} ({unit})"),
            OneOf(known) => known.join(" or "),
            SomeOf(known) => format!("one or more of {}", known.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;

    use super::*;

    #[test]
    fn what_could_break_a_guarantee_is_refused_by_name_with_what_would_be_right() {
        for (name, value, says) in [
            (
                "enable.ssl.certificate.verification",
                "false",
                "uplink.tls.ca_file",
            ),
            ("partitioner", "random", "murmur2_random"),
            (
                "delivery.report.only.error",
                "true",
                "no event counts as delivered",
            ),
            ("statistics.interval.ms", "0", "whether the link is up"),
            ("transactional.id", "x", "no transactions"),
            ("queuing.strategy", "lifo", "order rests on it"),
            ("plugin.library.paths", "/tmp/x.so", "no code is loaded"),
            (
                "message.max.bytes",
                "1000000000",
                "65536 to 1040000 (bytes)",
            ),
            ("socket.timeout.ms", "10", "10000 to 300000 (milliseconds)"),
            ("socket.timeout.ms", "20s", "10000 to 300000 (milliseconds)"),
            (
                "ssl.endpoint.identification.algorithm",
                "none",
                "[uplink.tls]",
            ),
            ("sasl.oauthbearer.config", "x", "[uplink.sasl]"),
            (
                "socket.keep.alive.enable",
                "true",
                "did you mean `socket.keepalive.enable`?",
            ),
            ("socket.keepalive.enable", "yes", "\"true\" or \"false\""),
            ("debug", "all", "one or more of generic,broker"),
            ("enabled_events", "1", "what may be set is "),
            ("acks", "1", "all in-sync replicas"),
        ] {
            let problem = problem(name, value).unwrap();
            assert!(problem.contains(says), "{name}: {problem}");
        }
    }

    #[test]
    fn librdkafka_knows_what_may_be_set_and_takes_the_ends_of_each_range() {
        for (name, allowed) in ALLOWED {
            let values: Vec<String> = match allowed {
                Switch => vec!["true".into(), "false".into()],
                Number(least, most, _) => vec![least.to_string(), most.to_string()],
                NumberOrNone(least, most, _) => {
                    vec!["0".into(), least.to_string(), most.to_string()]
                }
                OneOf(known) => known.iter().map(|one| (*one).to_owned()).collect(),
                SomeOf(known) => vec![known.join(",")],
            };
            for value in values {
                assert_eq!(problem(name, &value), None);
                let mut config = ClientConfig::new();
                config.set(name, &value);
                assert!(config.create_native_config().is_ok(), "{name} = {value}");
            }
        }
    }

    #[test]
    fn what_is_not_allowed_is_left_out_and_the_rest_is_used() {
        let given = [
            ("acks", "1"),
            ("socket.timeout.ms", "10"),
            ("log_level", "5"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let used = used(&given.into());
        assert_eq!(used.into_keys().collect::<Vec<_>>(), ["log_level"]);
    }
}
