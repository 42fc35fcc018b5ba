//! Whoever can write the file, or stands on its way, is not yet the fleet; and half a file is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::keeping::{VISION, answer, errors, offer, out};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, send_signal, tidegate, wait_for};

const SIGNERS: &str = "allowed_signers";

fn with_uplink(kafka: &Kafka, more: &str) -> String {
    format!(
        "[uplink]\nbrokers = [\"{}\"]\n{VISION}{}[fleet]\nprove_within = \"1m\"\n{more}",
        kafka.plain(),
        kafka.topics(&[])
    )
}

fn text(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.path("gateway.toml")).unwrap()
}

/// Makes a key with `ssh-keygen`, and lets it sign.
pub(crate) fn key(gateway: &Gateway, name: &str, kind: &[&str]) -> PathBuf {
    let path = gateway.path(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "", "-t"])
        .args(kind)
        .arg("-f")
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    path
}

pub(crate) fn allow(gateway: &Gateway, key: &Path, who: &str) {
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let before = fs::read_to_string(gateway.path(SIGNERS)).unwrap_or_default();
    let line = format!("{before}{who} namespaces=\"tidegate-config\" {public}");
    fs::write(gateway.path(SIGNERS), line).unwrap();
}

/// What `ssh-keygen -Y sign` writes for a text.
pub(crate) fn signature(gateway: &Gateway, key: &Path, namespace: &str, text: &str) -> Vec<u8> {
    let (unsigned, signed) = (gateway.path("unsigned"), gateway.path("unsigned.sig"));
    fs::write(&unsigned, text).unwrap();
    fs::remove_file(&signed).ok();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .args([key, &unsigned])
        .status();
    assert!(made.unwrap().success());
    fs::read(signed).unwrap()
}

/// Puts a file into its place, whole.
pub(crate) fn put(gateway: &Gateway, name: &str, content: &[u8]) {
    fs::write(gateway.path("new"), content).unwrap();
    fs::rename(gateway.path("new"), gateway.path(name)).unwrap();
}

fn push(gateway: &Gateway, key: &Path, text: &str) {
    let signature = signature(gateway, key, "tidegate-config", text);
    put(gateway, "gateway.toml.sig", &signature);
    put(gateway, "gateway.toml", text.as_bytes());
}

fn wait_until(gateway: &mut Gateway, state: &str, why: &str) -> Value {
    wait_for(&format!("{state}: {why}"), || {
        let config = gateway.try_status()?["config"].clone();
        let said = config["why"].as_str().unwrap_or_default();
        (config["state"] == state && said.contains(why)).then_some(config)
    })
}

fn deliver(gateway: &Gateway, numbers: std::ops::Range<u64>) {
    let said = answer(offer(gateway, numbers));
    assert!(said.contains("\"ack\""), "{said}");
}

#[test]
fn where_somebody_must_sign_nothing_else_is_taken_and_what_ran_goes_on() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka, ""));
    let ops = key(&gateway, "ops", &["ed25519"]);
    let stranger = key(&gateway, "stranger", &["ed25519"]);
    allow(&gateway, &ops, "ops@example.com");
    let good = text(&gateway);
    push(&gateway, &ops, &good);
    gateway.launch();
    let kept = wait_until(&mut gateway, "kept", "");
    assert_eq!(kept["attempted_signer"], "ops@example.com");
    assert_eq!(kept["effective_signer"], "ops@example.com");
    let other = good.replace("plant7", "plant8");
    let sign =
        |gateway: &Gateway, key: &Path, namespace| signature(gateway, key, namespace, &other);
    let cases = [
        (
            sign(&gateway, &stranger, "tidegate-config"),
            "signer is not allowed",
        ),
        (sign(&gateway, &ops, "git"), "namespace `git`"),
        (
            sign(&gateway, &ops, "tidegate-config")[..90].to_vec(),
            "no SSHSIG",
        ),
        (
            signature(&gateway, &ops, "tidegate-config", &good),
            "is another than what was signed",
        ),
    ];
    for (number, (signature, why)) in (0..).zip(cases) {
        put(&gateway, "gateway.toml.sig", &signature);
        put(&gateway, "gateway.toml", other.as_bytes());
        let config = wait_until(&mut gateway, "rejected", why);
        assert_eq!(config["effective"], kept["effective"]);
        deliver(&gateway, number * 10..number * 10 + 10);
        let checked = tidegate()
            .arg("check")
            .arg(gateway.path("gateway.toml"))
            .output();
        let said = errors(&checked.unwrap());
        assert!(said.contains(why), "{said}");
    }
    // A start takes what was proved, and the signature may come after the text.
    fs::remove_file(gateway.path("gateway.toml.sig")).unwrap();
    gateway.kill_9();
    gateway.launch();
    deliver(&gateway, 50..60);
    let config = wait_until(&mut gateway, "rejected", "no signature");
    assert_eq!(config["effective"], kept["effective"]);
    assert_eq!(config["effective_signer"], "ops@example.com");
    let late = sign(&gateway, &ops, "tidegate-config");
    put(&gateway, "gateway.toml.sig", &late);
    let config = wait_until(&mut gateway, "kept", "");
    assert_eq!(config["attempted"], config["effective"]);
    assert_ne!(config["effective"], kept["effective"]);
}

#[test]
fn the_environment_changes_nothing_that_was_signed_but_says_which_gateway_it_is() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka, ""));
    let ops = key(&gateway, "ops", &["ecdsa", "-b", "256"]);
    allow(&gateway, &ops, "ops@example.com");
    let good = text(&gateway);
    push(&gateway, &ops, &good);
    gateway.launch_with(&[("TIDEGATE__GATEWAY__SITE", "plant9")]);
    let kept = wait_until(&mut gateway, "kept", "");
    gateway.stop();
    gateway.launch_with(&[("TIDEGATE__UPLINK__CLIENT_ID", "other")]);
    let why = "environment TIDEGATE__UPLINK__CLIENT_ID: the configuration must be signed";
    let config = wait_until(&mut gateway, "rejected", why);
    assert_eq!(config["effective"], kept["effective"]);
    deliver(&gateway, 0..10);
}

#[test]
fn an_old_configuration_is_refused_unless_a_signed_one_says_what_it_replaces() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka, "serial = 7\n"));
    let ops = key(&gateway, "ops", &["rsa", "-b", "2048"]);
    allow(&gateway, &ops, "ops@example.com");
    let seven = text(&gateway);
    push(&gateway, &ops, &seven);
    gateway.launch();
    let kept = wait_until(&mut gateway, "kept", "");
    assert_eq!(kept["effective_serial"], 7);
    push(&gateway, &ops, &seven.replace("serial = 7", "serial = 6"));
    let config = wait_until(&mut gateway, "rejected", "is 6, and one with 7");
    assert_eq!(config["effective"], kept["effective"]);
    gateway.kill_9();
    gateway.launch();
    wait_until(&mut gateway, "rejected", "is 6, and one with 7");
    push(
        &gateway,
        &ops,
        &seven.replace("serial = 7", "serial = 6\nreplaces = 7"),
    );
    let config = wait_until(&mut gateway, "kept", "");
    assert_eq!(config["effective_serial"], 6);
    let noted = wait_for("the note", || {
        let text = fs::read_to_string(gateway.path("state/config/state.json")).ok()?;
        let noted: Value = serde_json::from_str(&text).ok()?;
        (noted["state"] == "kept").then_some(noted)
    });
    assert_eq!(
        (&noted["serial"], &noted["proved"]["serial"]),
        (&7.into(), &6.into())
    );
    let said = tidegate()
        .args(["config", "status", "-c"])
        .arg(gateway.path("gateway.toml"))
        .output();
    let said = out(&said.unwrap());
    assert!(
        said.contains(", serial 6, signed by ops@example.com"),
        "{said}"
    );
}

#[test]
fn a_sealed_file_that_was_cut_or_changed_is_refused_and_a_person_may_have_it_tried() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka, ""));
    let file = gateway.path("gateway.toml");
    let seal = || {
        let sealed = tidegate()
            .args(["config", "seal"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(sealed.status.success(), "{}", errors(&sealed));
    };
    seal();
    let good = text(&gateway);
    gateway.launch();
    let kept = wait_until(&mut gateway, "kept", "");
    let cut = &good[..good.find("[fleet]").unwrap()];
    for (text, why) in [
        (
            good.replace("plant7", "plant8"),
            "seal: the text is another",
        ),
        (format!("{good}[log]\n"), "seal: there is text after"),
        (
            good[..good.len() - 9].to_owned(),
            "seal: the last line is no whole seal",
        ),
        (cut.to_owned(), "neither a seal nor a signature"),
    ] {
        put(&gateway, "gateway.toml", text.as_bytes());
        let config = wait_until(&mut gateway, "rejected", why);
        assert_eq!(config["effective"], kept["effective"]);
        deliver(&gateway, 0..10);
    }
    let retry = |more: &[&str]| {
        let asked = tidegate()
            .args(["config", "retry", "-c"])
            .arg(&file)
            .args(more)
            .output();
        assert!(asked.unwrap().status.success());
    };
    retry(&[]);
    wait_until(&mut gateway, "rejected", "neither a seal nor a signature");
    retry(&["--force"]);
    let config = wait_until(&mut gateway, "kept", "");
    assert_ne!(config["effective"], kept["effective"]);
}

#[test]
fn a_file_that_removes_most_sources_is_not_tried_unless_it_says_so() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let more = |name: &str| VISION.replace("vision", name);
    let sources = more("second") + &more("third");
    let mut gateway = Gateway::new(&with_uplink(&kafka, &sources)).start();
    let kept = wait_until(&mut gateway, "kept", "");
    gateway.change(&sources, "");
    send_signal(gateway.process(), "HUP");
    let config = wait_until(&mut gateway, "rejected", "removes 2 of 3 sources");
    assert_eq!(config["effective"], kept["effective"]);
    assert_eq!(gateway.status()["sources"].as_array().unwrap().len(), 3);
    gateway.change("prove_within", "may_remove_sources = true\nprove_within");
    wait_until(&mut gateway, "kept", "");
    assert_eq!(gateway.status()["sources"].as_array().unwrap().len(), 1);
}
