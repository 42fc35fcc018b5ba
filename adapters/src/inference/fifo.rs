//! Following a FIFO. What was taken out of it cannot be read again, and has no receipt to wait for; its writer waits while
//! nothing is read.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Inference, Maker};
use crate::retry::Works;
use crate::{Intake, Patience, Receipts, Stop, stopped};

/// How long a stop waits for more of a line, and for all that is left of it.
const REST: Duration = Duration::from_millis(200);
const REST_ALL: Duration = Duration::from_secs(1);
/// Bytes of a line that a stop reads to its end.
const LINE: usize = 64 * 1024;

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
    tracing::info!(source = %input.section.name, path = %path.display(), "following inference results");
    let mut reader = BufReader::new(pipe);
    let mut maker = Maker::new(input, intake.now());
    let mut line = Line::new(input.section.max_event());
    loop {
        let open = intake.has_room();
        let whole = line.is_whole();
        tokio::select! {
            read = line.read(&mut reader), if open => read?,
            () = intake.room(), if !open => continue,
            () = receipts.changed() => while receipts.ready().is_some() {},
            () = stopped(stop) => break,
            // Its writer did not end the line; what is an object already goes on with nothing but its end.
            () = sleep(REST), if open && whole => line.ended = true,
        }
        if line.ended {
            submit(&mut maker, line.take(), intake).await;
        }
    }
    // A FIFO cannot offer again what was taken out of it, and what is left of a line is no line to the next reader.
    let mut rest = line.bytes;
    rest.extend_from_slice(reader.buffer());
    let (mut pipe, mut byte, end) = (reader.into_inner(), [0], Instant::now() + REST_ALL);
    while rest.last().is_some_and(|last| *last != b'\n')
        && rest.len() <= LINE.max(input.section.max_event())
        && let Ok(Ok(_)) =
            timeout_at(end.min(Instant::now() + REST), pipe.read_exact(&mut byte)).await
    {
        rest.extend(byte);
    }
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        submit(&mut maker, line.to_vec(), intake).await;
    }
    receipts.all().await;
    Ok(())
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

    fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"}") && serde_json::from_slice::<IgnoredAny>(&self.bytes).is_ok()
    }

    fn take(&mut self) -> Vec<u8> {
        self.ended = false;
        std::mem::take(&mut self.bytes)
    }
}

async fn submit(maker: &mut Maker, line: Vec<u8>, intake: &Intake) {
    if let Some(event) = maker.line(&line, intake, None) {
        intake.submit(event, Patience::Waits).await;
    }
}
