//! The thread that owns the disk: it does one job after the other and answers each.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use buffer::{Disk, DiskError, LaneId, LaneMark, LaneWrite, ReadAsk, ReadBack, Written};
use tokio::sync::mpsc;

use crate::record::Record;

/// Jobs that wait: a commit, the marks, a probe, and a read for each lane.
const JOBS_MAX: usize = crate::intent::INTENTS_MAX + 4;

#[derive(Debug)]
pub(crate) enum Job {
    Write(Vec<LaneWrite<Record>>),
    Read(ReadAsk),
    Mark(Vec<LaneMark>),
    /// Finds out whether a disk that failed takes writes again.
    Probe,
    /// The last job: closes the disk.
    Close,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Written(Vec<Written>),
    Read(Result<ReadBack<Record>, (LaneId, DiskError)>),
    /// Bytes on disk of each lane.
    Marked(Result<Vec<u64>, DiskError>),
    Probed(Result<(), DiskError>),
    Closed(Result<(), DiskError>),
}

pub(crate) struct Keeper {
    jobs: SyncSender<Job>,
    answers: mpsc::Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    #[must_use]
    pub(crate) fn start(disk: Disk<Record>) -> Keeper {
        let (jobs, to_do) = sync_channel(JOBS_MAX);
        let (done, answers) = mpsc::channel(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || work(disk, &to_do, &done));
        Keeper {
            jobs,
            answers,
            thread: Some(thread.expect("a thread can be started")),
        }
    }

    /// Hands a job over. There is room: each kind of job has at most one under way.
    pub(crate) fn ask(&self, job: Job) {
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
        self.answers.recv().await
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
            Job::Write(writes) => Answer::Written(disk.write(writes, Instant::now())),
            Job::Read(ask) => {
                let read = disk.read(ask.lane, ask.sequences.start, ask.sequences.end);
                Answer::Read(read.map_err(|error| (ask.lane, error)))
            }
            Job::Probe => Answer::Probed(disk.probe()),
            Job::Mark(marks) => Answer::Marked(disk.mark(&marks, Instant::now())),
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
