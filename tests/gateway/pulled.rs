//! A configuration that the gateway pulls, from servers of all manners, beside files that are dropped.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::keeping::{AWAY, VISION, answer, keep, offer};
use crate::needs_kafka;
use crate::origin::{Manner, Origin, certificates};
use crate::peers::Kafka;
use crate::rig::{Gateway, free_port, send_signal, tidegate, wait_for};
use crate::signed::{allow, key, put, signature};

pub(crate) fn with_uplink(kafka: &Kafka, fleet: &str) -> String {
    format!(
        "[uplink]\nbrokers = [\"{}\"]\n{VISION}{fleet}{}",
        kafka.plain(),
        kafka.topics(&[])
    )
}

/// `[fleet]` of who pulls from there.
fn fleet(origin: &Origin, more: &str) -> String {
    format!(
        "[fleet]\nprove_within = \"8s\"\nurl = \"https://localhost:{}/gateway.toml\"\nevery = \"10s\"\ntimeout = \"2s\"\n{more}",
        origin.port
    )
}

const TRUST: &str = "tls = { ca_file = \"$DIR/ca.crt\" }\n";

/// The text that is in the file.
pub(crate) fn text(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.path("gateway.toml")).unwrap()
}

pub(crate) fn sum(text: &str) -> String {
    let mut child = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
    drop(stdin);
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.split(' ').next().unwrap().to_owned()
}

/// Waits until the configuration is in this state, came by this way, and runs where it is this text.
pub(crate) fn wait_for_config(gateway: &mut Gateway, state: &str, by: &str, runs: &str) -> Value {
    let runs = sum(runs);
    wait_for(&format!("{state} by {by}"), || {
        let config = gateway.try_status()?["config"].clone();
        let is_it = config["state"] == state && config["by"] == by;
        (is_it && config["effective"] == runs.as_str()).then_some(config)
    })
}

/// Waits until a pull fails so.
fn wait_for_failure(gateway: &mut Gateway, said: &str) {
    wait_for(said, || {
        let status = gateway.try_status()?;
        let error = status["config"]["pull_error"].as_str()?;
        error.contains(said).then_some(())
    });
}

pub(crate) fn config(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = tidegate();
    command.arg("config").args(arguments).arg("-c");
    command.arg(gateway.path("gateway.toml")).output().unwrap()
}

/// Without its section `[fleet]`.
fn without_fleet(text: &str) -> String {
    let begin = text.find("[fleet]").unwrap();
    let rest = &text[begin + 1..];
    let end = rest.find("\n[").map_or(rest.len(), |at| at + 1);
    format!("{}{}", &text[..begin], &rest[end..])
}

#[test]
fn what_is_pulled_runs_and_stays_over_restarts_and_the_later_of_it_and_a_dropped_file_wins() {
    needs_kafka!();
    let (kafka, tls) = (Kafka::shared(), tempfile::tempdir().unwrap());
    certificates(tls.path());
    let origin = Origin::start(tls.path(), None, None);
    let mut gateway = Gateway::new(&with_uplink(&kafka, &fleet(&origin, TRUST)));
    fs::copy(tls.path().join("ca.crt"), gateway.path("ca.crt")).unwrap();
    gateway.launch();
    let first = text(&gateway);
    wait_for_config(&mut gateway, "kept", "file", &first);
    // It says nothing of where it comes from, and that does not cut the gateway off.
    let second = without_fleet(&first.replace("plant7", "plant8"));
    origin.offer(&second);
    let config_now = wait_for_config(&mut gateway, "kept", "url", &second);
    assert_eq!(config_now["attempted"], sum(&second));
    let known = origin.answered(304);
    wait_for("304", || (origin.answered(304) > known + 1).then_some(()));
    assert!(
        origin
            .last_request()
            .to_lowercase()
            .contains("if-none-match: \"")
    );
    assert_eq!(origin.answered(200), 1, "it is fetched once");
    let said = config(&gateway, &["status", "--wait", "20s"]);
    let said_text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(0), "{said_text}");
    assert!(said_text.contains("by url (pulled)"), "{said_text}");
    let note = fs::read_to_string(gateway.path("state/config/state.json")).unwrap();
    let note: Value = serde_json::from_str(&note).unwrap();
    assert_eq!(note["by"], "url");
    // A start without the link.
    let port = origin.port;
    drop(origin);
    gateway.kill_9();
    gateway.launch();
    wait_for_config(&mut gateway, "kept", "url", &second);
    wait_for_failure(&mut gateway, &format!("127.0.0.1:{port}"));
    assert!(answer(offer(&gateway, 0..10)).contains("\"ack\""));
    // Somebody is there and drops a file: it is the later one, also when it is dropped while the agent is away.
    gateway.change("plant7", "plant9");
    let third = text(&gateway);
    wait_for_config(&mut gateway, "kept", "file", &third);
    gateway.wait_for_log("the file was dropped after the last configuration was pulled");
    gateway.stop();
    gateway.change("plant9", "plant6");
    gateway.launch();
    let fourth = text(&gateway);
    wait_for_config(&mut gateway, "kept", "file", &fourth);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

#[test]
fn no_manner_of_a_server_ends_the_pull_or_takes_what_runs_away() {
    let tls = tempfile::tempdir().unwrap();
    certificates(tls.path());
    let origin = Origin::start(tls.path(), None, None);
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}{}", fleet(&origin, TRUST)));
    fs::copy(tls.path().join("ca.crt"), gateway.path("ca.crt")).unwrap();
    gateway.launch();
    let first = text(&gateway);
    wait_for_failure(&mut gateway, "the server answered 503");
    origin.hold(&first.replace("plant7", "plant8"));
    for (manner, said) in [
        (
            Manner::Says("302 Found\r\nLocation: https://other.example/secret"),
            "answered 302 and points to `other.example`",
        ),
        (Manner::Says("404 Not Found"), "there is no such file"),
        (Manner::Says("304 Not Modified"), "the server answered 304"),
        (Manner::Says("204 No Content"), "the server answered 204"),
        (Manner::Slow, "it took longer than `fleet.timeout`"),
        (Manner::Endless, "larger than `fleet.max_size`"),
        (Manner::Cut, "the connection ended before"),
        (Manner::Short, "more came than its `Content-Length` says"),
        (Manner::Unbounded, "neither a `Content-Length`"),
        (Manner::Noise, "is not UTF-8"),
        (Manner::Nonsense, "the connection broke"),
        (Manner::HangsUp, "the connection broke"),
    ] {
        origin.behave(manner);
        wait_for_failure(&mut gateway, said);
        assert_eq!(gateway.status()["config"]["effective"], sum(&first));
    }
    keep(&gateway, 0..10);
    let table = tidegate()
        .args(["status", "--state"])
        .arg(gateway.path("state"))
        .output();
    let table = String::from_utf8(table.unwrap().stdout).unwrap();
    assert!(
        table.contains("configuration cannot be pulled: "),
        "{table}"
    );
    let log = gateway.log();
    assert!(!log.contains("/secret"), "{log}");
    let second = first.replace("plant7", "plant8");
    origin.behave(Manner::Good);
    wait_for_config(&mut gateway, "proving", "url", &second);
    gateway.wait_for_log("the configuration can be pulled again");
}

#[test]
fn only_who_is_trusted_is_asked_and_the_gateway_shows_who_it_is() {
    let tls = tempfile::tempdir().unwrap();
    certificates(tls.path());
    let origin = Origin::start(tls.path(), Some("ca"), Some("fleet-secret"));
    let more = "tls = { ca_file = \"$DIR/ca.crt\", cert_file = \"$DIR/own.crt\", key_file = \"$DIR/own.key\" }\nbearer = { file = \"$DIR/token\" }\n";
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}{}", fleet(&origin, more)));
    let put = |gateway: &Gateway, from: &str, to: &str| {
        fs::copy(tls.path().join(from), gateway.path(to)).unwrap();
    };
    put(&gateway, "other.crt", "ca.crt");
    put(&gateway, "stranger.crt", "own.crt");
    put(&gateway, "stranger.key", "own.key");
    gateway.launch();
    let second = text(&gateway).replace("plant7", "plant8");
    origin.offer(&second);
    wait_for_failure(&mut gateway, "the secret of `fleet.bearer` cannot be used");
    fs::write(gateway.path("token"), "guessed\n").unwrap();
    wait_for_failure(
        &mut gateway,
        "of no authority that is trusted: name its authority's in `fleet.tls.ca_file`",
    );
    put(&gateway, "ca.crt", "ca.crt");
    wait_for_failure(&mut gateway, "alert");
    put(&gateway, "client.key", "own.key");
    put(&gateway, "client.crt", "own.crt");
    wait_for_failure(
        &mut gateway,
        "answered 401 (it does not let this gateway in)",
    );
    assert_eq!(origin.answered(200), 0);
    fs::write(gateway.path("token"), "fleet-secret\n").unwrap();
    wait_for_config(&mut gateway, "proving", "url", &second);
    let log = gateway.log();
    assert!(
        !log.contains("fleet-secret") && !log.contains("guessed"),
        "{log}"
    );
}

#[test]
fn what_is_pulled_and_cannot_be_used_is_said_once_and_the_pull_goes_on() {
    let origin = Origin::plain();
    let fleet = fleet(&origin, "").replace("https://localhost", "http://127.0.0.1");
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}{fleet}")).start();
    let first = text(&gateway);
    origin.offer(&first.replace("site", "siet"));
    let rejected = |gateway: &mut Gateway| {
        let config = wait_for_config(gateway, "rejected", "url", &first);
        assert!(
            config["why"]
                .as_str()
                .unwrap()
                .contains("did you mean `site`?"),
            "{config}"
        );
    };
    rejected(&mut gateway);
    wait_for("304", || (origin.answered(304) > 1).then_some(()));
    let count = |gateway: &Gateway| {
        gateway
            .log()
            .matches("the new configuration is not used")
            .count()
    };
    assert_eq!(count(&gateway), 1, "{}", gateway.log());
    // SIGHUP reads what was delivered last, and that is what was pulled.
    send_signal(gateway.process(), "HUP");
    wait_for("the same once more", || {
        (count(&gateway) == 2).then_some(())
    });
    // There is none that delivered: the file runs at the next start.
    gateway.kill_9();
    gateway.launch();
    keep(&gateway, 0..10);
    let second = first.replace("plant7", "plant8");
    origin.offer(&second);
    wait_for_config(&mut gateway, "proving", "url", &second);
}

#[test]
fn what_is_pulled_and_does_not_deliver_is_gone_back_from_and_the_pull_goes_on() {
    needs_kafka!();
    let (kafka, origin) = (Kafka::shared(), Origin::plain());
    let fleet = fleet(&origin, "").replace("https://localhost", "http://127.0.0.1");
    let mut gateway = Gateway::new(&with_uplink(&kafka, &fleet)).start();
    let first = text(&gateway);
    wait_for_config(&mut gateway, "kept", "file", &first);
    let wrong = format!("127.0.0.1:{}", free_port());
    origin.offer(&without_fleet(&first.replace(&kafka.plain(), &wrong)));
    wait_for_config(&mut gateway, "returned", "url", &first);
    // It is not tried again, also not at a start, and it is asked whether there is another one.
    gateway.kill_9();
    gateway.launch();
    wait_for_config(&mut gateway, "returned", "url", &first);
    let known = origin.answered(304);
    wait_for("304", || (origin.answered(304) > known).then_some(()));
    assert_eq!(origin.answered(200), 1);
    let right = without_fleet(&first.replace("plant7", "plant8"));
    origin.offer(&right);
    wait_for_config(&mut gateway, "kept", "url", &right);
    gateway.assert_account_closes();
}

#[test]
fn what_is_pulled_is_taken_with_its_signature_alone_where_one_is_asked_for() {
    needs_kafka!();
    let (kafka, origin) = (Kafka::shared(), Origin::plain());
    let fleet = fleet(&origin, "").replace("https://localhost", "http://127.0.0.1");
    let mut gateway = Gateway::new(&with_uplink(&kafka, &fleet));
    let ops = key(&gateway, "ops", &["ed25519"]);
    let other = key(&gateway, "other", &["ed25519"]);
    allow(&gateway, &ops, "ops@example.com");
    let signed =
        |gateway: &Gateway, key, text: &str| signature(gateway, key, "tidegate-config", text);
    let first = text(&gateway);
    put(
        &gateway,
        "gateway.toml.sig",
        &signed(&gateway, &ops, &first),
    );
    gateway.launch();
    wait_for_config(&mut gateway, "kept", "file", &first);
    let second = without_fleet(&first.replace("plant7", "plant8"));
    origin.offer(&second);
    wait_for_failure(&mut gateway, "there is no signature beside it");
    origin.sign(signed(&gateway, &other, &second));
    wait_for_config(&mut gateway, "rejected", "url", &first);
    // Only the signature is another now.
    origin.sign(signed(&gateway, &ops, &second));
    let config = wait_for_config(&mut gateway, "kept", "url", &second);
    assert_eq!(config["effective_signer"], "ops@example.com");
    assert_eq!(config["pull_error"], Value::Null);
    drop(origin);
    gateway.kill_9();
    gateway.launch();
    wait_for_config(&mut gateway, "kept", "url", &second);
    // What was signed and is changed on the disk is not taken; the one that delivered runs.
    gateway.kill_9();
    let pulled = gateway.path("state/config/pulled.toml");
    fs::write(&pulled, second.replace("plant8", "plant9")).unwrap();
    gateway.launch();
    wait_for_config(&mut gateway, "rejected", "url", &second);
}

#[test]
fn a_first_file_that_cannot_be_used_is_mended_from_where_it_says_that_configurations_are() {
    let origin = Origin::plain();
    let fleet = fleet(&origin, "").replace("https://localhost", "http://127.0.0.1");
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}{fleet}"));
    let good = text(&gateway);
    gateway.change("socket =", "sockt =");
    gateway.launch();
    origin.offer(&good);
    wait_for_config(&mut gateway, "proving", "url", &good);
    keep(&gateway, 0..10);
}
