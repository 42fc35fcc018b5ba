//! What the disk's thread is asked to do, and what it answers.

use buffer::{DiskError, LaneId, LaneMark, LaneWrite, Marked, ReadAsk, ReadBack, Tidied, Written};

use crate::ingest::Record;

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
    /// Notes which times were trusted.
    NoteClock(String),
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
    NotedClock(std::io::Result<()>),
    Closed(Result<(), DiskError>),
}

/// As much of a job as it takes to answer that it was not done.
#[derive(Debug)]
pub(super) enum Asked {
    /// Lanes, and where what was to be written of them ends.
    Write(Vec<(LaneId, u64)>),
    Read(LaneId),
    Mark,
    Tidy,
    Probe,
    Note,
    NoteClock,
    Close,
}

impl Asked {
    pub(super) fn of(job: &Job) -> Asked {
        match job {
            Job::Write { writes, .. } => {
                let end = |write: &LaneWrite<Record>| (write.lane, write.end());
                Asked::Write(writes.iter().map(end).collect())
            }
            Job::Read(ask) => Asked::Read(ask.lane),
            Job::Mark(_) => Asked::Mark,
            Job::Tidy { .. } => Asked::Tidy,
            Job::Probe => Asked::Probe,
            Job::Note(_) => Asked::Note,
            Job::NoteClock(_) => Asked::NoteClock,
            Job::Close => Asked::Close,
        }
    }

    /// That it was not done, for this reason. Nothing has to be closed where there is no disk.
    pub(super) fn refused(&self, reason: &str) -> Answer {
        let error = || DiskError::Io {
            path: "the state directory".into(),
            source: std::io::Error::other(reason.to_owned()),
        };
        match self {
            Asked::Write(lanes) => Answer::Written(
                lanes
                    .iter()
                    .map(|(lane, end)| Written::refused(*lane, *end, error()))
                    .collect(),
            ),
            Asked::Read(lane) => Answer::Read(Err((*lane, error()))),
            Asked::Mark => Answer::Marked(Err(error())),
            Asked::Tidy => Answer::Tidied(Err(error())),
            Asked::Probe => Answer::Probed(Err(error())),
            Asked::Note => Answer::Noted(Err(std::io::Error::other(reason.to_owned()))),
            Asked::NoteClock => Answer::NotedClock(Err(std::io::Error::other(reason.to_owned()))),
            Asked::Close => Answer::Closed(Ok(())),
        }
    }
}
