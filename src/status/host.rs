//! Whom a request to the port is for. A page in a browser on this machine can have a name of its own resolve to a loopback address
//! (DNS rebinding) and would then read the status: it gets no answer, for its requests carry that name. Pure.

use std::net::IpAddr;

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};

/// Whether a request is for this machine by each name that it gives. One of HTTP/1.0 gives none; no browser sends such.
pub(super) fn is_ours(uri: &Uri, headers: &HeaderMap, names: &[String]) -> bool {
    let asked = headers.get_all(HOST).iter().map(|host| {
        let host = host.to_str().ok();
        host.and_then(|host| host.trim().parse::<Authority>().ok())
    });
    let mut asked = asked.chain(uri.authority().cloned().map(Some));
    asked.all(|asked| asked.is_some_and(|asked| is_known(asked.host(), names)))
}

fn is_known(host: &str, names: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.trim_end_matches('.');
    let address = bare.parse::<IpAddr>().ok();
    bare.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.is_loopback())
        || names.iter().any(|name| name.eq_ignore_ascii_case(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_this_machine_by_loopback_names_its_own_and_those_that_are_given() {
        let names = ["gw-1".to_owned(), "gw-1.plant7.example".to_owned()];
        for (uri, hosts, ours) in [
            ("/status", &["localhost:9464"][..], true),
            ("/status", &["LOCALHOST"], true),
            ("/status", &["127.0.0.1:9464"], true),
            ("/status", &["127.1.2.3"], true),
            ("/status", &["[::1]:9464"], true),
            ("/status", &["gw-1"], true),
            ("/status", &["GW-1.plant7.example.:80"], true),
            ("/status", &[], true),
            ("/status", &["evil.example"], false),
            ("/status", &["localhost.evil.example"], false),
            ("/status", &["127.0.0.1.evil.example:9464"], false),
            ("/status", &["192.0.2.1"], false),
            ("/status", &["localhost", "evil.example"], false),
            ("/status", &[""], false),
            ("/status", &["a b"], false),
            ("http://evil.example/status", &["localhost"], false),
            ("http://localhost/status", &["localhost"], true),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            let uri = uri.parse().unwrap();
            assert_eq!(is_ours(&uri, &headers, &names), ours, "{uri} {hosts:?}");
        }
    }
}
