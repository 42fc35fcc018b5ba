//! Where configurations are pulled from: `url` of `[fleet]` and what goes with it, as written and as meant.

use std::net::IpAddr;
use std::time::Duration;

use adapters::{SecretRef, TlsSection};
use hyper::Uri;

use super::fleet::FleetSection;
use crate::pace::{delay, number};

/// Where a configuration is, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Url {
    /// By TLS.
    pub is_secure: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// As in the header `Host`.
    pub authority: String,
    /// With what is asked for behind a `?`.
    pub path: String,
}

impl Url {
    /// # Errors
    /// What is wrong with it, and what would be right. It is not shown whole: a token may be in it.
    pub(crate) fn parse(text: &str) -> Result<Url, String> {
        const RIGHT: &str = "use one like \"https://fleet.example/gateway.toml\"";
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("is no URL ({error}); {RIGHT}"))?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(format!("`{other}://` is not spoken; {RIGHT}")),
            None => return Err(format!("has no scheme; {RIGHT}")),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| format!("has no host; {RIGHT}"))?;
        if authority.as_str().contains('@') {
            return Err("has a user or a password in it; leave them out, and use `fleet.bearer` or `fleet.tls` to log in".into());
        }
        if text.contains('#') {
            return Err(
                "has a `#` in it, which no server is sent; leave out what begins with it".into(),
            );
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(format!("has no host; {RIGHT}"));
        }
        let port = authority
            .port_u16()
            .unwrap_or(if is_secure { 443 } else { 80 });
        if port == 0 || (authority.port_u16().is_none() && authority.as_str().ends_with(':')) {
            return Err("has no port behind its `:`; use 1 to 65535, or leave it out".into());
        }
        if !is_secure && !is_loopback(host) {
            return Err(format!(
                "`http://{authority}` is without TLS: whoever is on the way can read `fleet.bearer` and change the configuration; use `https://`, `http://` is for this machine alone (127.0.0.1, ::1, localhost)"
            ));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Url {
            is_secure,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// How configurations are pulled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PullSettings {
    pub url: Url,
    /// As it is written.
    pub written: String,
    pub every: Duration,
    /// This gateway's moment within `every`.
    pub phase: Duration,
    pub timeout: Duration,
    pub max_bytes: usize,
    pub tls: TlsSection,
    /// What the server's certificate is to be for.
    pub server_name: String,
    pub bearer: Option<SecretRef>,
}

impl PullSettings {
    /// Of a section that was checked, for the gateway `id`; none where nothing is pulled.
    pub(crate) fn new(fleet: &FleetSection, id: &str) -> Option<PullSettings> {
        let written = fleet.url.clone()?;
        let url = Url::parse(&written).ok()?;
        let tls = fleet.tls.clone().unwrap_or_default();
        Some(PullSettings {
            written,
            every: fleet.every.0,
            phase: delay(fleet.every.0, id),
            timeout: fleet.timeout.0,
            max_bytes: number::in_memory(fleet.max_size.0),
            tls: tls.files(),
            server_name: tls.server_name.unwrap_or_else(|| url.host.clone()),
            bearer: fleet.bearer.clone(),
            url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_each_mistake_is_told_with_what_would_be_right() {
        for (text, host, port, path) in [
            (
                "https://fleet.example/a/b.toml?x=1",
                "fleet.example",
                443,
                "/a/b.toml?x=1",
            ),
            ("https://fleet.example:8443", "fleet.example", 8443, "/"),
            ("https://[2001:db8::1]:8443/a", "2001:db8::1", 8443, "/a"),
            ("http://127.0.0.1:8080/a", "127.0.0.1", 8080, "/a"),
            ("http://localhost/a", "localhost", 80, "/a"),
            ("http://[::1]/a", "::1", 80, "/a"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.path.as_str()),
                (host, port, path)
            );
            assert_eq!(url.is_secure, text.starts_with("https"));
        }
        for (text, said) in [
            ("", "is no URL"),
            ("fleet.example/a", "is no URL"),
            ("fleet.example", "has no scheme"),
            ("/etc/gateway.toml", "has no scheme"),
            (
                "ftp://fleet.example/a",
                "`ftp://` is not spoken; use one like",
            ),
            ("http://fleet.example/a", "without TLS"),
            ("http://10.0.0.1/a", "use `https://`"),
            ("https://user:secret@fleet.example/a", "use `fleet.bearer`"),
            ("https://fleet.example/a#b", "has a `#`"),
            ("https://fleet.example:0/a", "use 1 to 65535"),
            ("https://fleet.example:/a", "use 1 to 65535"),
            ("https://fleet.example/a b", "is no URL"),
            ("https:///a", "is no URL"),
        ] {
            let flaw = Url::parse(text).unwrap_err();
            assert!(
                flaw.contains(said) && !flaw.contains("secret"),
                "{text}: {flaw}"
            );
        }
    }
}
