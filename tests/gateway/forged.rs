//! What comes from elsewhere is said in the log and on a terminal, and never takes them over; and what must not be asked or told
//! is not.

use std::io::{BufRead, BufReader, Write};

use load::mock::Cluster;
use serde_json::json;

use crate::configuration::check;
use crate::hostile::{Target, broker, publish};
use crate::mends::offer;
use crate::operator::gateway_with_port;
use crate::rig::{Gateway, tidegate, wait_for};

const FORGED: &str = "x\n2026-01-01T00:00:00.000000Z ERROR forged\r\u{1b}[2J\u{1b}]0;forged\u{7}\u{202e}\u{2028}\u{9b}1m";

/// Whether a terminal would do anything with it but show it.
fn is_dangerous(one: char) -> bool {
    (one.is_control() && one != '\n') || "\u{202e}\u{2028}\u{2066}\u{200b}".contains(one)
}

fn assert_no_line_is_forged(log: &str) {
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let time = words.next().unwrap_or_default();
        let level = words.next().unwrap_or_default();
        assert!(time.ends_with('Z') && time.starts_with("20"), "{line}");
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
            "{line}"
        );
        assert_ne!(words.next(), Some("forged"), "{line}");
        assert!(line.chars().count() < 6000, "{line:.300}");
    }
    assert!(!log.chars().any(is_dangerous), "{log}");
}

#[test]
fn no_text_from_a_broker_a_client_or_the_configuration_forges_a_line_of_the_log() {
    let topics = (1..=20_u16).map(|n| {
        let topic = format!("plant/{FORGED}{n}/state/{FORGED}");
        // Larger than any lane takes, so that the log names it.
        publish(
            n,
            &topic,
            None,
            &vec![b'x'; if n > 10 { 300_000 } else { 10 }],
        )
    });
    let (section, _) = broker("3.1.1", topics);
    let more = format!(
        "topic = \"{{c}}\"\n[[intent]]\nname = \"feature\"\ntopic = \"x.{{kind}}\"\n[log]\nformat = \"human\"\nlevel = \"debug\"\n{section}"
    );
    let mut target = Target::start(&more);
    let mut stream = target.client();
    for n in 0..20 {
        let text = format!("{FORGED}{n}");
        let event = json!({ "intent": text, "device": text, "kind": text, "tags": { text.clone(): text }, "id": text, "ack": text });
        writeln!(stream, "{event}").unwrap();
        writeln!(stream, "{{\"{}", FORGED.replace('\n', " ")).unwrap();
        writeln!(
            stream,
            "{}",
            json!({ "intent": "feature", "subject": text, "time": text })
        )
        .unwrap();
    }
    // An event for each `ack`, and a refusal for each line that is no JSON; what has no time is an event.
    let answers = BufReader::new(stream).lines().take(40);
    assert!(answers.map(Result::unwrap).all(|line| !line.is_empty()));
    wait_for("the messages", || {
        (target.received("evil") >= 20).then_some(())
    });
    target.gateway.wait_for_log("an event lacks a field");
    target.gateway.wait_for_log("events dropped");
    let log = target.gateway.log();
    assert!(log.contains("ERROR forged"), "it is said, as a text");
    assert_no_line_is_forged(&log);
    let state = target.gateway.path("state");
    let shown = tidegate()
        .arg("status")
        .arg("--state")
        .arg(state)
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("vision") && !shown.chars().any(is_dangerous),
        "{shown}"
    );
    assert!(
        !shown
            .lines()
            .any(|line| line.contains("Z ERROR forged") && line.starts_with("20")),
        "{shown}"
    );
}

#[test]
fn what_check_says_of_a_file_is_one_line_a_problem_whatever_stands_in_it() {
    let text = "x\\n2026-01-01 ERROR forged\\u001b[2J\\u202e";
    let (code, said) = check(&format!(
        "[gateway]\nid = \"{text}\"\nstate_dir = \"{text}\"\n[log]\nlevel = \"{text}\"\n[status]\nlisten = \"{text}\"\nhosts = [\"{text}\"]\n\
         [uplink]\nbrokers = [\"{text}\"]\n[uplink.kafka]\n\"{text}\" = \"{text}\"\n[[mqtt]]\nname = \"{text}\"\n\
         [[mqtt.subscribe]]\ntopic = \"#/{text}\"\nintent = \"{text}\"\n"
    ));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.lines().count() >= 8, "{said}");
    assert!(!said.chars().any(is_dangerous), "{said}");
    assert!(!said.lines().any(|line| line.starts_with("2026")), "{said}");
}

#[test]
fn a_page_whose_name_was_made_to_mean_this_machine_reads_no_status() {
    let (_gateway, port) = gateway_with_port();
    let ask = |host: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "GET /status HTTP/1.1\r\n{host}connection: close\r\n\r\n"
        )
        .unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    for host in [
        "rebound.example",
        "localhost.rebound.example:9464",
        "192.0.2.7",
    ] {
        let answer = ask(&format!("host: {host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
        assert!(
            answer.contains("status.hosts") && !answer.contains("gw-1"),
            "{answer}"
        );
    }
    for host in ["localhost", &format!("127.0.0.1:{port}"), "[::1]:9464"] {
        let answer = ask(&format!("host: {host}\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("gw-1"),
            "{host}"
        );
    }
}

/// What must not be set in `[uplink.kafka]`, and a part of what `check` says of it.
const REFUSED: [(&str, &str, &str); 10] = [
    (
        "enable.ssl.certificate.verification",
        "false",
        "uplink.tls.ca_file",
    ),
    ("partitioner", "consistent", "murmur2_random"),
    ("delivery.report.only.error", "true", "counts as delivered"),
    ("statistics.interval.ms", "0", "the link is up"),
    ("transactional.id", "x", "no transactions"),
    ("queuing.strategy", "lifo", "order rests on it"),
    ("plugin.library.paths", "/nowhere.so", "no code"),
    ("message.max.bytes", "1000", "65536 to 1040000"),
    ("socket.timeout.ms", "10", "10000 to 300000"),
    ("acks", "0", "in-sync replicas"),
];

#[test]
fn a_setting_of_librdkafka_that_breaks_a_guarantee_is_refused_by_check_and_left_out_by_run() {
    let cluster = Cluster::start(&["tidegate.state", "tidegate.health"]).unwrap();
    let kafka: String = REFUSED
        .map(|(name, value, _)| format!("\"{name}\" = \"{value}\"\n"))
        .concat();
    let config = format!(
        "[uplink]\nbrokers = [\"{}\"]\n[uplink.kafka]\n{kafka}\"socket.keepalive.enable\" = \"true\"\n\
         [[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\nintent = \"state\"\n",
        cluster.brokers()
    );
    let gateway = Gateway::new(&config);
    let output = tidegate()
        .arg("check")
        .arg(gateway.path("gateway.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let mut gateway = gateway.start();
    let log = gateway.log();
    for (name, _, why) in REFUSED {
        let line = |text: &str| {
            text.lines()
                .any(|line| line.contains(&format!("uplink.kafka.{name}: ")) && line.contains(why))
        };
        assert!(line(&said), "{name}:\n{said}");
        assert!(line(&log), "{name}:\n{log}");
    }
    assert!(!said.contains("keepalive"), "{said}");
    let events: Vec<_> = (0..20)
        .map(|n| json!({ "device": "cam-1", "n": n, "ack": n }))
        .collect();
    assert_eq!(offer(&gateway, &events).len(), 20);
    gateway.wait_until_drained();
    assert_eq!(gateway.lane("state")["delivered"], 20);
}

#[test]
fn a_password_that_is_sent_in_the_clear_is_warned_of_unless_it_stays_on_this_machine() {
    for (host, tls, warned) in [
        ("broker.example", "", true),
        ("192.0.2.1", "", true),
        ("broker.example", "tls = {}\n", false),
        ("localhost", "", false),
        ("127.0.0.1", "", false),
        ("::1", "", false),
    ] {
        let (code, said) = check(&format!(
            "[uplink]\nbrokers = [\"kafka:9092\"]\n[[mqtt]]\nname = \"plant\"\nhost = \"{host}\"\nusername = \"u\"\n\
             password = {{ file = \"/etc/secret\" }}\n{tls}[[mqtt.subscribe]]\ntopic = \"a\"\n"
        ));
        assert_eq!(code, Some(0), "{said}");
        let says =
            said.contains("warning: mqtt[0].password: without `tls` the password can be read");
        assert_eq!(says, warned, "{host} {tls}: {said}");
    }
}
