//! What somebody does about a configuration by hand, and what is remembered of it.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::keeping::{buffer, flip, health, keep, logs, of_kind, out};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, tidegate, wait_for};
use crate::rollout::{sum, wait_for_state, with_uplink};

fn config(gateway: &Gateway, arguments: &[&str], file: bool) -> Output {
    let mut command = tidegate();
    command.arg("config").args(arguments);
    if file {
        command.arg(gateway.path("gateway.toml"));
    }
    command.output().unwrap()
}

/// Each entry of the history: what it says, of which file, and who did it.
fn history(gateway: &Gateway) -> Vec<(String, String, Option<String>)> {
    let state = gateway.path("state");
    let said = out(&config(
        gateway,
        &["history", "--json", "--state", state.to_str().unwrap()],
        false,
    ));
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| entry[key].as_str().map(ToOwned::to_owned);
        (text("what").unwrap(), text("sha256").unwrap(), text("by"))
    };
    said.lines().map(entry).collect()
}

fn wait_until_kept(gateway: &mut Gateway, sum: &str) {
    wait_for("it to be kept", || {
        let config = gateway.status()["config"].clone();
        (config["state"] == "kept" && config["effective"] == sum).then_some(())
    });
}

/// Both were kept, then somebody went back from the second, and tried it again.
fn assert_remembered(gateway: &Gateway, first: &str, second: &str) {
    let said = history(gateway);
    let of = |what: &str, sum: &str| {
        said.iter()
            .rfind(|one| (&*one.0, &*one.1) == (what, sum))
            .cloned()
    };
    for (what, sum) in [("kept", first), ("kept", second), ("returned", second)] {
        assert_eq!(of(what, sum).expect(what).2, None);
    }
    let user = format!("uid {}", rustix::process::getuid().as_raw());
    assert_eq!(
        of("return", second).expect("what somebody did").2,
        Some(user.clone())
    );
    assert_eq!(of("retry", first).expect("what somebody did").2, Some(user));
}

#[test]
fn a_configuration_that_delivers_and_is_wrong_is_gone_back_from_by_hand_and_that_is_remembered() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    let first = sum(&gateway);
    let refused = config(&gateway, &["return", "-c"], true);
    assert_eq!(refused.status.code(), Some(1), "there is nothing before it");
    assert_eq!(out(&config(&gateway, &["diff"], true)), "");

    gateway.change("name = \"vision\"", "name = \"sight\"");
    let differs = config(&gateway, &["diff"], true);
    assert_eq!(differs.status.code(), Some(1));
    assert!(
        out(&differs).contains("- inference[vision].name = \"vision\"\n"),
        "{differs:?}"
    );
    let second = sum(&gateway);
    wait_until_kept(&mut gateway, &second);
    keep(&gateway, 0..10);

    let done = config(&gateway, &["return", "-c"], true);
    assert!(done.status.success(), "{done:?}");
    let returned = wait_for_state(&mut gateway, "returned");
    assert_eq!(
        (&returned["attempted"], &returned["effective"]),
        (&Value::from(&*second), &Value::from(&*first))
    );
    assert!(
        returned["why"]
            .as_str()
            .unwrap()
            .contains("tidegate config return"),
        "{returned}"
    );
    keep(&gateway, 10..20);
    // A start keeps to that.
    gateway.kill_9();
    gateway.launch();
    assert_eq!(
        wait_for_state(&mut gateway, "returned")["effective"],
        *first
    );
    assert!(config(&gateway, &["retry", "-c"], true).status.success());
    wait_until_kept(&mut gateway, &second);
    assert_remembered(&gateway, &first, &second);
    gateway.wait_until_drained();
    gateway.assert_account_closes();
}

#[test]
fn where_the_file_of_the_one_that_delivered_last_is_damaged_the_one_before_runs() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let mut gateway = Gateway::new(&with_uplink(&kafka)).start();
    wait_for_state(&mut gateway, "kept");
    let first = sum(&gateway);
    gateway.change("plant7", "plant8");
    let second = sum(&gateway);
    wait_until_kept(&mut gateway, &second);
    gateway.stop();
    // A mistake in the file, and of what delivered last there is a part that has none.
    let proved = gateway.path("state/config/proved.toml");
    let whole = fs::read_to_string(&proved).unwrap();
    fs::write(&proved, whole.split("[[intent]]").next().unwrap()).unwrap();
    gateway.change("socket =", "sockt =");
    gateway.launch();
    assert_eq!(
        wait_for_state(&mut gateway, "rejected")["effective"],
        *first
    );
    keep(&gateway, 0..10);
}

#[test]
fn the_fleet_is_told_who_repaired_a_buffer() {
    needs_kafka!();
    let (kafka, away) = (Kafka::shared(), "127.0.0.1:9");
    let mut gateway = Gateway::new(&with_uplink(&kafka).replace(&kafka.plain(), away)).start();
    for batch in 0..3 {
        keep(&gateway, batch * 300..(batch + 1) * 300);
    }
    gateway.stop();
    flip(logs(&gateway).first().unwrap());
    let repaired = out(&buffer(&gateway, &["repair"]));
    assert!(repaired.contains("1 generations repaired"), "{repaired}");
    let user = format!("uid {}", rustix::process::getuid().as_raw());
    let said = history(&gateway);
    let (what, _, by) = said.last().unwrap();
    assert_eq!(
        (what.as_str(), by.as_deref()),
        ("buffer repair", Some(user.as_str()))
    );
    gateway.change(away, &kafka.plain());
    gateway.launch();
    let reports = health(&kafka, |reports| {
        reports.iter().any(|(kind, _)| kind == "act")
    });
    let acts: Vec<&Value> = of_kind(&reports, "act").collect();
    assert_eq!(acts.len(), 1);
    assert_eq!(
        (&acts[0]["what"], &acts[0]["by"]),
        (&Value::from("buffer repair"), &Value::from(user))
    );
    assert_eq!(acts[0]["why"], "1 generations repaired");
}
