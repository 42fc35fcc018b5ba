//! A bad configuration never reaches a running gateway without being named.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use crate::rig::{project, send_signal, tidegate, wait_for};

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

/// What is warned of, but for the files of a gateway that are not on this machine.
pub(crate) fn warnings(said: &str) -> Vec<&str> {
    let elsewhere = |line: &str| {
        line.contains(": `/etc/tidegate/") && line.contains("` cannot be read: No such file")
    };
    let lines = said.lines().filter(|line| line.contains("warning"));
    lines.filter(|line| !elsewhere(line)).collect()
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
            let none: [&str; 0] = [];
            assert_eq!(warnings(&said), none, "{}", path.display());
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

/// What `check` says of a file with these variables around it.
fn check_with(text: &str, more: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let mut command = tidegate();
    let command = command.arg("check").args(more).arg(file.path());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_site_that_looks_like_a_number_stays_a_text_and_lists_and_sources_are_set_from_the_environment()
{
    let variables = [
        ("TIDEGATE__GATEWAY__SITE", "0412"),
        ("TIDEGATE__GATEWAY__ID", "1e5"),
        ("TIDEGATE__GATEWAY__TAGS__CUSTOMER", "7"),
        ("TIDEGATE__UPLINK__BROKERS", "a:9092,b:9092"),
        ("TIDEGATE__UPLINK__KAFKA__SOCKET_TIMEOUT_MS", "20000"),
        ("TIDEGATE__MQTT__PLANT__PORT", "1884"),
        ("TIDEGATE__MQTT__0__HOST", "broker"),
        ("TIDEGATE__MQTT__0__VERSION", "5"),
    ];
    let (code, said) = check_with(&format!("{UPLINK}{MQTT}"), &["--print"], &variables);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "site = \"0412\"",
        "id = \"1e5\"",
        "customer = \"7\"",
        "\"b:9092\"",
        "\"socket.timeout.ms\" = \"20000\"",
        "port = 1884",
        "host = \"broker\"",
        "version = \"5\"",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

#[test]
fn an_override_that_cannot_be_used_names_its_variable_and_no_line_of_the_file() {
    for (name, value, expected) in [
        (
            "MQTT__PLANT__PORT",
            "abc",
            "`abc` is no port; use 1 to 65535",
        ),
        ("MQTT__PRESS__PORT", "1", "`mqtt` has no element `press`"),
        (
            "GATEWAY__SIET",
            "x",
            "unknown key `gateway.siet`; did you mean `site`?",
        ),
        ("STATUS__HTTP", "maybe", "`maybe` is not true or false"),
    ] {
        let variable = format!("TIDEGATE__{name}");
        let text = format!("{UPLINK}{MQTT}");
        let (code, said) = check_with(&text, &[], &[(&variable, value)]);
        assert_eq!(code, Some(1), "{said}");
        let expected = format!(": environment {variable}: {expected}");
        assert!(said.contains(&expected), "{expected}\n{said}");
        assert!(!said.contains("line "), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_once_and_one_that_it_names_is_warned_of() {
    let (code, said) = check_file(Path::new("/nowhere/gateway.toml"));
    assert_eq!(code, Some(1));
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("/nowhere/gateway.toml: cannot be read: No such file"),
        "{said}"
    );
    let tls = "tls = { ca_file = \"/nowhere/ca.pem\" }\n";
    let login = "[[mqtt]]\nusername = \"u\"\npassword = { file = \"/nowhere/password\" }\n";
    let text = format!("{UPLINK}{tls}{}", MQTT.replace("[[mqtt]]\n", login));
    let (code, said) = check(&text);
    assert_eq!(code, Some(0), "it may be checked elsewhere: {said}");
    for part in [
        "line 3: warning: uplink.tls.ca_file: `/nowhere/ca.pem` cannot be read: No such file",
        "line 6: warning: mqtt[0].password: `/nowhere/password` cannot be read: No such file",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn what_check_has_come_to_refuse_still_runs_after_an_upgrade() {
    let source = MQTT.replace("[[mqtt]]\n", "[[mqtt]]\nhost = \"mqtt://h\"\n");
    let uplink = "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n";
    let topic = "[[intent]]\nname = \"state\"\ntopic = \"plant/state\"\n";
    let mut gateway = crate::rig::Gateway::new(&format!("{uplink}{source}{topic}"));
    let (code, said) = check_file(&gateway.path("gateway.toml"));
    assert_eq!(code, Some(1), "{said}");
    gateway.launch();
    for key in ["mqtt[0].host", "intent[0].topic"] {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains(key));
        assert!(
            line.is_some_and(|line| line.contains("the agent runs nonetheless")),
            "{log}"
        );
    }
    gateway.stop();
}

#[test]
fn a_status_port_that_another_program_has_stops_nothing_and_is_opened_once_it_is_free() {
    let taken = || TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |held: &TcpListener| held.local_addr().unwrap().port();
    let (first, second) = (taken(), taken());
    let (at, then) = (port(&first), port(&second));
    let uplink = "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n";
    let mut gateway = crate::rig::Gateway::new(uplink);
    gateway.change("http = false", &format!("listen = \"127.0.0.1:{at}\""));
    gateway.launch();
    let says = |log: &str, port: u16| {
        let mut lines = log.lines();
        lines.any(|line| {
            line.contains("the status port cannot be opened") && line.contains(&port.to_string())
        })
    };
    wait_for("the word on the port", || {
        says(&gateway.log(), at).then_some(())
    });
    drop(first);
    wait_for("the port", || is_well(at).then_some(()));
    // The same after a reload to another that is taken.
    gateway.change(&format!("127.0.0.1:{at}"), &format!("127.0.0.1:{then}"));
    send_signal(gateway.process(), "HUP");
    wait_for("the word on the port", || {
        says(&gateway.log(), then).then_some(())
    });
    wait_for("the next agent", || {
        (gateway.status()["epoch"] == 2).then_some(())
    });
    drop(second);
    wait_for("the port", || is_well(then).then_some(()));
    gateway.stop();
}

/// Whether an agent answers on this port that it is well.
fn is_well(port: u16) -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.starts_with("HTTP/1.1 200")
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
    let holder = format!(
        "another process, {} (tidegate); end that one first",
        first.process()
    );
    assert!(said.contains(&holder), "{said}");
    assert_eq!(first.status()["epoch"], 1);
}
