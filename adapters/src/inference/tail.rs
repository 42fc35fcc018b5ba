//! Following a file of JSON lines, for programs that only write files.
//!
//! The place in the file moves over a line only with its receipt. A file that was renamed is read to its end before the one that
//! has its name now, also over a restart while it stays in its directory. What can no longer be read is logged.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::place::{Place, open_to_read};
use super::places::PlaceFile;
use super::{Inference, Maker};
use crate::retry::Works;
use crate::{Intake, Outcome, Patience, Receipts, Stop, stopped};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// A program may write to the file that was renamed until it is signalled to open the new one: the old one is left when nothing came
/// for this long, and after that long in any case.
const QUIET: Duration = Duration::from_secs(1);
const LEFT_AFTER: Duration = Duration::from_secs(10);

pub(super) async fn follow(
    input: &Inference,
    path: &Path,
    intake: &Intake,
    receipts: &mut Receipts,
    works: &Works<'_>,
    stop: &mut Stop,
) -> io::Result<()> {
    let source = input.section.name.as_str();
    let mut places = PlaceFile::new(&input.place, input.write, source);
    let (file, place) = open(path, source, &places)?;
    works.now();
    tracing::info!(source, path = %path.display(), "following inference results");
    let mut tail = Tail {
        path,
        source,
        file,
        place,
        kept: BTreeSet::new(),
        rotated: None,
        maker: Maker::new(input, intake.now()),
        intake,
        receipts,
    };
    while !*stop.borrow() {
        let read = tail.read().await?;
        let renewed = read == Step::End && tail.is_renewed(Instant::now());
        if renewed {
            tail.leave().await?;
            places.remember_now(tail.place, &intake.stats).await;
        } else {
            places.remember(tail.place, &intake.stats);
        }
        if read != Step::More && !renewed {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stopped(stop) => {}
            }
        }
    }
    places.remember_now(tail.place, &intake.stats).await;
    Ok(())
}

/// The file to read from, and where: where reading stopped before, if that file is still there.
fn open(path: &Path, source: &str, places: &PlaceFile<'_>) -> io::Result<(File, Place)> {
    let file = open_to_read(path)?;
    let metadata = file.metadata()?;
    let beginning = Place::beginning(&metadata);
    let Some(recalled) = places.recall() else {
        return Ok((file, beginning));
    };
    if recalled.is_in(&metadata) {
        return Ok((file, recalled));
    }
    if let Some((name, renamed)) = recalled.find(path) {
        tracing::info!(source, path = %name.display(), offset = recalled.offset, "the followed file was renamed; its rest is read first");
        return Ok((renamed, recalled));
    }
    tracing::warn!(source, path = %path.display(), inode = recalled.inode, offset = recalled.offset,
        "the file that was followed before is not in this directory any more; lines after this offset of it were not read and may be lost; the new file is read from its beginning; rotate into the same directory, without compression, to keep them");
    Ok((file, beginning))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    End,
    /// A line was refused; it is to be offered again.
    Refused,
}

/// A file that has lost its name to another, since when, and when it last gave something.
#[derive(Debug, Clone, Copy)]
struct Rotated {
    since: Instant,
    gave: Instant,
}

struct Tail<'a> {
    path: &'a Path,
    source: &'a str,
    file: File,
    place: Place,
    /// Where lines begin that were taken though one before them was refused: of one chunk, and not offered again.
    kept: BTreeSet<u64>,
    rotated: Option<Rotated>,
    maker: Maker,
    intake: &'a Intake,
    receipts: &'a mut Receipts,
}

impl Tail<'_> {
    /// Submits the whole lines of the next chunk, and waits for their receipts.
    async fn read(&mut self) -> io::Result<Step> {
        let chunk = self.chunk()?;
        let end = chunk.iter().rposition(|byte| *byte == b'\n');
        // A line longer than a chunk is passed over in pieces, each of which is refused.
        let is_too_long = chunk.len() > self.maker.section.max_event();
        let end = end.map_or(if is_too_long { chunk.len() } else { 0 }, |last| last + 1);
        let lines = chunk.get(..end).unwrap_or_default();
        if lines.is_empty() {
            return Ok(Step::End);
        }
        if let Some(rotated) = &mut self.rotated {
            rotated.gave = Instant::now();
        }
        Ok(self.submit(lines).await)
    }

    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.place.offset {
            tracing::warn!(source = self.source, path = %self.path.display(), offset = self.place.offset,
                "the followed file was cut; lines that were written to it since it was last read, up to when it was cut, are lost; it is read from its beginning; let logs be rotated by renaming, not by copying and cutting");
            self.place.cut();
            self.kept.clear();
        }
        let mut chunk = vec![0; CHUNK.max(self.maker.section.max_event() + 1)];
        self.file.seek(SeekFrom::Start(self.place.offset))?;
        let count = self.file.read(&mut chunk)?;
        chunk.truncate(count);
        Ok(chunk)
    }

    /// Offers lines, of which the first begins at the place, which then moves over all that need not be offered again.
    async fn submit(&mut self, lines: &[u8]) -> Step {
        let mut at = self.place;
        let mut offered = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let begin = at.offset;
            let event = self.maker.line(line, self.intake, Some(at.mark()));
            at.offset += line.len() as u64;
            let waits = match event {
                None => false,
                Some(_) if self.kept.contains(&begin) => false,
                Some(event) => {
                    self.intake.submit(event, Patience::Waits).await;
                    true
                }
            };
            offered.push((begin, at.offset, waits));
        }
        self.intake.urge();
        let mut step = Step::More;
        for (begin, end, waits) in offered {
            let refused = waits && matches!(self.receipts.next().await, Outcome::Refused(_));
            if refused {
                self.intake.stats.refused.fetch_add(1, Ordering::Relaxed);
                step = Step::Refused;
            } else if step == Step::Refused {
                self.kept.insert(begin);
            } else {
                self.place.offset = end;
            }
        }
        if step == Step::More {
            self.kept.clear();
            self.place = at;
        }
        step
    }

    /// Whether the file, which was read to its end, has lost its name to another, and is left alone by who wrote it.
    fn is_renewed(&mut self, now: Instant) -> bool {
        let is_other = fs::metadata(self.path).is_ok_and(|named| !self.place.is_in(&named));
        if !is_other {
            self.rotated = None;
            return false;
        }
        let rotated = self.rotated.get_or_insert(Rotated {
            since: now,
            gave: now,
        });
        now - rotated.gave >= QUIET || now - rotated.since >= LEFT_AFTER
    }

    /// Goes on with the file that has the name now. What is left of the old one is a line that was not ended.
    async fn leave(&mut self) -> io::Result<()> {
        let file = open_to_read(self.path)?;
        let rest = self.chunk()?;
        while self.submit(&rest).await == Step::Refused {
            sleep(LOOK).await;
        }
        self.place = Place::beginning(&file.metadata()?);
        self.kept.clear();
        tracing::info!(source = self.source, path = %self.path.display(), "the followed file was replaced, after it was read to its end; the new one is read");
        (self.file, self.rotated) = (file, None);
        Ok(())
    }
}
