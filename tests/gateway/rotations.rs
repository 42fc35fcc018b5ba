//! Certificates, keys, authorities and passwords that are replaced while the gateway runs: nobody sends it a signal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::keeping::{VISION, keep};
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, free_port, project, wait_for};

fn tls() -> PathBuf {
    project().join(".cache/kafka/tls")
}

pub(crate) fn openssl(directory: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(directory);
    let output = command.output().expect("openssl is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
}

pub(crate) const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// An authority: `name.crt` and `name.key`.
pub(crate) fn authority(directory: &Path, name: &str) {
    let files = format!("-keyout {name}.key -out {name}.crt");
    openssl(
        directory,
        &format!("req -x509 {KEY} -days 30 -subj /CN={name} {files}"),
    );
}

/// A certificate for `name` by the authority whose files are at `by`: `name.crt` and `name.key`.
fn certificate(directory: &Path, name: &str, by: &Path) {
    let files = format!("-keyout {name}.key -out {name}.csr");
    openssl(directory, &format!("req {KEY} -subj /CN={name} {files}"));
    let by = by.display();
    fs::write(directory.join("extensions"), "basicConstraints=CA:FALSE\n").unwrap();
    let sign = format!("-CA {by}.crt -CAkey {by}.key -set_serial 7 -days 30 -extfile extensions");
    openssl(
        directory,
        &format!("x509 -req -in {name}.csr -out {name}.crt {sign}"),
    );
}

/// Puts a file in place of another at once, as a secret store does it.
fn rename(gateway: &Gateway, from: &str, to: &str) {
    fs::copy(gateway.path(from), gateway.path("fresh")).unwrap();
    fs::rename(gateway.path("fresh"), gateway.path(to)).unwrap();
}

/// Writes a file where another was, as an editor or a script does it.
fn overwrite(gateway: &Gateway, from: &str, to: &str) {
    let text = fs::read(gateway.path(from)).unwrap();
    fs::write(gateway.path(to), text).unwrap();
}

fn wait_for_logs(gateway: &Gateway, text: &str, count: usize) {
    wait_for(text, || {
        (gateway.log().matches(text).count() >= count).then_some(())
    });
}

/// The right to write to this test's topics, given or taken.
fn right(kafka: &Kafka, change: &str, name: &str) {
    let principal = format!("User:CN={name}");
    let (prefix, force) = (kafka.topic(""), change == "--remove");
    let topics = format!("--operation All --topic {prefix} --resource-pattern-type prefixed");
    for one in [&topics, "--operation IdempotentWrite --cluster"] {
        let mut arguments = vec![change, "--allow-principal", &principal];
        arguments.extend(one.split(' '));
        arguments.extend(force.then_some("--force"));
        kafka.command("acls", &arguments);
    }
}

#[test]
fn a_certificate_of_the_uplink_that_is_rotated_in_two_steps_is_taken_and_the_link_lasts() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let uplink = format!(
        "[uplink]\nbrokers = [\"{}\"]\ntopic_retry = \"1s\"\ntls = {{ ca_file = \"$DIR/ca.pem\", cert_file = \"$DIR/cert.pem\", key_file = \"$DIR/key.pem\" }}\n{VISION}",
        kafka.ssl(),
    );
    let mut gateway = Gateway::new(&(uplink + &kafka.topics(&[])));
    let directory = gateway.directory.path().to_owned();
    for name in ["first", "second"] {
        certificate(&directory, name, &tls().join("ca"));
        right(&kafka, "--add", name);
    }
    // The authority is one that the broker's certificate is not from, at first.
    authority(&directory, "stranger");
    fs::copy(tls().join("ca.crt"), gateway.path("right.crt")).unwrap();
    rename(&gateway, "stranger.crt", "ca.pem");
    rename(&gateway, "first.crt", "cert.pem");
    rename(&gateway, "first.key", "key.pem");
    gateway.launch();
    keep(&gateway, 0..10);
    gateway.wait_for_log("trouble with the cluster");
    overwrite(&gateway, "right.crt", "ca.pem");
    gateway.wait_until_drained();
    wait_for_logs(&gateway, "the connections begin anew with it", 1);
    // A certificate without its key yet, and half of a file: the old ones are used.
    overwrite(&gateway, "second.crt", "cert.pem");
    wait_for_logs(&gateway, "the old one goes on", 1);
    keep(&gateway, 10..20);
    gateway.wait_until_drained();
    let half = fs::read(gateway.path("second.key")).unwrap();
    fs::write(gateway.path("key.pem"), &half[..half.len() / 2]).unwrap();
    wait_for_logs(&gateway, "the connections begin anew with it", 3);
    keep(&gateway, 20..30);
    gateway.wait_until_drained();
    rename(&gateway, "second.key", "key.pem");
    wait_for_logs(&gateway, "the connections begin anew with it", 4);
    // The old certificate has no right any more.
    right(&kafka, "--remove", "first");
    keep(&gateway, 30..40);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    assert_eq!(gateway.lane("state")["delivered"], 40);
}

/// A mosquitto that lets in who has a certificate of `authority` and this password.
fn broker(gateway: &Gateway, port: u16, authority: &str, password: &str) -> Mosquitto {
    let passwords = gateway.path("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["gateway", password])
        .status();
    assert!(made.unwrap().success());
    Mosquitto::start(&format!(
        "per_listener_settings true\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\ncafile {}\n\
         certfile {t}/server.crt\nkeyfile {t}/server.key\nrequire_certificate true\nuser root\n",
        passwords.display(),
        gateway.path(authority).display(),
        t = tls().display()
    ))
}

/// Its broker is lost first, where it is not yet.
fn wait_until_lost(gateway: &mut Gateway) {
    wait_for("the source to be lost", || {
        (gateway.status()["sources"][0]["connected"] == false).then_some(())
    });
}

#[test]
fn a_certificate_and_a_password_of_an_mqtt_source_that_are_rotated_are_taken_at_its_next_connection()
 {
    // The certificates of the broker itself are made with those of Kafka.
    needs_kafka!();
    let port = free_port();
    let mut gateway = Gateway::new(&format!(
        "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n[[mqtt]]\nname = \"plant\"\nhost = \"localhost\"\nport = {port}\n\
         username = \"gateway\"\npassword = {{ file = \"$DIR/password\" }}\n\
         tls = {{ ca_file = \"{}/ca.crt\", cert_file = \"$DIR/cert.pem\", key_file = \"$DIR/key.pem\" }}\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/+\"\nintent = \"state\"\n",
        tls().display()
    ));
    let directory = gateway.directory.path().to_owned();
    for (name, by) in [("first", "old"), ("second", "new")] {
        authority(&directory, by);
        certificate(&directory, name, &directory.join(by));
    }
    rename(&gateway, "first.crt", "cert.pem");
    rename(&gateway, "first.key", "key.pem");
    fs::write(gateway.path("password"), "old-secret\n").unwrap();
    let mqtt = broker(&gateway, port, "old.crt", "old-secret");
    gateway.launch();
    gateway.wait_until_connected("plant");
    // The broker trusts another authority now; the certificate comes before its key.
    drop(mqtt);
    wait_until_lost(&mut gateway);
    let mqtt = broker(&gateway, port, "new.crt", "old-secret");
    overwrite(&gateway, "second.crt", "cert.pem");
    gateway.wait_for_log("connections go on with the login from before");
    rename(&gateway, "second.key", "key.pem");
    gateway.wait_until_connected("plant");
    gateway.wait_for_log("this connection begins with it");
    // And another password.
    drop(mqtt);
    wait_until_lost(&mut gateway);
    let _mqtt = broker(&gateway, port, "new.crt", "new-secret");
    fs::write(gateway.path("password"), "new-secret\n").unwrap();
    gateway.wait_until_connected("plant");
    wait_for_logs(&gateway, "this connection begins with it", 2);
    for secret in ["old-secret", "new-secret"] {
        assert!(!gateway.log().contains(secret), "secrets are not logged");
    }
}
