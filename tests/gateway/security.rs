//! Encrypted and authenticated links, against a cluster that grants nothing by default.

use std::fs;

use load::consume::{Reader, account};

use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, PATIENCE, project, publish_to};

fn tls() -> std::path::PathBuf {
    project().join(".cache/kafka/tls")
}

fn source(port: u16) -> String {
    format!(
        "[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {port}\n[[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/+\"\n\
         intent = \"state\"\n"
    )
}

fn arrives(kafka: &Kafka, uplink: &str, first: u64) {
    let mqtt = Mosquitto::start("");
    let gateway = Gateway::new(&(uplink.to_owned() + &source(mqtt.port) + &kafka.topics(&[])));
    fs::write(gateway.path("password"), "gateway-secret\n").unwrap();
    let mut gateway = gateway.start();
    gateway.wait_until_connected("plant");
    publish_to(mqtt.port, "plant/{d}/state/temp", first..first + 50, 0, 1);
    let mut reader = Reader::new(&kafka.plain(), &[&kafka.topic("state")], &[]);
    let numbers = first..first + 50;
    let records = reader.until(PATIENCE, |records| {
        account(records, numbers.clone()).lost == 0
    });
    assert_eq!(account(&records, numbers).lost, 0);
    assert!(
        !gateway.log().contains("gateway-secret"),
        "secrets are not logged"
    );
}

/// The right to write to this test's topics, as a gateway needs it.
fn grant(kafka: &Kafka, principal: &str) {
    let prefix = kafka.topic("");
    let topics = format!("--operation All --topic {prefix} --resource-pattern-type prefixed");
    for right in [&topics, "--operation IdempotentWrite --cluster"] {
        let mut arguments = vec!["--add", "--allow-principal", principal];
        arguments.extend(right.split(' '));
        kafka.command("acls", &arguments);
    }
}

#[test]
fn events_arrive_over_tls_with_scram_and_only_with_the_right_to_write() {
    needs_kafka!();
    let kafka = Kafka::shared();
    grant(&kafka, "User:gateway");
    for (mechanism, first) in [("SCRAM-SHA-256", 0), ("SCRAM-SHA-512", 50), ("PLAIN", 100)] {
        let uplink = format!(
            "[uplink]\nbrokers = [\"{}\"]\ntls = {{ ca_file = \"{}\" }}\nsasl = {{ mechanism = \"{mechanism}\", username = \"gateway\", password = {{ file = \"$DIR/password\" }} }}\n",
            kafka.sasl_ssl(),
            tls().join("ca.crt").display(),
        );
        arrives(&kafka, &uplink, first);
    }
}

#[test]
fn events_arrive_over_mutual_tls() {
    needs_kafka!();
    let kafka = Kafka::shared();
    grant(&kafka, "User:CN=gateway");
    let tls = tls();
    let uplink = format!(
        "[uplink]\nbrokers = [\"{}\"]\ntls = {{ ca_file = \"{}\", cert_file = \"{}\", key_file = \"{}\" }}\n",
        kafka.ssl(),
        tls.join("ca.crt").display(),
        tls.join("client.crt").display(),
        tls.join("client.key").display(),
    );
    arrives(&kafka, &uplink, 0);
}

#[test]
fn a_wrong_password_is_said_in_the_log_and_nothing_is_lost() {
    needs_kafka!();
    let (kafka, mqtt) = (Kafka::shared(), Mosquitto::start(""));
    let uplink = format!(
        "[uplink]\nbrokers = [\"{}\"]\ntls = {{ ca_file = \"{}\" }}\nsasl = {{ mechanism = \"SCRAM-SHA-256\", username = \"gateway\", password = {{ file = \"$DIR/password\" }} }}\n",
        kafka.sasl_ssl(),
        tls().join("ca.crt").display(),
    );
    let gateway = Gateway::new(&(uplink + &source(mqtt.port) + &kafka.topics(&[])));
    fs::write(gateway.path("password"), "wrong").unwrap();
    let mut gateway = gateway.start();
    gateway.wait_until_connected("plant");
    publish_to(mqtt.port, "plant/{d}/state/temp", 0..50, 0, 1);
    gateway.wait_for_log("uthentication failed");
    assert_eq!(gateway.lane("state")["buffered"], 50);
    // Rotated, as a secret store does it: a new file takes the place of the old one, and nobody sends a signal.
    grant(&kafka, "User:gateway");
    fs::write(gateway.path("password.new"), "gateway-secret\n").unwrap();
    fs::rename(gateway.path("password.new"), gateway.path("password")).unwrap();
    gateway.wait_until_drained();
    gateway.assert_account_closes();
    gateway.wait_for_log("the connections begin anew with it");
}

#[test]
fn mqtt_arrives_over_mutual_tls_and_a_password() {
    needs_kafka!();
    let (kafka, tls) = (Kafka::shared(), tls());
    let passwords = tempfile::NamedTempFile::new().unwrap();
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(passwords.path())
        .args(["gateway", "secret"])
        .status();
    assert!(made.unwrap().success());
    std::os::unix::fs::chown(passwords.path(), Some(0), None).unwrap_or_default();
    let secure = crate::rig::free_port();
    let mosquitto = format!(
        "per_listener_settings true\nlistener {secure} 127.0.0.1\nallow_anonymous false\npassword_file {}\ncafile {t}/ca.crt\n\
         certfile {t}/server.crt\nkeyfile {t}/server.key\nrequire_certificate true\nuser root\n",
        passwords.path().display(),
        t = tls.display()
    );
    let mqtt = Mosquitto::start(&mosquitto);
    for version in ["3.1.1", "5"] {
        let text = format!(
            "[uplink]\nbrokers = [\"{}\"]\n[[mqtt]]\nname = \"plant\"\nhost = \"localhost\"\nport = {secure}\nversion = \"{version}\"\n\
             client_id = \"secure-{version}\"\nusername = \"gateway\"\npassword = {{ file = \"$DIR/password\" }}\n\
             tls = {{ ca_file = \"{t}/ca.crt\", cert_file = \"{t}/client.crt\", key_file = \"{t}/client.key\" }}\n\
             [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/+\"\nintent = \"state\"\n",
            kafka.plain(),
            t = tls.display()
        );
        let gateway = Gateway::new(&(text + &kafka.topics(&[])));
        fs::write(gateway.path("password"), "secret\n").unwrap();
        gateway.start().wait_until_connected("plant");
    }
    drop(mqtt);
}
