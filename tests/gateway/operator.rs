//! What an operator, a scraper and a packager ask of the binary.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use serde_json::Value;

use crate::rig::{Gateway, PATIENCE, free_port, project, send_signal, tidegate, wait_for};

/// A gateway whose cluster is away, with its status on a port.
pub(crate) fn gateway_with_port() -> (Gateway, u16) {
    with_port(
        "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n",
    )
}

/// A gateway with its status on a port.
pub(crate) fn with_port(config: &str) -> (Gateway, u16) {
    let gateway = Gateway::new(config);
    let (path, port) = (gateway.path("gateway.toml"), free_port());
    let text = fs::read_to_string(&path).unwrap();
    let served = format!("http = true\nlisten = \"127.0.0.1:{port}\"");
    fs::write(&path, text.replace("http = false", &served)).unwrap();
    (gateway.start(), port)
}

/// Head and body of an answer.
pub(crate) fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn with_the_link_down_the_status_says_so_and_what_waits() {
    let (mut gateway, port) = gateway_with_port();
    let socket = gateway.path("vision.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(
        stream,
        r#"{{"intent":"critical","device":"cam-1","payload":1}}"#
    )
    .unwrap();
    wait_for("the event", || {
        (gateway.lane("critical")["buffered"] == 1).then_some(())
    });

    wait_for("the link to be down", || {
        (gateway.status()["link"]["up"] == false).then_some(())
    });
    let output = tidegate()
        .args(["status", "-c"])
        .arg(gateway.path("gateway.toml"))
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    for expected in ["gateway gw-1", "link DOWN", "127.0.0.1:9", "vision"] {
        assert!(table.contains(expected), "{expected} in:\n{table}");
    }
    let critical = table
        .lines()
        .find(|line| line.starts_with("critical"))
        .unwrap();
    let numbers: Vec<&str> = critical.split_whitespace().collect();
    assert_eq!(
        numbers[1..4],
        ["1", "0", "1"],
        "accepted, delivered, buffered"
    );

    let (head, metrics) = get(port, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("openmetrics-text"));
    assert!(
        metrics.contains("tidegate_lane_accepted_total{lane=\"critical\"} 1.0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("tidegate_link_up{} 0.0") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert_eq!(get(port, "/healthz").1, "ok\n");
    let status: Value = serde_json::from_str(&get(port, "/status").1).unwrap();
    assert_eq!(status["gateway"], "gw-1");
    assert!(get(port, "/else").0.starts_with("HTTP/1.1 404"));
}

#[test]
fn status_without_an_agent_says_where_it_looked() {
    let directory = tempfile::TempDir::new().unwrap();
    let output = tidegate()
        .args(["status", "--state"])
        .arg(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("no agent answers on") && said.contains("status.sock"),
        "{said}"
    );
}

#[test]
fn a_packager_gets_completions_a_manual_page_and_the_versions() {
    let by = |mut binary: Command, arguments: &[&str]| {
        let output = binary.args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    // A gateway's own binary has neither completions nor the page.
    let say = |arguments: &[&str]| by(Command::new(env!("CARGO_BIN_EXE_tidegate")), arguments);
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), say(&["completions", "bash"])).unwrap();
    let completed = Command::new("bash")
        .arg("-c")
        .arg("source \"$0\"; COMP_WORDS=(tidegate stat) COMP_CWORD=1; _tidegate tidegate stat tidegate; echo \"${COMPREPLY[*]}\"")
        .arg(script.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "status");
    let page = say(&["man"]);
    assert!(
        page.contains(".TH tidegate 1") && page.contains("tidegate\\-check(1)"),
        "{page}"
    );
    let version = by(tidegate(), &["version"]);
    let lock = fs::read_to_string(project().join("Cargo.lock")).unwrap();
    for name in ["rumqttc", "rdkafka", "sled", "rustls"] {
        let entry = lock
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let number = entry.unwrap().lines().find(|l| l.starts_with("version"));
        let number = number.unwrap().trim_start_matches("version = ");
        assert!(
            version.contains(&format!("{name} {}", number.trim_matches('"'))),
            "{version}"
        );
    }
}

#[test]
fn a_plan_says_what_an_outage_would_do_and_a_running_agent_tells_the_rates() {
    let (mut gateway, _) = gateway_with_port();
    let socket = gateway.path("vision.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    for number in 0..600 {
        let payload = "x".repeat(1000);
        writeln!(
            stream,
            r#"{{"intent":"feature","device":"cam-1","payload":"{number} {payload}"}}"#
        )
        .unwrap();
    }
    wait_for("all to be on disk", || {
        let lane = gateway.lane("feature");
        (lane["accepted"] == 600 && lane["event_stored_bytes"].as_u64()? > 0).then_some(())
    });
    wait_for("its usual rate", || {
        (gateway.lane("feature")["usual_per_s"].as_f64()? > 1.0).then_some(())
    });
    let plan = |more: &[&str]| {
        let output = tidegate()
            .args(["plan", "-c"])
            .arg(gateway.path("gateway.toml"))
            .args(more)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    let given = plan(&["--outage", "30d", "--rate", "diagnostic=100x500"]);
    assert!(
        given.contains("first to be full: diagnostic, after"),
        "{given}"
    );
    assert!(given.contains("it drops its oldest"), "{given}");
    assert!(
        given.contains("not known: critical, state, feature;"),
        "{given}"
    );
    let measured = plan(&["--measured", "--outage", "1h"]);
    let row = measured.lines().find(|line| line.starts_with("feature "));
    let row = row.unwrap_or_else(|| panic!("{measured}"));
    assert!(row.contains(" measured "), "{row}");
    let wrong = plan(&["--rate", "bulk=1x1"]);
    assert!(
        wrong.contains("no intent is named `bulk`; there are critical"),
        "{wrong}"
    );
}

#[test]
fn a_configuration_that_is_pushed_is_used_if_it_is_good_and_nothing_is_lost_on_the_way() {
    let mut gateway = Gateway::new(
        "[uplink]\nbrokers = [\"127.0.0.1:9\"]\n[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n",
    );
    let systemd = UnixDatagram::bind(gateway.path("notify")).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = |what: &str| {
        wait_for(what, || {
            let mut message = [0; 512];
            let length = systemd.recv(&mut message).unwrap();
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            assert!(!message.contains("STOPPING=1"), "systemd would stop it");
            message.contains(what).then_some(message)
        })
    };
    gateway.launch();
    told("READY=1");
    let say = |gateway: &Gateway, socket: &str| {
        let connect = || UnixStream::connect(gateway.path(socket)).ok();
        let mut stream = wait_for("the socket", connect);
        let event = r#"{"intent":"critical","device":"cam-1","payload":1}"#;
        writeln!(stream, "{event}").unwrap();
    };
    say(&gateway, "vision.sock");
    wait_for("the event", || {
        (gateway.lane("critical")["buffered"] == 1).then_some(())
    });

    gateway.change("free_floor = ", "free_flor = ");
    send_signal(gateway.process(), "HUP");
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    told("READY=1");
    gateway.wait_for_log("gateway.free_flor");
    gateway.wait_for_log("goes on with the one it has");

    gateway.change("free_flor = ", "free_floor = ");
    gateway.change(
        "socket = \"$DIR/vision.sock\"",
        "socket = \"$DIR/other.sock\"",
    );
    send_signal(gateway.process(), "HUP");
    told("RELOADING=1");
    told("READY=1");
    say(&gateway, "other.sock");
    wait_for("both events", || {
        (gateway.lane("critical")["buffered"] == 2).then_some(())
    });

    // Good on paper, but this machine has no such group.
    let socket = "socket = \"$DIR/other.sock\"";
    gateway.change(socket, &format!("{socket}\ngroup = \"no-such-group\""));
    send_signal(gateway.process(), "HUP");
    gateway.wait_for_log("goes on with the one before");
    told("READY=1");
    gateway.assert_account_closes();
}
