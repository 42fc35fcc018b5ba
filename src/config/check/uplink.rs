//! What must fit together in `[uplink]`.

use adapters::endpoint_flaw;

use super::super::file::File;
use super::Problems;
use crate::uplink::UplinkSection;

pub(super) fn check(file: &File, found: &mut Problems<'_>) {
    let uplink = &file.uplink;
    if uplink.brokers.is_empty() {
        found.error(
            "uplink.brokers",
            "`[]` is empty; name at least one broker as \"host:port\"",
        );
    }
    brokers(uplink, found);
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

fn brokers(uplink: &UplinkSection, found: &mut Problems<'_>) {
    for (index, text) in uplink.brokers.iter().enumerate() {
        let at = format!("uplink.brokers[{index}]");
        let parts: Vec<&str> = text.split(',').map(str::trim_start).collect();
        if parts.len() > 1 {
            let each: Vec<String> = parts.iter().map(|part| format!("\"{part}\"")).collect();
            let what = format!(
                "`{text}` names several brokers; write each by itself: [{}]",
                each.join(", ")
            );
            found.warn(&at, what);
        } else if text.starts_with(' ') {
            found.warn(&at, format!("`{text}` begins with a space; leave it out"));
        }
        for part in parts {
            broker(uplink, &at, part, found);
        }
    }
}

/// One `host:port`, as librdkafka takes it.
fn broker(uplink: &UplinkSection, at: &str, text: &str, found: &mut Problems<'_>) {
    // librdkafka knows a scheme that is the protocol in use.
    let bare = match text.split_once("://") {
        Some((scheme, bare)) if scheme.eq_ignore_ascii_case(protocol(uplink)) => {
            let what = format!(
                "`{text}` has a scheme, which [uplink.tls] and [uplink.sasl] decide; use `{bare}`"
            );
            found.warn(at, what);
            bare
        }
        Some(_) | None => text,
    };
    let Some(flaw) = endpoint_flaw(bare) else {
        return;
    };
    let port = bare.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    if port.is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        found.tolerate(at, format!("{flaw}; no broker is found so"));
    } else {
        found.error(at, flaw);
    }
}

/// librdkafka's name of it.
fn protocol(uplink: &UplinkSection) -> &'static str {
    match (&uplink.tls, &uplink.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    }
}

fn marks(file: &File, found: &mut Problems<'_>) {
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

#[cfg(test)]
mod tests {
    use super::super::super::load::problems_of;

    #[test]
    fn a_broker_is_judged_as_librdkafka_takes_it() {
        let source = "[[inference]]\nname = \"v\"\nsocket = \"/s\"\n";
        for (broker, said) in [
            ("kafka-1:9092", &[][..]),
            ("[::1]:9092", &[]),
            (
                "PLAINTEXT://h:9092",
                &["warning: uplink.brokers[0]: `PLAINTEXT://h:9092` has a scheme"],
            ),
            (
                "ssl://h:9092",
                &["uplink.brokers[0]: `ssl://h:9092` has a scheme; use `h:9092`"],
            ),
            (
                " h:9092",
                &["warning: uplink.brokers[0]: ` h:9092` begins with a space"],
            ),
            (
                "a:1, b:2",
                &[
                    "warning: uplink.brokers[0]: `a:1, b:2` names several brokers; write each by itself: [\"a:1\", \"b:2\"]",
                ],
            ),
            (
                "a:1,b:0",
                &[
                    "`b:0` is not \"host:port\": `0` is no port",
                    "names several brokers",
                ],
            ),
            (
                "h:99999",
                &["uplink.brokers[0]: `h:99999` is not \"host:port\": `99999` is no port"],
            ),
        ] {
            let found = problems_of(
                &format!("[uplink]\nbrokers = [\"{broker}\"]\n{source}"),
                &[],
            );
            let all = found.iter().zip(said).all(|(one, said)| one.contains(said));
            assert!(all && found.len() == said.len(), "{broker}: {found:?}");
        }
    }
}
