use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::Backoff;
use crate::inference::files::{follow_all, place_of};
use crate::inference::names::Names;
use crate::inference::places::forget;
use crate::inference::testing::{Agent, write_whole};
use crate::retry::Reconnect;

/// A program that writes a file, whoever rotates it, and an agent that follows it.
struct Rig {
    directory: tempfile::TempDir,
    takes: Agent,
    agent: Option<(JoinHandle<()>, JoinHandle<()>, watch::Sender<bool>)>,
    written: u64,
    /// A line that is not ended yet.
    half: String,
    /// What is followed: the file, or all files of such names.
    tail: &'static str,
}

impl Rig {
    fn new(tail: &'static str) -> Rig {
        Rig {
            tail,
            directory: tempfile::tempdir().unwrap(),
            takes: Agent::default(),
            agent: None,
            written: 0,
            half: String::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The clock of the file system ticks before anything else is written.
    fn tick(&self, after: &Path) {
        let after = fs::metadata(after).unwrap().modified().unwrap();
        let probe = self.path("probe");
        loop {
            fs::write(&probe, "").unwrap();
            let written = fs::metadata(&probe).unwrap().modified().unwrap();
            fs::remove_file(&probe).unwrap();
            if written > after {
                return;
            }
        }
    }

    fn append(&mut self, text: &str) {
        let path = self.path("f");
        let file = fs::File::options().create(true).append(true).open(path);
        let mut file = file.unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.tick(&self.path("f"));
    }

    /// Writes lines; the last may be left without its second half.
    fn write(&mut self, lines: u64, leaves_half: bool) {
        let mut text = std::mem::take(&mut self.half);
        for _ in 0..lines {
            text.push_str(&line(self.written));
            self.written += 1;
        }
        if leaves_half {
            let line = line(self.written);
            let (first, second) = line.split_at(3);
            (text, self.half) = (text + first, second.to_owned());
            self.written += 1;
        }
        self.append(&text);
    }

    fn shift(&self) {
        let mut last = 1;
        while self.path(&format!("f.{last}")).exists() {
            last += 1;
        }
        for number in (1..last).rev() {
            let (from, to) = (format!("f.{number}"), format!("f.{}", number + 1));
            fs::rename(self.path(&from), self.path(&to)).unwrap();
        }
    }

    fn rename(&mut self) {
        self.write(0, false);
        self.shift();
        fs::rename(self.path("f"), self.path("f.1")).unwrap();
    }

    fn copy_and_cut(&mut self) {
        self.write(0, false);
        self.shift();
        fs::copy(self.path("f"), self.path("f.1")).unwrap();
        fs::write(self.path("f"), "").unwrap();
        self.append("");
    }

    fn start(&mut self) {
        let (intake, mut receipts, taking) = self.takes.run();
        let (path, place) = (self.path(self.tail), self.path("places/f"));
        let text = format!("name = \"f\"\ntail = {path:?}\nmax_event = \"200\"");
        let input = Inference::of(toml::from_str(&text).unwrap(), place, write_whole);
        let (stopper, mut stop) = watch::channel(false);
        if let Some(names) = Names::of(&path) {
            let following = tokio::spawn(async move {
                let second = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
                let retry = Reconnect::new(&intake, second, "f", String::new());
                let (input, works) = (Arc::new(input), retry.works());
                let ended = follow_all(&input, names, &intake, works, &mut stop);
                ended.await.unwrap();
            });
            self.agent = Some((taking, following, stopper));
            return;
        }
        let following = tokio::spawn(async move {
            let (path, place, known) = (&path, &input.place, &Known::default());
            let followed = Followed { path, place, known };
            let ended = follow(&input, followed, &intake, &mut receipts, &mut stop, || {});
            assert_eq!(ended.await.unwrap(), Ended::Stopped);
        });
        self.agent = Some((taking, following, stopper));
    }

    async fn stop(&mut self) {
        if let Some((taking, following, stopper)) = self.agent.take() {
            stopper.send_replace(true);
            following.await.unwrap();
            taking.abort();
        }
    }

    fn kill(&mut self) {
        if let Some((taking, following, _)) = self.agent.take() {
            following.abort();
            taking.abort();
        }
        forget(&self.path("places/f"));
        for entry in fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            forget(&place_of(&self.path("places/f"), &path));
        }
    }

    fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// Waits until every line was kept, and says how often and under which marks.
    async fn all(&mut self) -> BTreeMap<u64, Vec<u64>> {
        self.takes.refuses.store(false, Ordering::Relaxed);
        self.write(0, false);
        if !self.is_running() {
            self.start();
        }
        for _ in 0..600 {
            if self.numbers().len() as u64 == self.written {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        self.numbers()
    }

    fn numbers(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (text, mark) in self.takes.seen.lock().unwrap().iter() {
            let message: serde_json::Value = serde_json::from_str(text).unwrap();
            let number = message["n"].as_u64().unwrap();
            numbers.entry(number).or_default().push(*mark);
        }
        numbers
    }
}

fn line(number: u64) -> String {
    format!("{{\"n\":{number}}}\n")
}

#[derive(Debug, Clone)]
enum Act {
    Write(u64, bool),
    /// Whether the new file is there at once.
    Rename(bool),
    CopyAndCut,
    Refuse(bool),
    Wait(u64),
    Stop,
    Kill,
    Start,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..60_u64, any::<bool>()).prop_map(|(lines, half)| Act::Write(lines, half)),
        2 => any::<bool>().prop_map(Act::Rename),
        1 => Just(Act::CopyAndCut),
        1 => any::<bool>().prop_map(Act::Refuse),
        3 => (1..3000_u64).prop_map(Act::Wait),
        1 => Just(Act::Stop),
        1 => Just(Act::Kill),
        2 => Just(Act::Start),
    ];
    prop::collection::vec(act, 1..40)
}

async fn play(acts: Vec<Act>, tail: &'static str) {
    let mut rig = Rig::new(tail);
    rig.write(1, false);
    rig.start();
    while !rig.path("places/f").exists() && !rig.path("places/f.d").exists() {
        sleep(LOOK).await;
    }
    for act in acts {
        match act {
            Act::Write(lines, half) => rig.write(lines, half),
            Act::Rename(makes_new) => {
                rig.rename();
                // Where a single file is followed, whoever starts the agent sees to it that it is there.
                if makes_new || tail == "f" {
                    rig.append("");
                }
            }
            Act::CopyAndCut => rig.copy_and_cut(),
            Act::Refuse(refuses) => rig.takes.refuses.store(refuses, Ordering::Relaxed),
            Act::Wait(ms) => sleep(Duration::from_millis(ms)).await,
            Act::Stop => rig.stop().await,
            Act::Kill => rig.kill(),
            Act::Start if !rig.is_running() => rig.start(),
            Act::Start => {}
        }
    }
    let numbers = rig.all().await;
    let missing: Vec<u64> = (0..rig.written)
        .filter(|number| !numbers.contains_key(number))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    for (number, marks) in numbers {
        let same = marks.iter().all(|mark| Some(mark) == marks.first());
        assert!(same, "line {number} has several marks: {marks:?}");
    }
    rig.kill();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_line_is_kept_and_a_repeat_has_its_mark(acts in acts()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        for tail in ["f", "f*"] {
            runtime.block_on(play(acts.clone(), tail));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_were_rotated_while_the_agent_was_down_are_all_read_once() {
    let mut rig = Rig::new("f");
    rig.write(10, false);
    rig.start();
    sleep(Duration::from_secs(5)).await;
    rig.stop().await;
    for _ in 0..3 {
        rig.write(10, true);
        rig.rename();
        rig.append("");
    }
    rig.write(10, false);
    let numbers = rig.all().await;
    assert_eq!(numbers.len(), 10 + 3 * 11 + 10);
    assert!(numbers.values().all(|marks| marks.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_opens_the_new_file_late_loses_nothing() {
    let mut rig = Rig::new("f");
    rig.write(10, false);
    rig.start();
    sleep(Duration::from_secs(5)).await;
    rig.rename();
    rig.append("");
    for _ in 0..20 {
        let text = line(rig.written);
        rig.written += 1;
        let mut renamed = fs::File::options().append(true).open(rig.path("f.1"));
        renamed
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        rig.tick(&rig.path("f.1"));
        sleep(Duration::from_secs(3)).await;
    }
    rig.write(10, false);
    let numbers = rig.all().await;
    assert_eq!(numbers.len(), 40);
    assert!(numbers.values().all(|marks| marks.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn lines_that_are_too_long_or_not_ended_hold_up_nobody() {
    let mut rig = Rig::new("f");
    rig.start_with(&format!(
        "{}\n{{\"n\":0}}\n\0\0\0{{\"n\":1}}\n",
        "x".repeat(300_000)
    ));
    rig.written = 2;
    assert_eq!(rig.all().await.len(), 2);
    rig.append("{\"n\":2}");
    rig.written = 3;
    assert_eq!(rig.all().await.len(), 3, "an object needs no end");
    rig.append("\r\n\r\n\u{feff}{\"n\":3}\r\n");
    rig.written = 4;
    let numbers = rig.all().await;
    assert!(numbers.len() == 4 && numbers.values().all(|marks| marks.len() == 1));
}

impl Rig {
    fn start_with(&mut self, text: &str) {
        self.append(text);
        self.start();
    }
}
