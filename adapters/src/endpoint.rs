//! Hosts and ports as people write them: what can never be connected to, in words that say what would be.

use std::net::Ipv6Addr;

/// What is wrong with a host that stands without a port.
#[must_use]
pub fn host_flaw(host: &str) -> Option<String> {
    if host.is_empty() {
        return Some("`` is empty; use a host name or an address".into());
    }
    if let Some((_, rest)) = host.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        return Some(match parted(rest) {
            Some((name, port)) => {
                format!("`{host}` has a scheme and a port; use `{name}`, and `port = {port}`")
            }
            None => format!("`{host}` has a scheme; use `{rest}`"),
        });
    }
    if host.contains(char::is_whitespace) {
        return Some(format!("`{host}` has a space in it; leave it out"));
    }
    if is_ipv6(host) {
        return None;
    }
    if let Some(bare) = bare(host).filter(|bare| is_ipv6(bare)) {
        return Some(format!("`{host}` has brackets; use `{bare}`"));
    }
    if let Some((name, port)) = parted(host) {
        return Some(format!(
            "`{host}` has a port; use `{name}`, and `port = {port}`"
        ));
    }
    (host.contains([':', '/', '@', '[', ']', ',']) || host.chars().any(char::is_control))
        .then(|| format!("`{host}` is no host name or address"))
}

/// What is wrong with `host:port`.
#[must_use]
pub fn endpoint_flaw(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        return Some(format!("`{text}` has a scheme; use `{rest}`"));
    }
    if text.contains(char::is_whitespace) {
        return Some(format!("`{text}` has a space in it; leave it out"));
    }
    if let Some(right) = in_brackets(text) {
        return Some(format!(
            "`{text}` is an IPv6 address without brackets; use `{right}`"
        ));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
        return Some(format!("`{text}` is not \"host:port\""));
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Some(format!(
            "`{text}` is not \"host:port\": `{port}` is no port; use 1 to 65535"
        ));
    }
    let host = bare(host).filter(|host| is_ipv6(host)).unwrap_or(host);
    host_flaw(host)
        .map(|_| format!("`{text}` is not \"host:port\": `{host}` is no host name or address"))
}

/// How an IPv6 address that stands without brackets, with or without a port behind it, is to be written.
#[must_use]
pub fn in_brackets(text: &str) -> Option<String> {
    if text.matches(':').count() < 2 {
        return None;
    }
    let with_port = text.rsplit_once(':').filter(|(host, _)| is_ipv6(host));
    match with_port {
        Some((host, port)) if !port.is_empty() => Some(format!("[{host}]:{port}")),
        Some(_) | None => is_ipv6(text).then(|| format!("[{text}]:PORT")),
    }
}

/// With or without the zone of a link-local address, as in `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

fn bare(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// Host and port of `host:port`.
fn parted(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| (bare(host).unwrap_or(host), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_alone_and_each_mistake_is_told_with_what_would_be_right() {
        for host in [
            "h",
            "broker.plant7.example",
            "10.0.0.1",
            "::1",
            "fe80::1%eth0",
            "mqtt_1",
        ] {
            assert_eq!(host_flaw(host), None, "{host}");
        }
        for (host, said) in [
            ("", "is empty; use a host name"),
            ("mqtt://h", "has a scheme; use `h`"),
            ("ssl://h:8883/x", "use `h`, and `port = 8883`"),
            ("h:1883", "has a port; use `h`, and `port = 1883`"),
            ("[::1]:1883", "has a port; use `::1`, and `port = 1883`"),
            ("[::1]", "has brackets; use `::1`"),
            (" h", "has a space in it"),
            ("h/x", "is no host name or address"),
            ("user@h", "is no host name or address"),
            ("a,b", "is no host name or address"),
        ] {
            let flaw = host_flaw(host).unwrap();
            assert!(flaw.contains(said), "{host}: {flaw}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port_and_each_mistake_is_told_with_what_would_be_right() {
        for text in [
            "h:1",
            "10.0.0.1:502",
            "[::1]:9092",
            "[fe80::1%eth0]:65535",
            "a.b-c_d:9092",
        ] {
            assert_eq!(endpoint_flaw(text), None, "{text}");
        }
        for (text, said) in [
            ("", "`` is not \"host:port\""),
            ("kafka", "`kafka` is not \"host:port\""),
            (":9092", "is not \"host:port\""),
            ("kafka://h:9092", "has a scheme; use `h:9092`"),
            ("tcp://h:502/x", "has a scheme; use `h:502`"),
            ("h:0", "`0` is no port; use 1 to 65535"),
            ("h:99999", "`99999` is no port; use 1 to 65535"),
            ("h:", "`` is no port"),
            ("h :9092", "has a space in it"),
            ("::1:9092", "without brackets; use `[::1]:9092`"),
            ("2001:db8::1", "without brackets; use `[2001:db8::1]:PORT`"),
            ("a/b:9092", "`a/b` is no host name or address"),
            ("a:b:9092", "`a:b` is no host name or address"),
        ] {
            let flaw = endpoint_flaw(text).unwrap();
            assert!(flaw.contains(said), "{text}: {flaw}");
        }
    }
}
