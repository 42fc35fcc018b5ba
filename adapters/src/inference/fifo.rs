//! Following a FIFO. What was taken out of it cannot be read again: it is held here until it has its receipt, and offered again
//! where its lane refused it. Nothing more is read meanwhile, and the writer waits.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout_at};

use super::lenient::is_whole;
use super::{Inference, Maker};
use crate::retry::Works;
use crate::{Event, Intake, Outcome, Patience, Receipts, Stop, stopped};

/// How long a stop waits for more of a line, and for all that is left of it.
const REST: Duration = Duration::from_millis(200);
const REST_ALL: Duration = Duration::from_secs(1);
/// Bytes of a line that a stop reads to its end.
const LINE: usize = 64 * 1024;
/// Events that may wait for their receipt, and bytes of them: as much as a client of a socket may have, and a source's queue.
const HELD_MAX: usize = 1024;
const HELD_BYTES: usize = 256 * 1024;
/// How often an event that was refused is offered again.
const AGAIN: Duration = Duration::from_millis(200);

/// What an agent of this process took out of a FIFO and could not hand over before it stopped, by the FIFO: the next agent of this
/// process offers it. At most [`HELD_MAX`] and what is in the queue, for each.
static LEFT: Mutex<BTreeMap<PathBuf, VecDeque<Event>>> = Mutex::new(BTreeMap::new());

pub(super) async fn read(
    input: &Inference,
    path: &Path,
    intake: &Intake,
    receipts: &mut Receipts,
    works: &Works<'_>,
    stop: &mut Stop,
) -> io::Result<()> {
    // Opened for writing as well, so that it does not end when its last writer goes.
    let pipe = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)?;
    works.now();
    let source = input.section.name.as_str();
    tracing::info!(source, path = %path.display(), "following inference results");
    let mut reader = BufReader::new(pipe);
    let mut maker = Maker::new(input, intake.now());
    let mut line = Line::new(input.section.max_event());
    let mut held = Held::new(source, intake);
    held.refused = left().remove(path).unwrap_or_default();
    loop {
        let (has_room, open) = (intake.has_room(), held.has_room());
        let whole = is_whole(&line.bytes);
        tokio::select! {
            read = line.read(&mut reader), if has_room && open => read?,
            () = intake.room(), if !has_room => continue,
            () = receipts.changed() => held.settle(receipts).await,
            () = stopped(stop) => break,
            () = sleep(AGAIN), if !held.refused.is_empty() => held.offer_again(1).await,
            // Its writer did not end the line; what is an object already goes on with nothing but its end.
            () = sleep(REST), if has_room && open && whole => line.ended = true,
        }
        if line.ended
            && let Some(event) = maker.line(&line.take(), intake, None)
        {
            held.submit(event).await;
        }
    }
    for line in rest(line, reader)
        .await
        .split_inclusive(|byte| *byte == b'\n')
    {
        if let Some(event) = maker.line(line, intake, None) {
            held.submit(event).await;
        }
    }
    held.leave(path, receipts).await;
    Ok(())
}

/// A FIFO cannot offer again what was taken out of it, and what is left of a line is no line to the next reader: this is what was
/// read, up to the end of a line if that comes soon.
async fn rest(line: Line, reader: BufReader<pipe::Receiver>) -> Vec<u8> {
    let (mut rest, most) = (line.bytes, LINE.max(line.most));
    rest.extend_from_slice(reader.buffer());
    let (mut pipe, mut byte, end) = (reader.into_inner(), [0], Instant::now() + REST_ALL);
    while rest.last().is_some_and(|last| *last != b'\n')
        && rest.len() <= most
        && let Ok(Ok(_)) =
            timeout_at(end.min(Instant::now() + REST), pipe.read_exact(&mut byte)).await
    {
        rest.extend(byte);
    }
    rest
}

fn left() -> std::sync::MutexGuard<'static, BTreeMap<PathBuf, VecDeque<Event>>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events that were taken out of the FIFO and have no receipt yet.
struct Held<'a> {
    source: &'a str,
    intake: &'a Intake,
    /// In the order of their receipts.
    offered: VecDeque<Event>,
    bytes: usize,
    /// To be offered again.
    refused: VecDeque<Event>,
    is_told: bool,
}

impl<'a> Held<'a> {
    fn new(source: &'a str, intake: &'a Intake) -> Held<'a> {
        Held {
            source,
            intake,
            offered: VecDeque::new(),
            bytes: 0,
            refused: VecDeque::new(),
            is_told: false,
        }
    }

    /// Whether more may be read.
    fn has_room(&self) -> bool {
        self.refused.is_empty() && self.offered.len() < HELD_MAX && self.bytes < HELD_BYTES
    }

    async fn submit(&mut self, event: Event) {
        self.bytes += event.bytes();
        self.offered.push_back(event.clone());
        self.intake.submit(event, Patience::Waits).await;
        if !self.has_room() {
            self.intake.urge();
        }
    }

    async fn offer_again(&mut self, most: usize) {
        let again = self.refused.split_off(most.min(self.refused.len()));
        for event in std::mem::replace(&mut self.refused, again) {
            self.submit(event).await;
        }
    }

    /// Takes the receipts that are there. Where a lane takes something again, it is offered all that it refused.
    async fn settle(&mut self, receipts: &mut Receipts) {
        let mut is_taken = false;
        while let Some(outcome) = receipts.ready() {
            is_taken |= self.received(outcome);
        }
        if is_taken && !self.refused.is_empty() {
            self.offer_again(usize::MAX).await;
        } else if is_taken && self.is_told {
            self.is_told = false;
            tracing::info!(
                source = self.source,
                "the lane takes what was refused; the FIFO is read again"
            );
        }
    }

    /// Whether the event was taken.
    fn received(&mut self, outcome: Outcome) -> bool {
        let Some(event) = self.offered.pop_front() else {
            return true;
        };
        self.bytes -= event.bytes();
        if !matches!(outcome, Outcome::Refused(_)) {
            return true;
        }
        self.intake.stats.refused.fetch_add(1, Ordering::Relaxed);
        self.refused.push_back(event);
        if !self.is_told {
            self.is_told = true;
            tracing::warn!(
                source = self.source,
                "a lane is full and refuses what came through the FIFO; nothing more is read from it, and its writer waits; what was refused is offered again; find out why the lane does not drain, or raise its `budget`"
            );
        }
        false
    }

    /// Waits for all receipts, and leaves what was refused to the next agent of this process.
    async fn leave(mut self, path: &Path, receipts: &mut Receipts) {
        while receipts.outstanding() > 0 {
            let outcome = receipts.next().await;
            self.received(outcome);
        }
        if !self.refused.is_empty() {
            tracing::error!(source = self.source, path = %path.display(), events = self.refused.len(),
                "a lane refused what was read out of the FIFO, and the agent stops; after a reload these events are offered again; they are lost if the process ends, as they cannot be put back; set `when_full` of the lane to a policy that drops the oldest, or follow a file");
            left().insert(path.to_owned(), self.refused);
        }
    }
}

/// The line that is being read.
struct Line {
    /// No more than one byte over what an event may have.
    bytes: Vec<u8>,
    most: usize,
    ended: bool,
}

impl Line {
    fn new(most: usize) -> Line {
        Line {
            bytes: Vec::new(),
            most,
            ended: false,
        }
    }

    /// Reads more of it, of one that is too long without keeping more. Safe to cancel.
    async fn read(&mut self, reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
        let available = reader.fill_buf().await?;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len()));
        let part = part.unwrap_or_default();
        let room = (self.most + 1).saturating_sub(self.bytes.len());
        let kept = part.get(..room.min(part.len())).unwrap_or_default();
        self.bytes.extend_from_slice(kept);
        self.ended = end.is_some();
        let used = part.len() + usize::from(self.ended);
        reader.consume(used);
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        self.ended = false;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::Command;

    use rustix::fs::OFlags;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::Backoff;
    use crate::inference::testing::{Agent, write_whole};
    use crate::retry::Reconnect;

    struct Rig {
        directory: tempfile::TempDir,
        agent: Agent,
        pipe: fs::File,
    }

    impl Rig {
        fn new() -> Rig {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("pipe");
            assert!(
                Command::new("mkfifo")
                    .arg(&path)
                    .status()
                    .unwrap()
                    .success()
            );
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
            let mut options = fs::File::options();
            let options = options.read(true).write(true).custom_flags(flags);
            let (pipe, agent) = (options.open(&path).unwrap(), Agent::default());
            Rig {
                directory,
                agent,
                pipe,
            }
        }

        fn start(&self) -> (JoinHandle<()>, watch::Sender<bool>) {
            let path = self.directory.path().join("pipe");
            let (intake, mut receipts, _) = self.agent.run();
            let text = format!("name = \"f\"\ntail = {path:?}");
            let place = self.directory.path().join("place");
            let input = Inference::of(toml::from_str(&text).unwrap(), place, write_whole);
            let (stopper, mut stop) = watch::channel(false);
            let reading = tokio::spawn(async move {
                let (backoff, second) = (Backoff::new, Duration::from_secs(1));
                let retry = Reconnect::new(&intake, backoff(second, second), "f", String::new());
                let works = retry.works();
                let ended = read(&input, &path, &intake, &mut receipts, works, &mut stop);
                ended.await.unwrap();
            });
            (reading, stopper)
        }

        /// Writes lines until it would wait; how many are written then.
        async fn write(&mut self, lines: std::ops::Range<u64>) -> u64 {
            for number in lines.clone() {
                // As long as a page is a multiple of: a line is written whole or not at all.
                let line = format!("{:63}\n", format!("{{\"n\":{number}}}"));
                let mut waits = 0;
                while self.pipe.write_all(line.as_bytes()).is_err() {
                    waits += 1;
                    if waits > 100 {
                        return number;
                    }
                    sleep(AGAIN).await;
                }
            }
            lines.end
        }

        fn numbers(&self) -> BTreeSet<String> {
            let seen = self.agent.seen.lock().unwrap();
            seen.iter().map(|(text, _)| text.clone()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_lane_refuses_the_writer_waits_and_nothing_is_lost_also_over_a_reload() {
        let mut rig = Rig::new();
        let (reading, stop) = rig.start();
        rig.agent.refuses.store(true, Ordering::Relaxed);
        let written = rig.write(0..20_000).await;
        assert!(written < 5_000, "{written}: the pipe and what is held");
        assert!(rig.agent.refused.load(Ordering::Relaxed) > 0);
        stop.send_replace(true);
        reading.await.unwrap();
        let (reading, stop) = rig.start();
        rig.agent.refuses.store(false, Ordering::Relaxed);
        assert_eq!(rig.write(written..20_000).await, 20_000);
        while rig.agent.count() < 20_000 {
            sleep(AGAIN).await;
        }
        assert_eq!(rig.numbers().len(), 20_000);
        stop.send_replace(true);
        reading.await.unwrap();
        assert_eq!(rig.agent.count(), 20_000, "each once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_needs_no_end_where_its_writer_has_gone_or_the_agent_stops() {
        let mut rig = Rig::new();
        let (reading, stop) = rig.start();
        rig.pipe.write_all(b"\xef\xbb\xbf{\"a\":1}").unwrap();
        while rig.agent.count() < 1 {
            sleep(AGAIN).await;
        }
        rig.pipe.write_all(b"\n{\"a\":2}\r\n\r\n{\"a\":").unwrap();
        while rig.agent.count() < 2 {
            sleep(AGAIN).await;
        }
        stop.send_replace(true);
        reading.await.unwrap();
        let kept = ["{\"a\":", "{\"a\":1}", "{\"a\":2}"].map(str::to_owned);
        assert_eq!(
            rig.numbers(),
            BTreeSet::from(kept),
            "half a line is kept as it is"
        );
    }
}
