//! Floods: whatever comes from a broker, a client or a browser, the agent grows no larger by it, and neither does its log.
//! The profile is `tiny`, the cluster is there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use load::mock::Cluster;

use crate::rig::{Gateway, PATIENCE, free_port, wait_for};

/// What `tiny` may take beyond what it takes idle: 12 MiB of 32, with the release binary (docs/MEMORY.md).
const MOST_KIB: u64 = 20 * 1024;
/// With the release binary the whole of it counts: tests/bars/hostile says how much it may be.
fn most_in_all() -> Option<u64> {
    Some(
        std::env::var("TIDEGATE_TINY_MOST_KIB")
            .ok()?
            .parse()
            .unwrap(),
    )
}

/// No flood makes the log longer.
const LOG_MOST: usize = 1 << 20;
/// A text as long as a level of a topic can be, beside the others.
const LONG: usize = 60_000;

const INPUTS: &str = "[memory]\nprofile = \"tiny\"\n[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n\
                      [[intent]]\nname = \"state\"\nkey = \"{device}/{kind}\"\n";

fn cluster() -> Cluster {
    let names = ["critical", "state", "feature", "diagnostic", "health"];
    let topics = names.map(|name| format!("tidegate.{name}"));
    Cluster::start(&topics.each_ref().map(String::as_str)).unwrap()
}

/// A gateway under attack, and how large it was before.
pub(crate) struct Target {
    pub(crate) gateway: Gateway,
    idle_kib: u64,
    _cluster: Cluster,
}

impl Target {
    pub(crate) fn start(more: &str) -> Target {
        let cluster = cluster();
        let config = format!(
            "[uplink]\nbrokers = [\"{}\"]\n{INPUTS}{more}",
            cluster.brokers()
        );
        let gateway = Gateway::new(&config).start();
        gateway.wait_for_log("inference socket open");
        Target {
            idle_kib: kib(&gateway, "VmRSS"),
            gateway,
            _cluster: cluster,
        }
    }

    pub(crate) fn client(&self) -> UnixStream {
        let stream = UnixStream::connect(self.gateway.path("vision.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn received(&mut self, source: &str) -> u64 {
        let status = self.gateway.status();
        let mut sources = status["sources"].as_array().unwrap().iter();
        let source = sources.find(|one| one["name"] == source).unwrap();
        source["received"].as_u64().unwrap()
    }

    /// It is as large as it was, its log is short, and it works.
    pub(crate) fn assert_unharmed(&mut self) {
        let peak = kib(&self.gateway, "VmHWM");
        let grown = peak.saturating_sub(self.idle_kib);
        let log = self.gateway.log();
        assert!(
            grown <= MOST_KIB,
            "grown by {} MiB from {} MiB:\n{}",
            grown / 1024,
            self.idle_kib / 1024,
            log.get(..4000).unwrap_or(&log)
        );
        eprintln!("peak {peak} KiB, log {} bytes", log.len());
        assert!(most_in_all().is_none_or(|most| peak <= most), "{peak} KiB");
        assert!(log.len() <= LOG_MOST, "the log has {} bytes", log.len());
        let mut stream = self.client();
        writeln!(stream, "{{\"device\":\"cam-1\",\"ack\":\"after\"}}").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "{\"ack\":\"after\"}");
        self.gateway.assert_account_closes();
    }
}

fn kib(gateway: &Gateway, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

/// A broker that does what it likes: it lets the gateway in, and sends `packets` to it, once.
pub(crate) fn broker(
    version: &str,
    packets: impl Iterator<Item = Vec<u8>> + Send + 'static,
) -> (String, u16) {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let is_v5 = version == "5";
    std::thread::spawn(move || {
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let (stream, _) = listener.accept().unwrap();
            serve(stream, is_v5, &mut packets);
        }
        // The port stays taken.
        drop(listener.accept());
    });
    let section = format!(
        "[[mqtt]]\nname = \"evil\"\nhost = \"127.0.0.1\"\nport = {port}\nversion = \"{version}\"\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{device}}/state/{{kind}}\"\nintent = \"state\"\n\
         [[mqtt.subscribe]]\ntopic = \"plant/{{a}}/{{b}}/{{c}}/{{d}}\"\nintent = \"state\"\n"
    );
    (section, port)
}

fn serve(mut stream: TcpStream, is_v5: bool, packets: &mut impl Iterator<Item = Vec<u8>>) {
    let mut head = [0; 512];
    if stream.read(&mut head).is_err() {
        return;
    }
    // Before it is asked for: CONNACK, and SUBACK of two filters, so that the next connection is as soon as this one.
    let welcome: &[u8] = if is_v5 {
        &[0x20, 3, 0, 0, 0, 0x90, 5, 0, 1, 0, 1, 1]
    } else {
        &[0x20, 2, 0, 0, 0x90, 4, 0, 1, 1, 1]
    };
    stream.write_all(welcome).unwrap();
    // What it answers, it must not wait to be read.
    let mut answers = stream.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    for packet in packets {
        if stream.write_all(&packet).is_err() {
            return;
        }
    }
}

/// A PUBLISH of QoS 1.
pub(crate) fn publish(id: u16, topic: &str, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    if let Some(properties) = properties {
        body.extend(number(properties.len()));
        body.extend(properties);
    }
    body.extend(payload);
    packet(0x32, &body)
}

pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &number(body.len())[..], body].concat()
}

fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let digit = u8::try_from(number % 128).unwrap();
        number /= 128;
        bytes.push(if number > 0 { digit | 128 } else { digit });
        if number == 0 {
            return bytes;
        }
    }
}

fn long(n: usize) -> String {
    format!("{n:08}{}", "x".repeat(LONG - 8))
}

#[test]
fn a_flood_of_topics_with_a_level_of_60_kb_makes_neither_the_agent_nor_its_log_larger() {
    let topics = (1..=3000_u16)
        .map(|n| publish(n, &format!("plant/{}/state/t", long(n.into())), None, b"{}"));
    let (section, _) = broker("3.1.1", topics);
    let mut target = Target::start(&section);
    wait_for("the flood", || {
        (target.received("evil") >= 3000).then_some(())
    });
    target.gateway.wait_until_drained();
    target.assert_unharmed();
}

#[test]
fn a_flood_of_long_texts_through_the_socket_makes_neither_the_agent_nor_its_log_larger() {
    let mut target = Target::start("");
    let mut sent = 0;
    for (field, count) in [
        ("tags", 1500),
        ("device", 300),
        ("kind", 300),
        ("intent", 300),
        ("id", 300),
        ("ack", 300),
    ] {
        let mut stream = target.client();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        for n in 0..count {
            let line = match field {
                "tags" => format!(
                    "{{\"intent\":\"state\",\"tags\":{{\"t\":\"{}\"}},\"ack\":{n}}}",
                    long(n)
                ),
                "ack" => format!("{{\"ack\":\"{}\"}}", long(n)),
                field => format!("{{\"{field}\":\"{}\",\"ack\":{n}}}", long(n)),
            };
            writeln!(stream, "{line}").unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert!(answer.starts_with("{\"ack\":"), "{answer:.200}");
        }
        sent += count as u64;
    }
    assert_eq!(target.received("vision"), sent);
    target.assert_unharmed();
    let status = target.gateway.status();
    assert!(status["unknown_intents"].as_u64() >= Some(300), "{status}");
    let log = target.gateway.log();
    let lines = log.matches("an intent that does not exist").count();
    assert!((1..=220).contains(&lines), "{lines} lines");
}

#[test]
fn many_short_tags_and_deep_or_endless_messages_are_refused_with_a_reason() {
    let mut target = Target::start("");
    let tags: String = (0..6000).map(|n| format!(",\"{n}\":\"\"")).collect();
    let tags = format!("{{\"tags\":{{\"a\":\"\"{tags}}}}}");
    for (message, reason) in [
        (tags, "more than 256 `tags`"),
        ("[".repeat(50_000), "not JSON"),
        (format!("{{\"payload\":{}", "[".repeat(50_000)), "not JSON"),
        ("x".repeat(50 << 20), "longer than"),
    ] {
        let mut stream = target.client();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..3 {
            stream.write_all(message.as_bytes()).unwrap();
            stream.write_all(b"\n").unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert!(
                answer.contains(reason) && answer.len() < 1000,
                "{answer:.1000}"
            );
        }
    }
    for frame in [
        vec![0x9f_u8; 60_000],
        vec![0x81; 60_000],
        vec![0xbb; 60_000],
    ] {
        let mut stream = target.client();
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &frame].concat()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.contains("not CBOR"), "{answer:.1000}");
    }
    // Acknowledgements that are asked for and not read: as many small values as fit.
    let mut clients: Vec<UnixStream> = (0..12).map(|_| target.client()).collect();
    let ack = format!("{{\"ack\":[{}0]}}\n", "0,".repeat(30_000));
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        while client
            .write(ack.as_bytes())
            .is_ok_and(|count| count == ack.len())
        {}
    }
    drop(clients);
    wait_for("their end", || {
        let mut stream = target.client();
        writeln!(stream, "{{\"ack\":1}}").ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok()?;
        answer.starts_with("{\"ack\"").then_some(())
    });
    target.assert_unharmed();
}

#[test]
fn many_clients_and_half_open_requests_make_the_agent_no_larger() {
    let port = free_port();
    let mut target = Target::start("");
    target.gateway.stop();
    target.gateway.change(
        "http = false",
        &format!("http = true\nlisten = \"127.0.0.1:{port}\""),
    );
    target.gateway.launch();
    let halves: Vec<UnixStream> = (0..300)
        .filter_map(|_| {
            let mut stream = UnixStream::connect(target.gateway.path("vision.sock")).ok()?;
            // Those over the limit are closed.
            stream.write_all(&vec![b'x'; LONG]).ok()?;
            Some(stream)
        })
        .collect();
    let requests: Vec<TcpStream> = (0..300)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            let head = format!(
                "GET /status HTTP/1.1\r\nhost: localhost\r\nx: {}",
                "y".repeat(8000)
            );
            stream.write_all(head.as_bytes()).ok()?;
            Some(stream)
        })
        .collect();
    let body = wait_for("an answer", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("200 OK").then_some(answer)
    });
    assert!(body.ends_with("ok\n"));
    drop((halves, requests));
    wait_for("room for a client", || {
        let mut stream = target.client();
        writeln!(stream, "{{\"ack\":1}}").ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok()?;
        (answer == "{\"ack\":1}\n").then_some(())
    });
    target.assert_unharmed();
}

#[test]
fn a_broker_that_sends_packets_of_properties_and_nonsense_makes_the_agent_no_larger() {
    const MOST: usize = 4 << 20;
    // A user property without name and value: five bytes on the wire, two texts in memory.
    let properties = [0x26_u8, 0, 0, 0, 0].repeat(MOST / 5 - 20);
    let evil = (0..20_u16).flat_map(move |n| {
        [
            publish(n + 1, "plant/press-3/state/t", Some(&properties), b"{}"),
            // A SUBACK, a CONNACK and a DISCONNECT that are nothing but properties: each ends a connection.
            packet([0x90, 0x20, 0xe0][usize::from(n % 3)], &properties),
        ]
    });
    let (section, _) = broker("5", evil);
    let mut target = Target::start(&section);
    wait_for("the messages", || {
        (target.received("evil") >= 5).then_some(())
    });
    target.gateway.wait_for_log("the broker sent a packet of");
    target.assert_unharmed();
}

#[test]
fn topics_of_the_cluster_that_events_name_are_bounded_and_the_rest_goes_to_the_fallback_topic() {
    let mut target = Target::start("topic = \"lab.{device}\"\n");
    let mut stream = target.client();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for n in 0..1500 {
        writeln!(
            stream,
            "{{\"intent\":\"state\",\"device\":\"d{n}\",\"ack\":{n}}}"
        )
        .unwrap();
        answers.next().unwrap().unwrap();
    }
    target.gateway.wait_until_drained();
    target
        .gateway
        .wait_for_log("an event names one topic more than");
    let fallbacks = target.gateway.status()["fallback_topics"].as_u64().unwrap();
    assert!(
        (1240..=1600).contains(&fallbacks),
        "{fallbacks} of 1500, with 256 topics"
    );
    target.assert_unharmed();
}
