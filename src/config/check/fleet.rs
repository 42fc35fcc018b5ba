//! `[fleet]`: where configurations are pulled from, and how they are tried.

use std::time::Duration;

use adapters::host_flaw;

use super::super::file::File;
use super::super::pull::Url;
use super::Problems;

const LEAST_EVERY: Duration = Duration::from_secs(10);
/// Also of `spread`: later nobody waits for it any more.
const WEEK: Duration = Duration::from_hours(7 * 24);
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
const MOST_TIMEOUT: Duration = Duration::from_hours(1);
/// A file of a thousand sources is smaller, and all of it is in memory for a moment.
const MOST_SIZE: u64 = 16 << 20;
const LEAST_SIZE: u64 = 1 << 10;

pub(super) fn check(file: &File, found: &mut Problems<'_>) {
    let fleet = &file.fleet;
    if fleet.spread.0 > WEEK {
        let what = format!("`{}` is too long; use at most \"7d\"", fleet.spread);
        found.error("fleet.spread", what);
    }
    if !(LEAST_EVERY..=WEEK).contains(&fleet.every.0) {
        let what = format!("`{}` is out of range; use \"10s\" to \"7d\"", fleet.every);
        found.error("fleet.every", what);
    }
    if !(LEAST_TIMEOUT..=MOST_TIMEOUT).contains(&fleet.timeout.0) {
        let what = format!("`{}` is out of range; use \"1s\" to \"1h\"", fleet.timeout);
        found.error("fleet.timeout", what);
    }
    if !(LEAST_SIZE..=MOST_SIZE).contains(&fleet.max_size.0) {
        let what = format!(
            "`{}` is out of range; use \"1 KiB\" to \"16 MiB\"",
            fleet.max_size
        );
        found.error("fleet.max_size", what);
    }
    source(file, found);
}

fn source(file: &File, found: &mut Problems<'_>) {
    let fleet = &file.fleet;
    if let Some(tls) = &fleet.tls
        && tls.cert_file.is_some() != tls.key_file.is_some()
    {
        let what = "mutual TLS needs both `cert_file` and `key_file`";
        found.error("fleet.tls", what);
    }
    let name = fleet.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    if let Some(name) = name
        && host_flaw(name).is_some()
    {
        let what = format!(
            "`{name}` is no host name or address; use one that is in the server's certificate"
        );
        found.error("fleet.tls.server_name", what);
    }
    let Some(url) = &fleet.url else {
        let given = [
            ("fleet.bearer", fleet.bearer.is_some()),
            ("fleet.tls", fleet.tls.is_some()),
        ];
        for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
            found.warn(*key, "has no use without `fleet.url`; say where configurations are pulled from, or leave it out");
        }
        return;
    };
    match Url::parse(url) {
        Ok(url) if !url.is_secure && fleet.tls.is_some() => {
            found.error("fleet.tls", "has no use with a `url` of `http://`, which is without TLS; use `https://`, or leave `tls` out");
        }
        Ok(url) if host_flaw(&url.host).is_some() => {
            let what = format!("`{}` is no host name or address", url.host);
            found.error("fleet.url", what);
        }
        Ok(_) => {}
        Err(flaw) => found.error("fleet.url", flaw),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::load::problems_of;

    const UPLINK: &str =
        "[uplink]\nbrokers = [\"a:1\"]\n[[inference]]\nname = \"v\"\nsocket = \"/s\"\n[fleet]\n";

    #[test]
    fn each_mistake_is_told_with_what_would_be_right() {
        for (text, said) in [
            (
                "url = \"http://fleet.example/\"",
                "line 7: fleet.url: `http://fleet.example` is without TLS",
            ),
            (
                "url = \"http://fleet.example/\"\nbearer = { file = \"/dev/null\" }",
                "can read `fleet.bearer`",
            ),
            (
                "every = \"9s\"",
                "line 7: fleet.every: `9s` is out of range; use \"10s\" to \"7d\"",
            ),
            ("every = \"8d\"", "fleet.every: `8d` is out of range"),
            ("spread = \"8d\"", "fleet.spread: `8d` is too long"),
            ("timeout = \"2h\"", "fleet.timeout: `2h` is out of range"),
            (
                "max_size = \"1 GiB\"",
                "fleet.max_size: `1 GiB` is out of range",
            ),
            (
                "url = \"https://a/\"\ntls = { cert_file = \"/dev/null\" }",
                "needs both",
            ),
            (
                "url = \"https://a/\"\ntls = { server_name = \"a b\" }",
                "fleet.tls.server_name: `a b` is no host name",
            ),
            (
                "url = \"http://localhost/\"\ntls = { server_name = \"a\" }",
                "has no use with a `url` of `http://`",
            ),
            (
                "bearer = { file = \"/dev/null\" }",
                "has no use without `fleet.url`",
            ),
            (
                "url = \"https://a/\"\nbearer = { file = \"/not/there\" }",
                "the agent pulls no configuration",
            ),
        ] {
            let found = problems_of(&format!("{UPLINK}{text}\n"), &[]);
            assert!(
                found.len() == 1 && found[0].contains(said),
                "{text}: {found:?}"
            );
        }
        let good = "url = \"http://[::1]:8080/a\"\nevery = \"10s\"\nbearer = { file = \"/dev/null\" }\nspread = \"6h\"\n";
        assert_eq!(problems_of(&format!("{UPLINK}{good}"), &[]), [""; 0]);
    }
}
