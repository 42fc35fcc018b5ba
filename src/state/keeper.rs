//! The thread that owns the disk: it does one job after the other and answers each.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use buffer::{
    Disk, DiskError, LaneId, LaneMark, LaneWrite, Marked, ReadAsk, ReadBack, Tidied, Written,
};
use tokio::sync::mpsc;

use crate::ingest::Record;
use crate::state::link_use::LinkUse;
use crate::state::store::{Store, StoreError};

/// Jobs that wait besides a read for each lane: a commit, the marks, a probe, a note, tidying up twice.
const JOBS: usize = 8;

#[derive(Debug)]
pub(crate) enum Job {
    /// At `wall_ms`, milliseconds since 1970 or 0.
    Write {
        writes: Vec<LaneWrite<Record>>,
        wall_ms: u64,
    },
    Read(ReadAsk),
    Mark(Vec<LaneMark>),
    /// Drops what is too old and merges what is superseded, also what is still being written.
    Tidy {
        all: bool,
    },
    /// Finds out whether a disk that failed takes writes again.
    Probe,
    /// Notes what of the link's budgets is used.
    Note(String),
    /// The last job: closes the disk.
    Close,
}

/// Whether the disk is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disked {
    InUse,
    Ready,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Written(Vec<Written>),
    Read(Result<ReadBack<Record>, (LaneId, DiskError)>),
    Marked(Result<Marked, DiskError>),
    Tidied(Result<Vec<Tidied>, DiskError>),
    /// `Ready` where there was no disk so far: the agent is to start anew with it.
    Probed(Result<Disked, DiskError>),
    Noted(std::io::Result<()>),
    Closed(Result<(), DiskError>),
}

/// A disk that has not answered for this long is told of as failing.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this it is not the disk that is slow: systemd's watchdog may have the agent.
const HUNG: Duration = Duration::from_mins(10);

pub(crate) struct Keeper {
    jobs: SyncSender<Job>,
    answers: mpsc::Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// Jobs not yet answered, and when one last was, or the first of them asked.
    pending: usize,
    heard: Instant,
}

impl Keeper {
    /// With a disk, or without one until `store` can be opened.
    #[must_use]
    pub(crate) fn start(disk: Option<Disk<Record>>, store: Store) -> Keeper {
        let most = JOBS + store.lanes();
        let (jobs, to_do) = sync_channel(most);
        let (done, answers) = mpsc::channel(most);
        let work = move || match disk {
            Some(disk) => work(disk, &to_do, &done),
            None => work_without(&store, &to_do, &done),
        };
        let thread = std::thread::Builder::new().name("disk".into()).spawn(work);
        Keeper {
            jobs,
            answers,
            thread: Some(thread.expect("a thread can be started")),
            pending: 0,
            heard: Instant::now(),
        }
    }

    /// Hands a job over. There is room: each kind of job has at most one under way.
    pub(crate) fn ask(&mut self, job: Job) {
        if self.pending == 0 {
            self.heard = Instant::now();
        }
        self.pending += 1;
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                tracing::error!(
                    ?job,
                    "the disk thread does not take jobs; restart the agent"
                );
            }
        }
    }

    /// The next answer; `None` when the thread has ended. Safe to cancel.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.recv().await;
        self.pending = self.pending.saturating_sub(1);
        self.heard = Instant::now();
        answer
    }

    /// How long the disk has not answered, if that is too long.
    pub(crate) fn silent(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.heard);
        (self.pending > 0 && silent > PATIENCE).then_some(silent)
    }

    /// It will not answer any more.
    pub(crate) fn is_hung(&self, now: Instant) -> bool {
        self.silent(now).is_some_and(|silent| silent > HUNG)
    }

    pub(crate) fn join(&mut self) {
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the disk thread panicked; what had a receipt is on disk");
        }
    }
}

fn work(mut disk: Disk<Record>, jobs: &Receiver<Job>, answers: &mpsc::Sender<Answer>) {
    while let Ok(job) = jobs.recv() {
        let answer = match job {
            Job::Write { writes, wall_ms } => {
                Answer::Written(disk.write(writes, wall_ms, Instant::now()))
            }
            Job::Read(ask) => {
                let read = disk.read(ask.lane, ask.sequences.start, ask.sequences.end);
                Answer::Read(read.map_err(|error| (ask.lane, error)))
            }
            Job::Probe => Answer::Probed(disk.probe(Instant::now()).map(|()| Disked::InUse)),
            Job::Tidy { all } => Answer::Tidied(disk.tidy(Instant::now(), all)),
            Job::Mark(marks) => Answer::Marked(disk.mark(&marks, Instant::now())),
            Job::Note(note) => Answer::Noted(LinkUse::in_state(disk.root()).write(&note)),
            Job::Close => {
                let closed = disk.close();
                if answers.blocking_send(Answer::Closed(closed)).is_err() {
                    tracing::debug!("nobody waits for the disk to close");
                }
                return;
            }
        };
        if answers.blocking_send(answer).is_err() {
            return;
        }
    }
}

/// Refuses all work until the buffer can be opened.
fn work_without(store: &Store, jobs: &Receiver<Job>, answers: &mpsc::Sender<Answer>) {
    while let Ok(job) = jobs.recv() {
        let answer = match job {
            Job::Write { writes, .. } => Answer::Written(
                writes
                    .iter()
                    .map(|write| Written::failed(write, without()))
                    .collect(),
            ),
            Job::Read(ask) => Answer::Read(Err((ask.lane, without()))),
            Job::Mark(_) => Answer::Marked(Err(without())),
            Job::Note(_) => Answer::Noted(Err(std::io::Error::other("there is no disk"))),
            Job::Tidy { .. } => Answer::Tidied(Ok(Vec::new())),
            Job::Probe => Answer::Probed(match store.open() {
                Ok(_) => Ok(Disked::Ready),
                Err(error) => Err(unusable(&error)),
            }),
            Job::Close => {
                if answers.blocking_send(Answer::Closed(Ok(()))).is_err() {
                    tracing::debug!("nobody waits for the disk to close");
                }
                return;
            }
        };
        if answers.blocking_send(answer).is_err() {
            return;
        }
    }
}

fn without() -> DiskError {
    DiskError::Io {
        path: "the state directory".into(),
        source: std::io::Error::other("it could not be opened"),
    }
}

fn unusable(error: &StoreError) -> DiskError {
    DiskError::Io {
        path: "the state directory".into(),
        source: std::io::Error::other(crate::process::chain(error)),
    }
}
