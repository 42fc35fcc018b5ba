//! A configuration is pushed to a thousand sites, and nobody is there.

use std::fs;
use std::io::Write;

use load::consume::account;
use serde_json::Value;

use crate::keeping::{AWAY, VISION, answer, health, keep, offer};
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, free_port, publish_to, received, send_signal, tidegate, wait_for};

/// What is judged in ten minutes elsewhere.
pub(crate) const SOON: &str = "[fleet]\nprove_within = \"8s\"\n";

pub(crate) fn with_uplink(kafka: &Kafka) -> String {
    format!(
        "[uplink]\nbrokers = [\"{}\"]\n{VISION}{SOON}{}",
        kafka.plain(),
        kafka.topics(&[])
    )
}

pub(crate) fn wait_for_state(gateway: &mut Gateway, state: &str) -> Value {
    wait_for(state, || {
        let config = gateway.status()["config"].clone();
        (config["state"] == state).then_some(config)
    })
}

/// Offers events, and waits until the last has its receipt.
fn deliver(gateway: &Gateway, numbers: std::ops::Range<u64>) {
    let said = answer(offer(gateway, numbers));
    assert!(said.contains("\"ack\""), "{said}");
}

/// What `tidegate config status --wait` ends with, and says.
fn verdict(gateway: &Gateway) -> (Option<i32>, String) {
    let asked = tidegate()
        .args(["config", "status", "--wait", "1m", "-c"])
        .arg(gateway.path("gateway.toml"))
        .output()
        .unwrap();
    (
        asked.status.code(),
        String::from_utf8(asked.stdout).unwrap(),
    )
}

/// The SHA-256 of the file as it is.
pub(crate) fn sum(gateway: &Gateway) -> String {
    let output = std::process::Command::new("sha256sum")
        .arg(gateway.path("gateway.toml"))
        .output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    said.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_file_with_a_mistake_at_the_next_start_leaves_the_one_that_delivered_running() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    let kept = wait_for_state(&mut gateway, "kept");
    let good = sum(&gateway);
    assert_eq!(
        (&kept["attempted"], &kept["effective"]),
        (&Value::from(good.clone()), &Value::from(good.clone()))
    );
    gateway.stop();
    for (number, (from, to)) in [
        ("[fleet]", "[[fleet]"),
        ("[[fleet]", "[fleat]"),
        (
            "[fleat]\nprove_within = \"8s\"",
            "[fleet]\nprove_within = \"soon\"",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        gateway.change(from, to);
        gateway.launch();
        let number = number as u64 * 10;
        deliver(&gateway, number..number + 10);
        let config = wait_for_state(&mut gateway, "rejected");
        assert_eq!(config["effective"], Value::from(good.clone()));
        assert_eq!(config["attempted"], Value::from(sum(&gateway)));
        gateway.wait_until_drained();
        gateway.kill_9();
    }
    assert!(
        gateway
            .log()
            .contains("the one that delivered last runs instead")
    );
    // The file is put right.
    gateway.change("soon", "9s");
    gateway.launch();
    wait_for_state(&mut gateway, "kept");
    // The fleet learns of it.
    health(&kafka, |reports| {
        let rejected =
            |(kind, report): &(String, Value)| kind == "config" && report["state"] == "rejected";
        reports.iter().any(rejected)
    });
}

#[test]
fn a_file_that_needs_what_is_not_there_at_the_next_start_leaves_the_one_that_delivered_running() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    let good = sum(&gateway);
    gateway.stop();
    let tls = "[uplink.sasl]\nmechanism = \"PLAIN\"\nusername = \"u\"\npassword = { file = \"$DIR/missing\" }\n";
    gateway.change(VISION, &format!("{tls}{VISION}"));
    for number in 0..2 {
        gateway.launch();
        let number = number * 10;
        deliver(&gateway, number..number + 10);
        let config = wait_for_state(&mut gateway, "rejected");
        assert!(
            config["why"].as_str().unwrap().contains("missing"),
            "{config}"
        );
        assert_eq!(config["effective"], Value::from(good.clone()));
        gateway.kill_9();
    }
}

#[test]
fn a_source_whose_password_is_not_there_at_a_start_keeps_no_other_from_running() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mqtt = Mosquitto::start("");
    let port = format!("port = {}\n", mqtt.port);
    let password = "username = \"u\"\npassword = { file = \"$DIR/password\" }\n";
    let config = Rig::config(&mqtt, &kafka).replace(&port, &format!("{port}{password}"));
    let mut gateway = Gateway::new(&(config + &kafka.topics(&[]))).start();
    deliver(&gateway, 0..10);
    gateway.wait_for_log("cannot read the secret in");
    fs::write(gateway.path("password"), "secret").unwrap();
    gateway.wait_until_connected("plant");
}

#[test]
fn a_first_file_with_a_mistake_leaves_an_agent_that_reports() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka));
    gateway.change("socket =", "sockt =");
    gateway.launch();
    let config = wait_for_state(&mut gateway, "rejected");
    assert!(
        config["why"].as_str().unwrap().contains("inference[0]"),
        "{config}"
    );
    assert_eq!(gateway.status()["sources"], Value::Array(Vec::new()));
    wait_for("notices of it", || {
        (gateway.lane("health")["delivered"].as_u64()? > 0).then_some(())
    });
    gateway.change("sockt =", "socket =");
    send_signal(gateway.process(), "HUP");
    deliver(&gateway, 0..10);
    wait_for_state(&mut gateway, "kept");
}

#[test]
fn a_file_whose_uplink_does_not_connect_is_gone_back_from_where_the_one_before_does() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    let good = sum(&gateway);
    let (right, wrong) = (kafka.plain(), format!("127.0.0.1:{}", free_port()));
    gateway.change(&right, &wrong);
    let bad = sum(&gateway);
    send_signal(gateway.process(), "HUP");
    wait_for_state(&mut gateway, "proving");
    deliver(&gateway, 0..10);
    let config = wait_for_state(&mut gateway, "returned");
    assert_eq!(
        (config["attempted"].as_str(), config["effective"].as_str()),
        (Some(bad.as_str()), Some(good.as_str()))
    );
    assert!(
        config["why"]
            .as_str()
            .unwrap()
            .contains("that of the configuration before does"),
        "{config}"
    );
    gateway.wait_until_drained();
    let (code, said) = verdict(&gateway);
    assert!(
        code == Some(3) && said.contains(&bad) && said.contains(&good),
        "{code:?} {said}"
    );
    // Neither a reload nor a start tries it again.
    send_signal(gateway.process(), "HUP");
    gateway.wait_for_log("it is not tried again until");
    gateway.kill_9();
    gateway.launch();
    deliver(&gateway, 10..20);
    let config = wait_for_state(&mut gateway, "returned");
    assert_eq!(config["effective"].as_str(), Some(good.as_str()));
    gateway.wait_until_drained();
    // Somebody wants it tried once more.
    let retried = tidegate()
        .args(["config", "retry", "-c"])
        .arg(gateway.path("gateway.toml"))
        .status();
    assert!(retried.unwrap().success());
    wait_for_state(&mut gateway, "proving");
    wait_for_state(&mut gateway, "returned");
    // Put right.
    gateway.change(&wrong, &right);
    gateway.change("8s", "7s");
    // Nobody sends a signal.
    assert_eq!(verdict(&gateway).0, Some(0));
    gateway.assert_account_closes();
}

#[test]
fn an_outage_is_no_reason_to_go_back() {
    needs_kafka!();
    let mut kafka = Kafka::own().started();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    kafka.kill_9();
    gateway.change("site = \"plant7\"", "site = \"plant8\"");
    gateway.change("brokers = [\"", "in_flight = \"1 MiB\"\nbrokers = [\"");
    send_signal(gateway.process(), "HUP");
    let new = sum(&gateway);
    wait_for("the new one", || {
        let runs = gateway.try_status()?["config"]["effective"].clone();
        (runs == new.as_str()).then_some(())
    });
    deliver(&gateway, 0..10);
    let config = wait_for_state(&mut gateway, "unproven");
    assert_eq!(config["effective"].as_str(), Some(new.as_str()));
    gateway.stop();
    gateway.launch();
    kafka.launch();
    let config = wait_for_state(&mut gateway, "kept");
    assert_eq!(config["effective"].as_str(), Some(new.as_str()));
    gateway.wait_until_drained();
}

#[test]
fn a_source_that_was_well_and_is_not_any_more_is_a_reason_to_go_back() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut rig = Rig::start(kafka, &[]);
    let gateway = &mut rig.gateway;
    wait_for_state(gateway, "kept");
    let port = format!("port = {}", rig.mqtt.port);
    let bulk = "[replay]\n";
    gateway.change(bulk, &format!("{SOON}{bulk}"));
    gateway.change(&port, &format!("port = {}", free_port()));
    send_signal(gateway.process(), "HUP");
    wait_for_state(gateway, "proving");
    // Others that lose it too, while the first is on trial and right after it was gone back from: it was well before them.
    for (site, another) in [("plant7", "plant8"), ("plant8", "plant9")] {
        gateway.change(site, another);
        let (code, said) = verdict(gateway);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("source `plant`"), "{said}");
    }
    gateway.wait_until_connected("plant");
    rig.publish("plant/{d}/state/x", 0..100, 0);
    assert_eq!(rig.account("state", 0..100).lost, 0);
}

#[test]
fn a_source_that_does_not_come_back_with_the_one_before_either_was_no_reason() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mqtt = Mosquitto::start("");
    let port = mqtt.port;
    let config = Rig::config(&mqtt, &kafka) + &kafka.topics(&[]) + SOON;
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    wait_for_state(&mut gateway, "kept");
    drop(mqtt);
    gateway.change(
        "name = \"plant\"\n",
        "name = \"plant\"\nclient_id = \"another\"\n",
    );
    let new = sum(&gateway);
    send_signal(gateway.process(), "HUP");
    wait_for_state(&mut gateway, "returned");
    wait_for("the new one", || {
        let config = gateway.try_status()?["config"].clone();
        (config["effective"] == new.as_str()).then_some(())
    });
    let _mqtt = Mosquitto::on_port(port);
    wait_for_state(&mut gateway, "kept");
    gateway.wait_until_connected("plant");
    publish_to(port, "plant/{d}/state/x", 0..100, 0, 1);
    assert_eq!(account(&received(&kafka, "state", 0..100), 0..100).lost, 0);
}

#[test]
fn a_configuration_with_which_the_process_dies_twice_is_gone_back_from() {
    needs_kafka!();
    let kafka = Kafka::own().started();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    let good = sum(&gateway);
    gateway.change("8s", "10m");
    gateway.change(&kafka.plain(), &format!("127.0.0.1:{}", free_port()));
    for _ in 0..2 {
        gateway.kill_9();
        gateway.launch();
        wait_for_state(&mut gateway, "proving");
    }
    gateway.kill_9();
    gateway.launch();
    let config = wait_for_state(&mut gateway, "returned");
    assert!(
        config["why"].as_str().unwrap().contains("died 2 times"),
        "{config}"
    );
    assert_eq!(config["effective"].as_str(), Some(good.as_str()));
}

#[test]
fn whatever_a_power_cut_leaves_of_what_is_noted_the_gateway_starts() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    gateway.stop();
    let place = |name: &str| gateway.path("state/config").join(name);
    let (note, proved) = (place("state.json"), place("proved.toml"));
    let whole = fs::read(&note).unwrap();
    let number = std::cell::Cell::new(0_u64);
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&note, &whole[..cut]).unwrap();
        if number.get().is_multiple_of(2) {
            fs::write(&proved, &whole[..cut]).unwrap();
        }
        gateway.launch();
        let from = number.get() * 10;
        deliver(&gateway, from..from + 10);
        wait_for_state(&mut gateway, "kept");
        gateway.stop();
        number.set(number.get() + 1);
    }
}

#[test]
fn a_file_that_is_dropped_into_place_is_taken_without_a_signal_and_an_equal_one_is_not() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    let text = fs::read_to_string(gateway.path("gateway.toml")).unwrap();
    let drop = |text: &str| {
        fs::write(gateway.path("gateway.toml.new"), text).unwrap();
        fs::rename(
            gateway.path("gateway.toml.new"),
            gateway.path("gateway.toml"),
        )
        .unwrap();
    };
    let taken = || gateway.log().matches("the agent goes on with").count();
    drop(&text);
    drop(&text.replace("plant7", "plant8"));
    wait_for("the new one", || (taken() == 1).then_some(()));
    // One with a mistake is said, and costs nothing.
    drop(&text.replace("site", "siet"));
    gateway.wait_for_log("did you mean `site`?");
    drop(&text.replace("plant7", "plant8"));
    drop(&text.replace("plant7", "plant9"));
    wait_for("the third", || (taken() == 2).then_some(()));
    let log = gateway.log();
    assert_eq!(log.matches("INFO stopping").count(), 0, "{log}");
    wait_for("the status", || gateway.try_status());
}

#[test]
fn a_file_that_is_written_slowly_is_taken_when_it_is_whole() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    let text = fs::read_to_string(gateway.path("gateway.toml")).unwrap();
    let text = text.replace("plant7", "plant8");
    // A source less, until the rest of it is there.
    let (first, rest) = text.split_at(text.find("[[inference]]").unwrap());
    let mut file = fs::File::create(gateway.path("gateway.toml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    file.sync_all().unwrap();
    file.write_all(rest.as_bytes()).unwrap();
    std::mem::drop(file);
    gateway.wait_for_log("the file has changed");
    keep(&gateway, 0..10);
    assert_eq!(gateway.status()["sources"].as_array().unwrap().len(), 1);
    assert_eq!(gateway.log().matches("the agent goes on with").count(), 1);
}
