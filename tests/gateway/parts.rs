//! Parts of the agent that die, and clients of its status that do not behave: each is noticed, and costs nobody else anything.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};

use crate::keeping::{AWAY, VISION, answer, offer};
use crate::operator::{gateway_with_port, get};
use crate::peers::Mosquitto;
use crate::rig::{Gateway, PATIENCE, free_port, publish_to, send_signal, wait_for};

/// Sets how many descriptors the gateway may have open.
fn limit_descriptors(gateway: &Gateway, most: u32) {
    let limited = Command::new("prlimit")
        .args(["--pid", &gateway.process().to_string()])
        .arg(format!("--nofile={most}:"))
        .status();
    assert!(limited.expect("prlimit is installed").success());
}

#[test]
fn when_descriptors_are_used_up_the_status_comes_back_with_them() {
    let (mut gateway, port) = gateway_with_port();
    limit_descriptors(&gateway, 10);
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(waiting, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    gateway.wait_for_log("the status server cannot accept connections");
    limit_descriptors(&gateway, 1024);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    gateway.wait_for_log("the status server accepts connections again");
    assert_eq!(get(port, "/healthz").1, "ok\n");
    assert!(gateway.try_status().is_some());
    let said = gateway.log().matches("cannot accept connections").count();
    assert_eq!(said, 1, "it says so once:\n{}", gateway.log());
}

#[test]
fn connections_that_say_nothing_keep_neither_a_scraper_nor_the_operator_out() {
    let (mut gateway, port) = gateway_with_port();
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut silent: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
    assert!(gateway.try_status().is_some(), "the command has its own");
    assert_eq!(get(port, "/healthz").1, "ok\n");
    let socket = gateway.path("state/status.sock");
    let _others: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    assert!(gateway.try_status().is_some());
    // Also the last of them, which made way for nobody, is not waited for.
    let mut answer = Vec::new();
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    last.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

#[test]
fn a_request_that_comes_slowly_or_never_ends_is_cut_off() {
    let (mut gateway, port) = gateway_with_port();
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut slow = connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    wait_for("the slow request to be cut off", || {
        slow.write_all(b"x").err().map(|_| ())
    });
    let mut endless = connect();
    let line = format!("x-\u{1b}[2J: {}\r\n", "y".repeat(1000));
    let written = endless.write_all(b"GET /healthz HTTP/1.1\r\n");
    written.unwrap();
    wait_for("the endless request to be cut off", || {
        endless.write_all(line.as_bytes()).err().map(|_| ())
    });
    assert_eq!(get(port, "/healthz").1, "ok\n");
    assert!(gateway.try_status().is_some());
    assert!(!gateway.log().contains('\u{1b}'), "{}", gateway.log());
}

/// Makes a process unable to start threads, until it is dropped: as where its unit's `TasksMax` is reached.
struct NoThreads(Child);

impl NoThreads {
    fn begin(process: u32) -> NoThreads {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3"]);
        strace.args(["-e", "inject=clone,clone3:error=EAGAIN"]);
        let child = strace
            .args(["-p", &process.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        wait_for("strace to be there", || {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let tracer = status.lines().find(|line| line.starts_with("TracerPid"))?;
            tracer.ends_with(&format!("\t{}", child.id())).then_some(())
        });
        NoThreads(child)
    }
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        // It lets go of the process when it is asked to end.
        send_signal(self.0.id(), "TERM");
        let _status = self.0.wait();
    }
}

/// Names of the threads of a process.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.collect()
}

/// To resolve a name takes a thread, and tokio panics where it can have none.
#[test]
fn a_source_that_panics_is_told_by_name_and_started_again_and_no_event_is_lost() {
    let (mqtt, port) = (Mosquitto::start(""), free_port());
    let mut gateway = Gateway::new(&format!(
        "{AWAY}[[mqtt]]\nname = \"plant\"\nhost = \"localhost\"\nport = {}\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/{{kind}}\"\nintent = \"state\"\n",
        mqtt.port
    ));
    let listen = format!("http = true\nlisten = \"127.0.0.1:{port}\"");
    gateway.change("http = false", &listen);
    // Its queue holds a few messages: a systemd that does not read must not stop the agent either.
    let systemd = UnixDatagram::bind(gateway.path("notify")).unwrap();
    gateway.launch();
    gateway.wait_until_connected("plant");
    wait_for("the last idle thread to end", || {
        let threads = threads(gateway.process());
        let idle = threads.iter().any(|name| name.starts_with("tokio"));
        (!idle).then_some(())
    });
    let without = NoThreads::begin(gateway.process());
    let broker = mqtt.port;
    drop(mqtt);
    gateway.wait_for_log("a part of the agent does not work");
    wait_for("the gateway to say that it is ill", || {
        let (head, body) = get(port, "/healthz");
        let ill = head.starts_with("HTTP/1.1 503");
        ill.then(|| assert!(body.starts_with("source `plant`: it panicked"), "{body}"))
    });
    let status = gateway.status();
    let source = &status["sources"][0];
    assert_eq!(source["connected"], false);
    assert!(source["restarts"].as_u64() > Some(0), "{source}");
    assert!(status["parts"][0]["is_mended"] == true, "{status}");

    drop(without);
    let _mqtt = Mosquitto::on_port(broker);
    gateway.wait_until_connected("plant");
    gateway.wait_for_log("a part of the agent works again");
    assert_eq!(get(port, "/healthz").1, "ok\n");
    publish_to(broker, "plant/{d}/state/temp", 0..20, 0, 1);
    wait_for("the events", || {
        (gateway.lane("state")["buffered"] == 20).then_some(())
    });
    gateway.assert_account_closes();
    let mut message = [0; 64];
    let mut read = || {
        let length = systemd.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let told: Vec<String> = (0..12).map(|_| read()).collect();
    let fed = told.iter().filter(|text| text.starts_with("WATCHDOG=1"));
    assert!(fed.count() > 9, "while a source is mended too: {told:?}");
    gateway.stop();
}

/// One after the other of the threads that the agent starts with cannot be had, the one for the disk among them.
#[test]
fn a_thread_that_cannot_be_had_at_the_start_is_had_later_or_its_lack_is_said() {
    let mut disks = 0;
    for nth in 1..=10 {
        let inject = format!("inject=clone,clone3:error=EAGAIN:when={nth}");
        // The tracer is no parent: what is started becomes the gateway.
        let mut strace = vec!["strace", "-D", "-f", "-qq", "-o", "/dev/null"];
        strace.extend(["-e", "trace=clone,clone3", "-e", &inject]);
        let mut gateway = Gateway::new(&format!("{AWAY}{VISION}"));
        gateway.spawn_inside(&strace, &[]);
        let ended = wait_for("a status or an end", || match gateway.ended() {
            Some(ended) => Some(Some(ended)),
            None => gateway.try_status().map(|_| None),
        });
        if let Some(ended) = ended {
            let log = gateway.log();
            assert_eq!(ended.code(), Some(1), "it says why:\n{log}");
            assert!(log.contains("Resource temporarily unavailable"), "{log}");
        } else {
            // An agent that begins anew with its disk has them offered again.
            wait_for("receipts", || {
                let answer = answer(offer(&gateway, 0..20));
                (answer == "{\"ack\":19}\n").then_some(())
            });
        }
        let log = gateway.log();
        assert!(!log.contains("panicked"), "{nth}: {log}");
        disks += log
            .matches("the thread that writes to the disk cannot be started")
            .count();
    }
    assert!(disks > 0, "the thread of the disk is among them");
}
