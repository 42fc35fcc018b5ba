//! A bad configuration never reaches a running gateway without being named.

use std::fs;
use std::path::Path;

use crate::rig::{project, tidegate};

pub(crate) fn check(text: &str) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    check_file(file.path())
}

pub(crate) fn check_file(path: &Path) -> (Option<i32>, String) {
    let output = tidegate().arg("check").arg(path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn every_configuration_that_is_shipped_is_good() {
    let mut seen = 0;
    for entry in fs::read_dir(project().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let (code, said) = check_file(&path);
            assert_eq!(code, Some(0), "{}: {said}", path.display());
            assert!(!said.contains("warning"), "{}: {said}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3);
    let minimal = fs::read_to_string(project().join("configs/minimal.toml")).unwrap();
    assert!(minimal.lines().count() < 25);
}

pub(crate) const UPLINK: &str = "[uplink]\nbrokers = [\"kafka:9092\"]\n";
pub(crate) const MQTT: &str =
    "[[mqtt]]\nname = \"plant\"\n[[mqtt.subscribe]]\ntopic = \"a/{device}\"\n";

#[test]
fn a_session_that_carries_alarms_and_bulk_is_warned_of_unless_a_route_makes_them_one() {
    let alarm = "[[mqtt.subscribe]]\ntopic = \"b/{device}\"\nintent = \"critical\"\n";
    let route = "[[route]]\nsource = \"plant\"\nintent = \"state\"\n";
    let another = "[[mqtt]]\nname = \"alarms\"\n";
    for (more, warned) in [
        (alarm.to_owned(), true),
        (format!("{alarm}{route}"), false),
        (alarm.replace("intent", "qos = 0\nintent"), false),
        (format!("{another}{alarm}"), false),
    ] {
        let (code, said) = check(&format!("{UPLINK}{MQTT}{more}"));
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(
            said.contains("shares this connection"),
            warned,
            "{more}\n{said}"
        );
    }
}

#[test]
fn a_linger_that_would_write_each_event_to_the_flash_first_is_warned_of_and_a_metered_link_sets_none()
 {
    let metered = "[link]\nmetered = true\n";
    for (more, warned) in [
        ("linger = \"3s\"", true),
        ("linger = \"3s\"\npersist_after = \"4s\"", false),
        ("linger = \"3s\"\npersist_after = \"0s\"", false),
        ("linger = \"3s\"\nurgent = true", false),
        ("persist_after = \"1s\"", false),
    ] {
        for link in ["", metered] {
            let intent = format!("[[intent]]\nname = \"state\"\n{more}\n");
            let (code, said) = check(&format!("{UPLINK}{link}{intent}"));
            assert_eq!(code, Some(0), "{said}");
            let says = said.contains("written to the flash before it is sent");
            assert_eq!(says, warned, "{link}{more}\n{said}");
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[uplink]\nbrokers = [\"kafka\"]\n[gateway]\nsiet = \"x\"\n[log]\nlevel = 5\n[[route]]\nintent = \"nothing\"\n";
    let (code, said) = check(text);
    assert_eq!(code, Some(1));
    for part in [
        "uplink.brokers[0]",
        "gateway.siet",
        "log.level",
        "route[0].intent",
        "4 to be put right",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
}

#[test]
fn the_environment_overrides_the_file_and_print_shows_the_outcome() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{UPLINK}{MQTT}")).unwrap();
    let mut command = tidegate();
    command
        .args(["check", "--print"])
        .arg(file.path())
        .env("TIDEGATE__GATEWAY__SITE", "plant7")
        .env("TIDEGATE__STATUS__HTTP", "false");
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(
        said.contains("site = \"plant7\"") && said.contains("http = false"),
        "{said}"
    );
    let (code, again) = check(&said);
    assert_eq!(code, Some(0), "what is printed is a configuration: {again}");
}

#[test]
fn a_second_agent_on_the_same_state_says_so_and_leaves_the_first_alone() {
    let mut first = crate::rig::Gateway::new("[uplink]\nbrokers = [\"127.0.0.1:9\"]\n[[inference]]\nname = \"v\"\nsocket = \"$DIR/v.sock\"\n").start();
    let second = tidegate()
        .args(["run", "-c"])
        .arg(first.path("gateway.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        !second.status.success() && said.contains("is in use by another process"),
        "{said}"
    );
    assert_eq!(first.status()["epoch"], 1);
}
