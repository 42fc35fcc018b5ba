//! Following a file of JSON lines, for programs that only write files.
//!
//! The place in the file moves over a line only with its receipt. A file that was renamed, or copied and cut, is read to its end
//! before those that had its name after it, the oldest first, and the one that has it now; also over a restart, while they stay in
//! their directory. What can no longer be read is logged.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::followed::Followed;
use super::lenient::is_whole;
use super::message::MessageError;
use super::names::Known;
use super::place::{Chunk, Place, written};
use super::places::PlaceFile;
use super::rotated::{self, is_one};
use super::{Inference, Maker};
use crate::{Intake, Outcome, Patience, Receipts, Stop, stopped};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// A program may write to the file that was renamed until it is signalled to open the new one: the old one is left when nothing came
/// for this long, and after that long in any case; while the new one is empty, when nothing came for that long. The end of a last line
/// is waited for as long as the first.
const QUIET: Duration = Duration::from_secs(1);
const LEFT_AFTER: Duration = Duration::from_secs(10);
/// A file to which nothing was written for this long makes room for one that waits.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// How following a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Stopped,
    /// Nothing has its name any more, or what has it is read by another, and it was read to its end.
    Gone,
    /// It was read to its end, which was written at this time, in microseconds since 1970; others wait to be read.
    Rests(u64),
}

pub(super) async fn follow(
    input: &Inference,
    followed: Followed<'_>,
    intake: &Intake,
    receipts: &mut Receipts,
    stop: &mut Stop,
    works: impl FnOnce(),
) -> io::Result<Ended> {
    let (path, source) = (followed.path, input.section.name.as_str());
    let mut places = PlaceFile::new(followed.place, input.write, source);
    let (file, place) = followed.open(source, places.recall())?;
    works();
    tracing::info!(source, path = %path.display(), "following inference results");
    let mut tail = Tail {
        path,
        known: followed.known,
        source,
        file,
        place,
        kept: BTreeSet::new(),
        seen: 0,
        gave: Instant::now(),
        done: Vec::new(),
        renamed: None,
        scanned: 0,
        half: None,
        maker: Maker::new(input, intake.now()),
        intake,
        receipts,
    };
    while !*stop.borrow() {
        tail.known.is_at(path, tail.place, &tail.file.metadata()?);
        let read = tail.read().await?;
        let now = Instant::now();
        let (named, mut left) = (tail.named(), false);
        if let Some(written) = tail.rests(read, named) {
            places.remember_now(tail.place, &intake.stats).await;
            return Ok(Ended::Rests(written));
        }
        if read == Step::End && tail.is_left(named, now) && tail.finish(stop).await? {
            if named == Named::None {
                return Ok(Ended::Gone);
            }
            tail.go_on()?;
            left = true;
            places.remember_now(tail.place, &intake.stats).await;
        } else {
            places.remember(tail.place, &intake.stats);
        }
        if read != Step::More && !left {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stopped(stop) => {}
            }
        }
    }
    places.remember_now(tail.place, &intake.stats).await;
    Ok(Ended::Stopped)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    End,
    /// A line was refused; it is to be offered again.
    Refused,
}

/// What has the name of the followed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Same,
    Other,
    /// Another file, to which nothing was written yet.
    Empty,
    None,
}

struct Tail<'a> {
    path: &'a Path,
    known: &'a Known,
    source: &'a str,
    file: File,
    place: Place,
    /// Where lines begin that were taken though one before them was refused: of one chunk, and not offered again.
    kept: BTreeSet<u64>,
    /// When the file was last written to before it was looked at, in microseconds since 1970.
    seen: u64,
    /// When the file last gave something.
    gave: Instant,
    /// Files that were read to their ends and were last written to at the same time as the last of them.
    done: Vec<Metadata>,
    /// Since when it has lost its name.
    renamed: Option<Instant>,
    /// Up to where the end of a line that is too long was looked for.
    scanned: u64,
    /// Bytes of a last line that was not ended, and since when there are no more.
    half: Option<(usize, Instant)>,
    maker: Maker,
    intake: &'a Intake,
    receipts: &'a mut Receipts,
}

impl Tail<'_> {
    /// Submits the whole lines of the next chunk, and waits for their receipts.
    async fn read(&mut self) -> io::Result<Step> {
        let Some(chunk) = self.chunk()? else {
            self.cut();
            return Ok(Step::More);
        };
        if self.place.is_blank() && self.is_in_a_copy()? {
            return Ok(Step::More);
        }
        self.place.look(&chunk);
        self.seen = chunk.written();
        let new = chunk.new_bytes();
        // A file that was cut under a program that goes on at its old place begins with a hole.
        let hole = new.iter().take_while(|byte| **byte == 0).count();
        if hole > 0 {
            self.place.advance(&chunk, hole);
            return Ok(Step::More);
        }
        let end = new.iter().rposition(|byte| *byte == b'\n');
        let end = match end {
            Some(last) => last + 1,
            None if new.len() > self.maker.section.max_event() => return self.pass_over(),
            None if self.is_ended(new) => new.len(),
            None => return Ok(Step::End),
        };
        self.gave = Instant::now();
        Ok(self.submit(&chunk, end).await)
    }

    /// The next bytes; none if the file was cut or rewritten.
    fn chunk(&self) -> io::Result<Option<Chunk>> {
        let most = CHUNK.max(self.maker.section.max_event() + 1);
        self.place.read(&self.file, most)
    }

    /// Whether a last line without its end is one: an object to which nothing is added.
    fn is_ended(&mut self, rest: &[u8]) -> bool {
        let now = Instant::now();
        let half = self.half.filter(|(length, _)| *length == rest.len());
        let (_, since) = *self.half.insert(half.unwrap_or((rest.len(), now)));
        now - since >= QUIET && is_whole(rest)
    }

    /// The file was cut. What was not read of it may be in a copy; if not, it is lost.
    fn cut(&mut self) {
        self.kept.clear();
        (self.scanned, self.half) = (0, None);
        if let Some(copy) = rotated::copy(&self.place, self.path, |name| self.known.matches(name)) {
            tracing::info!(source = self.source, path = %copy.name.display(), offset = self.place.offset, "the followed file was cut; the rest of its copy is read first");
            self.file = copy.file;
            return;
        }
        tracing::warn!(source = self.source, path = %self.path.display(), offset = self.place.offset,
            "the followed file was cut; lines that were written to it since it was last read, up to when it was cut, are lost; it is read from its beginning; let logs be rotated by renaming, not by copying and cutting");
        self.place.cut();
    }

    /// Nothing was read of the file, so that nobody can see whether it was cut: a copy that was made since then is read first.
    fn is_in_a_copy(&mut self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        if !self.place.is_written_since(&metadata) {
            return Ok(false);
        }
        let Some(copy) = rotated::copied_since(&self.place, &metadata, self.path) else {
            self.place.seen(&metadata);
            return Ok(false);
        };
        tracing::info!(source = self.source, path = %copy.name.display(), "the followed file was cut before anything was read of it; its copy is read first");
        self.file = copy.file;
        Ok(true)
    }

    /// Leaves out a line that is too long, once its end is there.
    fn pass_over(&mut self) -> io::Result<Step> {
        self.scanned = self.scanned.max(self.place.offset);
        let mut from = self.place;
        from.jump(self.scanned);
        let Some(chunk) = from.read(&self.file, 16 * CHUNK)? else {
            return Ok(Step::More); // it was cut, as the next look sees
        };
        let new = chunk.new_bytes();
        let Some(end) = new.iter().position(|byte| *byte == b'\n') else {
            self.scanned += new.len() as u64;
            return Ok(if new.is_empty() {
                Step::End
            } else {
                Step::More
            });
        };
        self.left_out();
        self.place.jump(self.scanned + end as u64 + 1);
        self.scanned = 0;
        Ok(Step::More)
    }

    fn left_out(&self) {
        let error = MessageError::TooLong(self.maker.section.max_event());
        self.maker.left_out(&error, self.intake);
    }

    /// Offers the lines of these bytes; the place moves over all that need not be offered again.
    async fn submit(&mut self, chunk: &Chunk, count: usize) -> Step {
        let lines = chunk.new_bytes().get(..count).unwrap_or_default();
        let (begin, mut at) = (self.place.offset, self.place.offset);
        let mut offered = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let begin = at;
            let mark = Some(self.place.mark(begin));
            at += line.len() as u64;
            let waits = match self.maker.line(line, self.intake, mark) {
                None => false,
                Some(_) if self.kept.contains(&begin) => false,
                Some(event) => {
                    self.intake.submit(event, Patience::Waits).await;
                    true
                }
            };
            offered.push((begin, at, waits));
        }
        self.intake.urge();
        let (mut step, mut done) = (Step::More, begin);
        for (begin, end, waits) in offered {
            let refused = waits && matches!(self.receipts.next().await, Outcome::Refused(_));
            if refused {
                self.intake.stats.refused.fetch_add(1, Ordering::Relaxed);
                step = Step::Refused;
            } else if step == Step::Refused {
                self.kept.insert(begin);
            } else {
                done = end;
            }
        }
        if step == Step::More {
            self.kept.clear();
        }
        let count = usize::try_from(done - begin).unwrap_or(0);
        if count > 0 {
            self.place.advance(chunk, count);
        }
        self.half = None;
        step
    }

    fn named(&self) -> Named {
        let (Ok(named), Ok(own)) = (fs::metadata(self.path), self.file.metadata()) else {
            return Named::None;
        };
        if is_one(&named, &own) {
            Named::Same
        } else if self.known.is_read(self.path, &named) {
            Named::None // a link, say, to what has a follower of its own
        } else if named.len() == 0 {
            Named::Empty
        } else {
            Named::Other
        }
    }

    /// Whether the file, which was read to its end, has lost its name, and is left alone by who wrote it.
    fn is_left(&mut self, named: Named, now: Instant) -> bool {
        if named == Named::Same || (named == Named::None && !self.known.may_go(self.path)) {
            self.renamed = None;
            return false;
        }
        let since = *self.renamed.get_or_insert(now);
        let quiet = now - self.gave.max(since);
        if named == Named::Empty {
            return quiet >= LEFT_AFTER;
        }
        quiet >= QUIET || now - since >= LEFT_AFTER
    }

    /// When the file was last written to, if that is long ago, all whole lines of it were read, and others wait.
    fn rests(&self, read: Step, named: Named) -> Option<u64> {
        let quiet = self.gave.elapsed() >= RESTS_AFTER;
        let may_rest = self.known.is_crowded() && self.known.may_go(self.path);
        if read != Step::End || named != Named::Same || !quiet || !may_rest {
            return None;
        }
        Some(self.seen)
    }

    /// Reads what is left of a file that is not written to any more: a line that was not ended. A stop may come first.
    async fn finish(&mut self, stop: &Stop) -> io::Result<bool> {
        while let Some(rest) = self.chunk()?
            && !rest.new_bytes().is_empty()
        {
            let most = self.maker.section.max_event();
            if rest.new_bytes().len() > most && !rest.new_bytes().contains(&b'\n') {
                self.left_out();
                break;
            }
            if self.submit(&rest, rest.new_bytes().len()).await == Step::Refused {
                if *stop.borrow() {
                    return Ok(false);
                }
                sleep(LOOK).await;
            }
        }
        Ok(true)
    }

    /// Goes on with the file that comes next.
    fn go_on(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let after = written(&own);
        self.done.retain(|one| written(one) == after);
        self.done.push(own.clone());
        let next = rotated::next(self.path, after, |_, file| {
            self.done.iter().any(|one| is_one(one, file))
        })?;
        if self.is_replaced_by_a_copy(&own, &next.file)? {
            tracing::info!(source = self.source, path = %self.path.display(), offset = self.place.offset, "the followed file was replaced by a copy, which is read on at the same place");
        } else {
            self.place = self.place.next(&next.file.metadata()?);
            tracing::info!(source = self.source, path = %next.name.display(), "the followed file was replaced, after it was read to its end; the next one is read");
        }
        self.kept.clear();
        (self.scanned, self.half) = (0, None);
        (self.file, self.renamed) = (next.file, None);
        Ok(())
    }

    /// An editor, say, writes a new file and gives it the name: then the old file has no name any more.
    fn is_replaced_by_a_copy(&self, own: &Metadata, next: &File) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        Ok(own.nlink() == 0 && self.place.is_distinct() && self.place.fits(next)?)
    }
}

#[cfg(test)]
mod tests;
