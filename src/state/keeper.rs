//! The thread that owns the disk: it does one job after the other and answers each, whatever happens to it.
//!
//! A panic in a job is caught and answered as an error; the disk, of which nobody knows then how it stands, is given up,
//! and opened again with an agent that goes on with what is in memory. A thread that ends all the same is replaced.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use buffer::{Disk, DiskError};
use tokio::sync::mpsc;

use crate::ingest::Record;
use crate::process::panic_text;
use crate::state::clock_note::ClockNote;
use crate::state::job::{Answer, Asked, Disked, Job};
use crate::state::link_use::LinkUse;
use crate::state::store::{Store, StoreError};

/// Jobs that wait besides a read for each lane: a commit, the marks, a probe, two notes, tidying up twice.
const JOBS: usize = 9;
/// A disk that has not answered for this long is told of as failing.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this it is not the disk that is slow: systemd's watchdog may have the agent.
const HUNG: Duration = Duration::from_mins(10);
/// A thread that ends at once is not started more often.
const START_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    jobs: SyncSender<Job>,
    answers: mpsc::Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    store: Store,
    /// Jobs not yet answered, in order, and when one last was, or the first of them asked.
    pending: VecDeque<Asked>,
    heard: Instant,
    /// How many of the first of them the thread that has ended had.
    orphaned: usize,
    /// No other thread is started before it.
    next_start: Instant,
}

impl Keeper {
    /// With a disk, or without one until `store` can be opened: `missing` says why it could not. Where the system has no thread
    /// to give, the disk is closed again, and another one is tried for.
    #[must_use]
    pub(crate) fn start(
        disk: Option<Disk<Record>>,
        store: Store,
        missing: Option<String>,
    ) -> Keeper {
        let mut keeper = Keeper {
            jobs: sync_channel(0).0,
            answers: mpsc::channel(1).1,
            thread: None,
            store,
            pending: VecDeque::new(),
            heard: Instant::now(),
            orphaned: 0,
            next_start: Instant::now(),
        };
        keeper.begin(disk, missing);
        keeper
    }

    fn begin(&mut self, disk: Option<Disk<Record>>, missing: Option<String>) {
        match begin(disk, &self.store, missing) {
            Ok((jobs, answers, thread)) => {
                (self.jobs, self.answers) = (jobs, answers);
                self.thread = Some(thread);
            }
            Err(error) => {
                self.next_start = Instant::now() + START_AGAIN;
                tracing::error!(
                    thread = "disk",
                    %error,
                    "the thread that writes to the disk cannot be started; receipts are held back, and it is tried again every second; raise the limit of threads (`TasksMax` of the unit) if this goes on"
                );
            }
        }
    }

    /// Hands a job over. There is room: each kind of job has at most one under way.
    pub(crate) fn ask(&mut self, job: Job) {
        if self.pending.is_empty() {
            self.heard = Instant::now();
        }
        self.pending.push_back(Asked::of(&job));
        match self.jobs.try_send(job) {
            // The next answer notices that the thread has ended, and answers this one too.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(job)) => {
                tracing::error!(
                    ?job,
                    "the disk thread does not take jobs; restart the agent"
                );
            }
        }
    }

    /// The next answer; after the last one, `None`. Safe to cancel.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if self.orphaned > 0 {
                self.orphaned -= 1;
                let asked = self.pending.pop_front()?;
                return Some(
                    asked.refused("the thread that wrote to it ended; it is opened again"),
                );
            }
            if let Some(answer) = self.answers.recv().await {
                self.pending.pop_front();
                self.heard = Instant::now();
                return Some(answer);
            }
            if !self.replace() {
                // Nobody is there to answer, until the next call tries to start somebody.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The thread has ended, and nobody has told it to: another takes its place, without a disk until a probe opens it.
    /// Returns whether there is somebody to answer, or something to answer without.
    fn replace(&mut self) -> bool {
        if let Some(ended) = self.thread.take() {
            let ended = ended.join();
            let reason = ended.as_ref().map_or_else(
                |panic| panic_text(&**panic).unwrap_or("without a message"),
                |()| "it returned",
            );
            tracing::error!(
                thread = "disk",
                reason,
                "the thread that writes to the disk ended; what had a receipt is on disk, receipts are held back until the disk is open again"
            );
        }
        self.orphaned = self.pending.len();
        let now = Instant::now();
        if now >= self.next_start {
            self.next_start = now + START_AGAIN;
            self.begin(None, None);
        }
        self.thread.is_some() || self.orphaned > 0
    }

    /// Why the disk does not answer, if that has lasted too long or is for good.
    pub(crate) fn trouble(&self, now: Instant) -> Option<String> {
        if self.thread.is_none() {
            return Some("there is no thread to write to it".into());
        }
        let silent = self.silent(now)?;
        Some(format!("no answer for {} s", silent.as_secs()))
    }

    fn silent(&self, now: Instant) -> Option<Duration> {
        Some(self.silent_for(now)).filter(|silent| *silent > PATIENCE)
    }

    /// For how long it has left what it was asked without an answer.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        if self.pending.is_empty() {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.heard)
    }

    /// It will not answer any more.
    pub(crate) fn is_hung(&self, now: Instant) -> bool {
        self.thread.is_none() || self.silent(now).is_some_and(|silent| silent > HUNG)
    }

    /// Waits for the end of the thread, which has closed the disk or has none.
    pub(crate) fn join(&mut self) {
        self.jobs = sync_channel(0).0;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the disk thread panicked; what had a receipt is on disk");
        }
    }
}

type Begun = (SyncSender<Job>, mpsc::Receiver<Answer>, JoinHandle<()>);

fn begin(
    disk: Option<Disk<Record>>,
    store: &Store,
    missing: Option<String>,
) -> std::io::Result<Begun> {
    let most = JOBS + store.lanes();
    let (jobs, to_do) = sync_channel(most);
    let (done, answers) = mpsc::channel(most);
    let store = store.clone();
    let thread = std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || work(disk, &store, missing, &to_do, &done))?;
    Ok((jobs, answers, thread))
}

fn work(
    mut disk: Option<Disk<Record>>,
    store: &Store,
    missing: Option<String>,
    jobs: &Receiver<Job>,
    answers: &mpsc::Sender<Answer>,
) {
    let mut missing = missing.unwrap_or_else(|| "it could not be opened".into());
    while let Ok(job) = jobs.recv() {
        let (asked, last) = (Asked::of(&job), matches!(job, Job::Close));
        let done = catch_unwind(AssertUnwindSafe(|| match &mut disk {
            Some(open) if !last => job_with(open, job),
            Some(_) => Answer::Closed(disk.take().map_or(Ok(()), Disk::close)),
            None => job_without(store, &job, &asked, &mut missing),
        }));
        let answer = done.unwrap_or_else(|panic| {
            let reason = panic_text(&*panic).unwrap_or("without a message");
            tracing::error!(
                thread = "disk",
                reason,
                "a program error in the work on the disk; what had a receipt is on disk, and the buffer is opened again; please report this line"
            );
            if catch_unwind(AssertUnwindSafe(|| drop(disk.take()))).is_err() {
                tracing::debug!("closing the disk failed in the same way");
            }
            asked.refused(&format!("a program error: {reason}"))
        });
        if answers.blocking_send(answer).is_err() {
            tracing::debug!("nobody waits for what the disk answers");
            return;
        }
        if last {
            return;
        }
    }
}

fn job_with(disk: &mut Disk<Record>, job: Job) -> Answer {
    let now = Instant::now();
    match job {
        Job::Write { writes, wall_ms } => Answer::Written(disk.write(writes, wall_ms, now)),
        Job::Read(ask) => {
            let read = disk.read(ask.lane, ask.sequences.start, ask.sequences.end);
            Answer::Read(read.map_err(|error| (ask.lane, error)))
        }
        Job::Probe => Answer::Probed(disk.probe(now).map(|()| Disked::InUse)),
        Job::Tidy { all } => Answer::Tidied(disk.tidy(now, all)),
        Job::Mark(marks) => Answer::Marked(disk.mark(&marks, now)),
        Job::Note(note) => Answer::Noted(LinkUse::in_state(disk.root()).write(&note)),
        Job::NoteClock(note) => Answer::NotedClock(ClockNote::in_state(disk.root()).write(&note)),
        Job::Close => Answer::Closed(Ok(())),
    }
}

/// Refuses all work until the buffer can be opened.
fn job_without(store: &Store, job: &Job, asked: &Asked, missing: &mut String) -> Answer {
    match job {
        Job::Tidy { .. } => Answer::Tidied(Ok(Vec::new())),
        Job::Probe => Answer::Probed(match store.open() {
            Ok(_) => Ok(Disked::Ready),
            Err(error) => {
                *missing = crate::process::chain(&error);
                Err(unusable(&error))
            }
        }),
        Job::Write { .. }
        | Job::Read(_)
        | Job::Mark(_)
        | Job::Note(_)
        | Job::NoteClock(_)
        | Job::Close => asked.refused(missing),
    }
}

fn unusable(error: &StoreError) -> DiskError {
    DiskError::Io {
        path: "the state directory".into(),
        source: std::io::Error::other(crate::process::chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use buffer::{LaneId, ReadAsk};

    use super::*;

    fn answer(keeper: &mut Keeper) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(keeper.answer()).unwrap()
    }

    /// A lane that there is not: asking for it is a program error.
    fn unknown() -> Job {
        Job::Read(ReadAsk {
            lane: LaneId(9),
            sequences: 0..1,
        })
    }

    #[test]
    fn a_panic_in_a_job_is_answered_as_an_error_and_the_disk_is_opened_again() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = Store::in_process(directory.path());
        let (disk, _) = store.open().unwrap();
        let mut keeper = Keeper::start(Some(disk), store, None);
        keeper.ask(unknown());
        keeper.ask(Job::Mark(Vec::new()));
        keeper.ask(Job::Probe);
        assert!(matches!(
            answer(&mut keeper),
            Answer::Read(Err((LaneId(9), _)))
        ));
        assert!(matches!(answer(&mut keeper), Answer::Marked(Err(_))));
        let probed = answer(&mut keeper);
        assert!(
            matches!(probed, Answer::Probed(Ok(Disked::Ready))),
            "{probed:?}"
        );
        assert!(!keeper.is_hung(Instant::now()));
    }

    #[test]
    fn a_thread_that_ends_is_replaced_and_what_it_was_asked_is_answered_as_an_error() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut keeper = Keeper::start(None, Store::in_process(directory.path()), None);
        let (jobs, taken) = sync_channel(1);
        let (done, answers) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let _job = taken.recv();
            drop(done);
            panic!("as no program should");
        });
        (keeper.jobs, keeper.answers, keeper.thread) = (jobs, answers, Some(thread));
        keeper.ask(Job::Mark(Vec::new()));
        keeper.ask(unknown());
        assert!(matches!(answer(&mut keeper), Answer::Marked(Err(_))));
        assert!(matches!(
            answer(&mut keeper),
            Answer::Read(Err((LaneId(9), _)))
        ));
        keeper.ask(Job::Probe);
        let probed = answer(&mut keeper);
        assert!(
            matches!(probed, Answer::Probed(Ok(Disked::Ready))),
            "{probed:?}"
        );
        assert!(keeper.pending.is_empty());
    }
}
