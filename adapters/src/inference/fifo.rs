//! Following a FIFO. What was taken out of it cannot be read again, and has no receipt to wait for; its writer waits while
//! nothing is read.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout_at};

use super::message::MessageError;
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
    let mut line = Vec::new();
    loop {
        let limit = (input.section.max_event() + 1).saturating_sub(line.len()) as u64;
        let mut limited = (&mut reader).take(limit.max(1));
        let open = intake.has_room();
        tokio::select! {
            read = limited.read_until(b'\n', &mut line), if open => { read?; }
            () = intake.room(), if !open => continue,
            () = receipts.changed() => while receipts.ready().is_some() {},
            () = stopped(stop) => break,
        }
        if line.ends_with(b"\n") || line.len() > input.section.max_event() {
            submit(&mut maker, &line, intake).await;
            line.clear();
        }
    }
    // A FIFO cannot offer again what was taken out of it, and what is left of a line is no line to the next reader.
    line.extend_from_slice(reader.buffer());
    let (mut pipe, mut byte, end) = (reader.into_inner(), [0], Instant::now() + REST_ALL);
    while line.last().is_some_and(|last| *last != b'\n')
        && line.len() <= LINE.max(input.section.max_event())
        && let Ok(Ok(_)) =
            timeout_at(end.min(Instant::now() + REST), pipe.read_exact(&mut byte)).await
    {
        line.extend(byte);
    }
    let whole = line.split_inclusive(|byte| *byte == b'\n');
    for line in whole.filter(|line| line.ends_with(b"\n")) {
        if line.len() <= input.section.max_event() {
            submit(&mut maker, line, intake).await;
        } else {
            intake
                .stats
                .error(&MessageError::TooLong(input.section.max_event()));
        }
    }
    receipts.all().await;
    Ok(())
}

async fn submit(maker: &mut Maker, line: &[u8], intake: &Intake) {
    match maker.line(line, intake.now(), None) {
        None => {}
        Some(Ok(event)) => intake.submit(event, Patience::Waits).await,
        Some(Err(error)) => intake.stats.error(&error),
    }
}
