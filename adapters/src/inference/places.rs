//! The file in which a place in a followed file is remembered.
//!
//! It is written on a thread of its own: a disk that hangs holds up nobody. While it cannot be written, the place is kept in
//! memory, over all attempts to follow the file and all agents of this process: only a restart reads lines again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::place::Place;
use crate::files::{begin_off_task, panicked};
use crate::{PARTING, SourceStats, WriteWhole};

/// The place is written at most this often; after a crash as much may be read again.
const REMEMBER: Duration = Duration::from_secs(2);
/// A place that cannot be written is tried again after this, at most.
const REMEMBER_MOST: Duration = Duration::from_mins(1);

/// Places that are not in their files yet, by the file: one for each followed file at most.
static AHEAD: Mutex<BTreeMap<PathBuf, Ahead>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, Copy)]
struct Ahead {
    place: Place,
    /// It is told that it cannot be written.
    told: bool,
}

fn ahead() -> MutexGuard<'static, BTreeMap<PathBuf, Ahead>> {
    AHEAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file that this is a place in has gone.
pub(super) fn forget(path: &Path) {
    ahead().remove(path);
}

pub(super) struct PlaceFile<'a> {
    path: &'a Path,
    source: &'a str,
    write: WriteWhole,
    written: Option<Place>,
    /// What is being written, and where its outcome comes from.
    writing: Option<(Place, oneshot::Receiver<io::Result<()>>)>,
    next: Instant,
    /// How long the next attempt waits, while it cannot be written.
    pause: Duration,
}

impl PlaceFile<'_> {
    pub(super) fn new<'a>(path: &'a Path, write: WriteWhole, source: &'a str) -> PlaceFile<'a> {
        PlaceFile {
            path,
            source,
            write,
            written: None,
            writing: None,
            next: Instant::now(),
            pause: REMEMBER,
        }
    }

    pub(super) fn recall(&self) -> Option<Place> {
        let ahead = ahead().get(self.path).map(|ahead| ahead.place);
        ahead.or_else(|| Place::parse(&fs::read_to_string(self.path).ok()?))
    }

    /// Has the place written if it has moved and it is time to. A failure is logged once, and stops nothing.
    pub(super) fn remember(&mut self, place: Place, stats: &SourceStats) {
        self.hear(stats);
        if self.written == Some(place) {
            return;
        }
        ahead()
            .entry(self.path.to_owned())
            .and_modify(|ahead| ahead.place = place)
            .or_insert(Ahead { place, told: false });
        if self.writing.is_none() && Instant::now() >= self.next {
            self.begin(place, stats);
        }
    }

    /// As [`PlaceFile::remember`], at once, and waits for it, but not for a disk that hangs.
    pub(super) async fn remember_now(&mut self, place: Place, stats: &SourceStats) {
        let end = Instant::now() + PARTING;
        // What is being written may be an older place.
        for _ in 0..2 {
            self.next = Instant::now();
            self.remember(place, stats);
            let Some((place, mut outcome)) = self.writing.take() else {
                return;
            };
            match timeout(end - Instant::now(), &mut outcome).await {
                Ok(done) => self.done(place, done.unwrap_or_else(|_| Err(panicked())), stats),
                Err(_) => self.writing = Some((place, outcome)),
            }
        }
    }

    fn begin(&mut self, place: Place, stats: &SourceStats) {
        let (path, write) = (self.path.to_owned(), self.write);
        match begin_off_task(move || write(&path, place.text().as_bytes())) {
            Ok(outcome) => self.writing = Some((place, outcome)),
            Err(error) => self.done(place, Err(error), stats),
        }
    }

    fn hear(&mut self, stats: &SourceStats) {
        if let Some((place, mut outcome)) = self.writing.take() {
            match outcome.try_recv() {
                Ok(done) => self.done(place, done, stats),
                Err(oneshot::error::TryRecvError::Closed) => {
                    self.done(place, Err(panicked()), stats);
                }
                Err(oneshot::error::TryRecvError::Empty) => self.writing = Some((place, outcome)),
            }
        }
    }

    fn done(&mut self, place: Place, outcome: io::Result<()>, stats: &SourceStats) {
        let now = Instant::now();
        let mut all = ahead();
        let told = all.get(self.path).is_some_and(|ahead| ahead.told);
        match outcome {
            Ok(()) => {
                if told {
                    tracing::info!(source = self.source, path = %self.path.display(), "the place in the followed file can be written again");
                }
                if all.get(self.path).is_some_and(|ahead| ahead.place == place) {
                    all.remove(self.path);
                } else if let Some(ahead) = all.get_mut(self.path) {
                    ahead.told = false;
                }
                (self.written, self.next, self.pause) = (Some(place), now + REMEMBER, REMEMBER);
            }
            Err(error) => {
                if !told {
                    stats.error(&error);
                    tracing::warn!(source = self.source, path = %self.path.display(), %error,
                        "cannot write the place in the followed file; lines go on being read, and the place is kept in memory; after a restart those since the last place on disk are read again, with the same ids; free space, or look at the rights of this path");
                }
                if let Some(ahead) = all.get_mut(self.path) {
                    ahead.told = true;
                }
                self.next = now + self.pause;
                self.pause = (self.pause * 2).min(REMEMBER_MOST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(path: &Path, offset: u64) -> Place {
        let mut place = Place::beginning(&fs::metadata(path).unwrap());
        place.offset = offset;
        place
    }

    fn plainly(path: &Path, content: &[u8]) -> io::Result<()> {
        fs::write(path, content)
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_kept_for_the_next_attempt_and_until_it_can() {
        let root = tempfile::tempdir().unwrap();
        let (followed, stats) = (root.path().join("lines"), SourceStats::default());
        fs::write(&followed, "x").unwrap();
        let path = root.path().join("places/lines");
        let mut first = PlaceFile::new(&path, plainly, "lines");
        first.remember_now(place_of(&followed, 7), &stats).await;
        drop(first);
        let mut second = PlaceFile::new(&path, plainly, "lines");
        assert_eq!(second.recall().unwrap().offset, 7, "there is no such file");
        fs::create_dir(root.path().join("places")).unwrap();
        second.remember_now(place_of(&followed, 9), &stats).await;
        assert!(!ahead().contains_key(&path));
        assert_eq!(second.recall().unwrap().offset, 9, "as the file says");
    }
}
