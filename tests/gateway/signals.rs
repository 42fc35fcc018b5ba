//! Signals that come at the wrong moment, and peers that hold up a stop.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::inputs::make_fifo;
use crate::keeping::{AWAY, VISION, keep, offer};
use crate::rig::{Gateway, children, send_signal, wait_for};

/// Seconds that the last stop took, as the gateway says.
fn stop_took(gateway: &Gateway) -> f64 {
    let log = gateway.log();
    let line = log.lines().rfind(|line| line.contains("tidegate stopped"));
    let line = line.expect("it stopped");
    let (_, seconds) = line.split_once("seconds=").expect("it says how long");
    let digits = seconds
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next();
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("a number")
}

/// Has an agent follow this one in the process: one intent more, or less, is what no running agent takes.
pub(crate) fn begin_anew(gateway: &Gateway) {
    let path = gateway.path("gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    let more = "\n[[intent]]\nname = \"more\"\n";
    let other = match text.strip_suffix(more) {
        Some(less) => less.to_owned(),
        None => text + more,
    };
    fs::write(&path, other).unwrap();
    send_signal(gateway.process(), "HUP");
}

fn second(name: &str) -> String {
    format!("[[inference]]\nname = \"{name}\"\nsocket = \"$DIR/{name}.sock\"\n{VISION}")
}

/// A gateway whose disk writer hangs, so that whatever it stops for takes its time.
fn with_a_hung_disk_writer() -> (Gateway, u32) {
    let gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    keep(&gateway, 0..10);
    let writer = wait_for("the disk writer", || {
        children(gateway.process()).first().copied()
    });
    send_signal(writer, "STOP");
    (gateway, writer)
}

#[test]
fn a_reload_that_is_asked_for_in_a_reload_is_done_after_it() {
    let (gateway, writer) = with_a_hung_disk_writer();
    let mut gateway = gateway;
    gateway.change(VISION, &second("first"));
    begin_anew(&gateway);
    // The configuration was read before this is said.
    gateway.wait_for_log("stopping: sources first");
    gateway.change(VISION, &second("second"));
    begin_anew(&gateway);
    for _ in 0..2 {
        send_signal(gateway.process(), "HUP");
    }
    send_signal(writer, "CONT");
    let socket = gateway.path("second.sock");
    wait_for("the socket of the last configuration", || {
        UnixStream::connect(&socket).ok()
    });
    wait_for("the status", || gateway.try_status());
    keep(&gateway, 10..20);
    assert_eq!(gateway.lane("state")["buffered"], 20);
    gateway.stop();
    let starts = gateway.log().matches("tidegate started").count();
    assert_eq!(
        starts,
        3,
        "three signals at once are one more reload:\n{}",
        gateway.log()
    );
}

#[test]
fn a_stop_in_a_reload_is_a_stop_however_often_it_is_asked_for() {
    let (gateway, writer) = with_a_hung_disk_writer();
    let mut gateway = gateway;
    begin_anew(&gateway);
    gateway.wait_for_log("stopping: sources first");
    for signal in ["TERM", "HUP", "TERM", "INT"] {
        send_signal(gateway.process(), signal);
    }
    send_signal(writer, "CONT");
    gateway.wait_for_end();
    gateway.launch();
    assert_eq!(gateway.lane("state")["recovered"], 10);
}

#[test]
fn a_client_that_never_reads_its_acks_holds_up_no_stop() {
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}")).start();
    let asking = json!({ "intent": "diagnostic", "ack": "a".repeat(4_000), "payload": 1 });
    let line = format!("{asking}\n");
    let clients: Vec<UnixStream> = (0..3)
        .map(|_| {
            let mut client = UnixStream::connect(gateway.path("vision.sock")).unwrap();
            let patience = Some(Duration::from_millis(500));
            client.set_write_timeout(patience).unwrap();
            // Until the gateway reads nothing more, as it cannot reply.
            while client.write_all(line.as_bytes()).is_ok() {}
            client
        })
        .collect();
    gateway.stop();
    let took = stop_took(&gateway);
    assert!(took < 3.0, "{took} s:\n{}", gateway.log());
    drop(clients);
}

#[test]
fn peers_that_hang_hold_up_no_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let config = format!(
        "{AWAY}[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = {port}\n[[mqtt.subscribe]]\ntopic = \"a/#\"\nintent = \"state\"\n\
         [[inference]]\nname = \"pipe\"\ntail = \"$DIR/pipe\"\n\
         [[modbus]]\nname = \"bus\"\nline = {{ tcp = \"127.0.0.1:{port}\" }}\ntimeout = \"5s\"\nretries = 3\n[[modbus.slave]]\naddress = 1\n\
         device = \"meter\"\n[[modbus.slave.group]]\nname = \"g\"\ninterval = \"2m\"\nintent = \"feature\"\n\
         [[modbus.slave.group.field]]\nname = \"x\"\naddress = 4\n"
    );
    let mut gateway = Gateway::new(&config);
    let pipe = gateway.path("pipe");
    make_fifo(&pipe);
    gateway.launch();
    // A slave that accepts and does not answer, a broker that does the same, a line that is not ended, a status that is not asked.
    let _held: Vec<_> = (0..2).map(|_| silent.accept().unwrap()).collect();
    let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
    write!(writer, "{{\"intent\":").unwrap();
    let _status = UnixStream::connect(gateway.path("state/status.sock")).unwrap();
    gateway.wait_for_log("modbus line open");
    gateway.stop();
    let took = stop_took(&gateway);
    assert!(took < 3.0, "{took} s:\n{}", gateway.log());
}

#[test]
fn a_disk_writer_that_hangs_holds_up_no_stop_for_long() {
    let (mut gateway, _writer) = with_a_hung_disk_writer();
    let _client = offer(&gateway, 10..20);
    wait_for("the events", || {
        (gateway.lane("state")["accepted"] == 20).then_some(())
    });
    gateway.stop();
    let took = stop_took(&gateway);
    assert!(took < 8.0, "{took} s:\n{}", gateway.log());
    gateway.launch();
    let recovered = gateway.lane("state")["recovered"].as_u64();
    assert!(
        recovered >= Some(10),
        "what had a receipt is there: {recovered:?}"
    );
}

#[test]
fn a_followed_file_that_becomes_a_pipe_without_a_writer_holds_up_nobody() {
    let follow = "[[inference]]\nname = \"results\"\ntail = \"$DIR/results\"\n";
    let mut gateway = Gateway::new(&format!("{AWAY}{VISION}{follow}"));
    let path = gateway.path("results");
    fs::write(&path, "{\"intent\":\"diagnostic\",\"n\":1}\n").unwrap();
    gateway.launch();
    wait_for("the line", || {
        (gateway.lane("diagnostic")["accepted"] == 1).then_some(())
    });
    fs::remove_file(&path).unwrap();
    make_fifo(&path);
    gateway.wait_for_log("is no regular file any more");
    keep(&gateway, 0..10);
    let mut writer = fs::File::options().write(true).open(&path).unwrap();
    writeln!(writer, "{{\"intent\":\"diagnostic\",\"n\":2}}").unwrap();
    wait_for("the line out of the pipe", || {
        (gateway.lane("diagnostic")["accepted"] == 2).then_some(())
    });
    gateway.stop();
}
