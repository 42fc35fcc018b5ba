//! Following a file of JSON lines, or a FIFO, for programs that only write files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout};

use super::message::{Message, MessageError};
use super::{Inference, Maker};
use crate::retry::Works;
use crate::{Intake, Receipts, Stop, stopped};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// The place in the file is written at most this often; after a crash as much may be read again.
const REMEMBER: Duration = Duration::from_secs(2);

pub(super) async fn follow(
    input: &Inference,
    path: &Path,
    intake: &Intake,
    receipts: &mut Receipts,
    works: &Works<'_>,
    stop: &mut Stop,
) -> io::Result<()> {
    let fifo = fs::metadata(path)?.file_type().is_fifo();
    works.now();
    tracing::info!(source = %input.section.name, path = %path.display(), "following inference results");
    if fifo {
        read_fifo(input, path, intake, receipts, stop).await
    } else {
        read_file(input, path, intake, receipts, stop).await
    }
}

async fn read_fifo(
    input: &Inference,
    path: &Path,
    intake: &Intake,
    receipts: &mut Receipts,
    stop: &mut Stop,
) -> io::Result<()> {
    // Opened for writing as well, so that it does not end when its last writer goes.
    let pipe = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)?;
    let mut reader = BufReader::new(pipe);
    let mut maker = Maker::new(&input.section, intake.now());
    let mut line = Vec::new();
    loop {
        let limit = (input.section.max_event() + 1).saturating_sub(line.len()) as u64;
        let mut limited = (&mut reader).take(limit.max(1));
        tokio::select! {
            read = limited.read_until(b'\n', &mut line) => { read?; }
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
    let (mut pipe, mut byte) = (reader.into_inner(), [0]);
    while line.last().is_some_and(|last| *last != b'\n')
        && line.len() <= CHUNK.max(input.section.max_event())
        && let Ok(Ok(_)) = timeout(LOOK, pipe.read_exact(&mut byte)).await
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

async fn submit(maker: &mut Maker, line: &[u8], intake: &Intake) -> bool {
    let trimmed = line.trim_ascii();
    if trimmed.is_empty() {
        return false;
    }
    match Message::from_json(trimmed) {
        Ok(message) => {
            let event = maker.event(message, intake.now());
            intake.submit(event).await;
            true
        }
        Err(error) => {
            intake.stats.error(&error);
            false
        }
    }
}

/// A place in a file, which its inode tells from the one that takes its name when logs are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    inode: u64,
    offset: u64,
}

impl Place {
    fn recall(path: &Path) -> Option<Place> {
        let text = fs::read_to_string(path).ok()?;
        let (inode, offset) = text.trim().split_once(' ')?;
        Some(Place {
            inode: inode.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    }

    fn remember(self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let fresh = path.with_extension("new");
        fs::write(&fresh, format!("{} {}", self.inode, self.offset))?;
        fs::rename(fresh, path)
    }
}

async fn read_file(
    input: &Inference,
    path: &Path,
    intake: &Intake,
    receipts: &mut Receipts,
    stop: &mut Stop,
) -> io::Result<()> {
    let mut maker = Maker::new(&input.section, intake.now());
    let mut file = File::open(path)?;
    let mut place = Place {
        inode: file.metadata()?.ino(),
        offset: 0,
    };
    if let Some(recalled) =
        Place::recall(&input.offsets).filter(|recalled| recalled.inode == place.inode)
    {
        place = recalled;
    }
    let mut remembered = (place, Instant::now());
    while !*stop.borrow() {
        let read = read_lines(&mut file, &mut place, &mut maker, intake, receipts).await?;
        if place != remembered.0 && (read == 0 || remembered.1.elapsed() > REMEMBER) {
            place.remember(&input.offsets)?;
            remembered = (place, Instant::now());
        }
        if read == 0 {
            // Rotated: the name is another file's now, and this one is read to its end.
            let renewed = fs::metadata(path)
                .is_ok_and(|named| named.ino() != place.inode || named.len() < place.offset);
            if renewed {
                file = File::open(path)?;
                place = Place {
                    inode: file.metadata()?.ino(),
                    offset: 0,
                };
                continue;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stopped(stop) => {}
            }
        }
    }
    if place != remembered.0 {
        place.remember(&input.offsets)?;
    }
    Ok(())
}

/// Submits the whole lines of the next chunk and waits for their receipts; returns bytes passed.
async fn read_lines(
    file: &mut File,
    place: &mut Place,
    maker: &mut Maker,
    intake: &Intake,
    receipts: &mut Receipts,
) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK.max(maker.section.max_event() + 1)];
    file.seek(SeekFrom::Start(place.offset))?;
    let count = file.read(&mut chunk)?;
    chunk.truncate(count);
    let end = chunk
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map(|last| last + 1);
    // A line longer than a chunk is passed over in pieces, each of which is refused.
    let end = end.unwrap_or(if count > maker.section.max_event() {
        count
    } else {
        0
    });
    let mut submitted = false;
    for line in chunk
        .get(..end)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
    {
        submitted |= submit(maker, line, intake).await;
    }
    if submitted {
        intake.urge();
    }
    while receipts.outstanding() > 0 {
        if let crate::Outcome::Refused(_) = receipts.next().await {
            // Offered again from the same place.
            sleep(LOOK).await;
            receipts.all().await;
            return Ok(0);
        }
    }
    place.offset += end as u64;
    Ok(end as u64)
}
