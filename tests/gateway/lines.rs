//! Programs that write what they like: into a file, a FIFO and a socket; and many files at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::inputs::make_fifo;
use crate::keeping::{AWAY, buffer, out};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, wait_for};

/// Lines as programs write them; how many are events, and how many of these are understood only in part.
const LINES: &str = "\u{feff}{\"device\":1,\"time\":1767225600123}\r\n\r\n\n{\"score\":NaN}\n{\"time\":\"2026-01-01T00:00:00\"}\n{\"time\":\"soon\"}\n\
                     {\"device\":\"d\",\"more\":[true]}\n{\"last\":1}";
const EVENTS: u64 = 6;

#[test]
fn odd_lines_are_kept_by_whatever_way_they_come() {
    for way in ["file", "fifo", "socket"] {
        let key = if way == "socket" { "socket" } else { "tail" };
        let config = format!("{AWAY}[[inference]]\nname = \"odd\"\n{key} = \"$DIR/odd\"\n");
        let mut gateway = Gateway::new(&config);
        let path = gateway.path("odd");
        match way {
            "file" => fs::write(&path, LINES).unwrap(),
            "fifo" => make_fifo(&path),
            _ => {}
        }
        gateway.launch();
        match way {
            "fifo" => fs::write(&path, LINES).unwrap(),
            "socket" => {
                let stream = wait_for("the socket", || UnixStream::connect(&path).ok());
                (&stream).write_all(LINES.as_bytes()).unwrap();
            }
            _ => {}
        }
        wait_for(way, || {
            (gateway.lane("diagnostic")["buffered"] == EVENTS).then_some(())
        });
        let status = gateway.status();
        assert_eq!(status["sources"][0]["errors"], 2, "{way}: {status}");
        gateway.wait_for_log("was not understood in full");
        gateway.assert_account_closes();
    }
}

#[test]
fn a_line_that_is_no_json_is_kept_as_it_came_with_bad_quality() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
    let config =
        uplink + "[[inference]]\nname = \"odd\"\ntail = \"$DIR/odd\"\n" + &kafka.topics(&[]);
    let mut gateway = Gateway::new(&config);
    fs::write(
        gateway.path("odd"),
        b"Traceback (most recent call last):\n\xff\xfe\n{\"a\":\n{}\n",
    )
    .unwrap();
    gateway.launch();
    let topics = [kafka.topic("diagnostic")];
    let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let mut reader = load::consume::Reader::new(&kafka.plain(), &topics, &[]);
    let records = reader.until(crate::rig::PATIENCE, |records| records.len() == 4);
    let said: BTreeSet<(&[u8], &str)> = records
        .iter()
        .map(|record| (&record.payload[..], record.header("tg-quality")))
        .collect();
    let lines: [(&[u8], &str); 4] = [
        (b"Traceback (most recent call last):", "bad"),
        (b"\xff\xfe", "bad"),
        (b"{\"a\":", "bad"),
        (b"{}", ""),
    ];
    assert_eq!(said, BTreeSet::from(lines));
}

#[test]
fn each_file_that_fits_a_pattern_is_followed_also_over_a_kill() {
    let config = format!("{AWAY}[[inference]]\nname = \"all\"\ntail = \"$DIR/logs/*.jsonl\"\n");
    let mut gateway = Gateway::new(&config);
    fs::create_dir(gateway.path("logs")).unwrap();
    let write = |gateway: &Gateway, name: &str, number: u64| {
        let path = gateway.path("logs").join(name);
        let file = fs::File::options().create(true).append(true).open(path);
        writeln!(file.unwrap(), "{{\"n\":{number}}}").unwrap();
    };
    write(&gateway, "a.jsonl", 0);
    write(&gateway, "other", 1);
    gateway.launch();
    let buffered = |gateway: &mut Gateway, count: u64| {
        wait_for("the lines", || {
            (gateway.lane("diagnostic")["buffered"] == count).then_some(())
        });
    };
    buffered(&mut gateway, 1);
    write(&gateway, "b.jsonl", 2);
    buffered(&mut gateway, 2);
    gateway.stop();
    write(&gateway, "a.jsonl", 3);
    gateway.launch();
    buffered(&mut gateway, 3);
    fs::remove_file(gateway.path("logs/a.jsonl")).unwrap();
    gateway.wait_for_log("a followed file has gone");
    gateway.stop();
    let output = out(&buffer(&gateway, &["cat", "--lane", "diagnostic"]));
    assert_eq!(output.lines().count(), 3, "{output}");
}

#[test]
fn a_pattern_that_covers_rotated_names_reads_each_line_once_over_rotations_and_a_stop() {
    let config = format!("{AWAY}[[inference]]\nname = \"all\"\ntail = \"$DIR/app.jsonl*\"\n");
    let mut gateway = Gateway::new(&config);
    let path = gateway.path("app.jsonl");
    let at = |number: u64| path.with_extension(format!("jsonl.{number}"));
    let write = |number: u64| {
        let file = fs::File::options().create(true).append(true).open(&path);
        writeln!(file.unwrap(), "{{\"n\":{number}}}").unwrap();
    };
    let mut rotated = 0;
    let mut rotate = || {
        for number in (1..=rotated).rev() {
            fs::rename(at(number), at(number + 1)).unwrap();
        }
        fs::rename(&path, at(1)).unwrap();
        rotated += 1;
    };
    let buffered = |gateway: &mut Gateway, count: u64| {
        wait_for("the lines", || {
            (gateway.lane("diagnostic")["buffered"] == count).then_some(())
        });
    };
    // Before there was an agent, while it runs, and while it is down.
    write(0);
    rotate();
    write(1);
    gateway.launch();
    buffered(&mut gateway, 2);
    rotate();
    write(2);
    buffered(&mut gateway, 3);
    gateway.stop();
    rotate();
    write(3);
    rotate();
    write(4);
    gateway.launch();
    buffered(&mut gateway, 5);
    gateway.stop();
    let output = out(&buffer(&gateway, &["cat", "--lane", "diagnostic"]));
    assert_eq!(output.lines().count(), 5, "{output}");
}

#[test]
fn a_pattern_in_a_directory_is_refused() {
    let gateway = Gateway::new(&format!(
        "{AWAY}[[inference]]\nname = \"all\"\ntail = \"/var/*/x.jsonl\"\n"
    ));
    let check = crate::rig::tidegate()
        .arg("check")
        .arg(gateway.path("gateway.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    assert!(
        said.contains("inference[0].tail") && said.contains("in the name of the file alone"),
        "{said}"
    );
}

#[test]
fn while_a_lane_refuses_the_writer_of_a_fifo_waits_and_nothing_is_lost() {
    needs_kafka!();
    let mut kafka = Kafka::own();
    let full = "budget = \"1 MiB\"\nmemory = \"128 KiB\"\nwhen_full = \"refuse\"";
    let uplink = format!("[uplink]\nbrokers = [\"{}\"]\n", kafka.plain());
    let config = uplink + crate::followed::TAIL + &kafka.topics(&[("diagnostic", full)]);
    let mut gateway = Gateway::new(&config);
    let path = gateway.path("results");
    make_fifo(&path);
    gateway.launch();
    let lines = 20_000;
    let to = path.clone();
    let writing = std::thread::spawn(move || crate::followed::append(&to, 0..lines));
    gateway.wait_for_log("nothing more is read from it");
    assert!(!writing.is_finished(), "the writer waits");
    kafka.launch();
    let records = crate::rig::received(&kafka, "diagnostic", 0..lines);
    assert_eq!(records.len() as u64, lines);
    writing.join().unwrap();
}
