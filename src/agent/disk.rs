//! What the agent asks of the disk, and what it makes of the answers.

use std::time::{Duration, Instant};

use buffer::{LaneId, Marked, Wear};

use super::Agent;
use crate::process::chain;
use crate::process::flash;
use crate::state::{Answer, Disked, Job};

/// A disk that failed is asked after this whether it is well again, then after twice as long each time, up to the most: each
/// time is a small write.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_MOST: Duration = Duration::from_secs(3);
/// How often the disk is asked for what has grown too old.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// How the disk is.
#[derive(Debug)]
pub(super) struct DiskState {
    pub(super) error: Option<String>,
    /// Lanes of which the last read failed, and why the first of them did.
    unread: Vec<LaneId>,
    read_error: Option<String>,
    next_probe: Instant,
    probe_pause: Duration,
    probing: bool,
    next_tidy: Instant,
    tidying: bool,
    pub(super) wear: Wear,
    /// The disk can be used that was not there at the start.
    pub(super) can_be_used: bool,
}

impl DiskState {
    pub(super) fn new(now: Instant) -> DiskState {
        DiskState {
            error: None,
            unread: Vec::new(),
            read_error: None,
            next_probe: now,
            probe_pause: PROBE_FIRST,
            probing: false,
            next_tidy: now,
            tidying: false,
            wear: Wear::default(),
            can_be_used: false,
        }
    }

    /// What is wrong with it: that it takes nothing, or that it cannot be read.
    pub(super) fn trouble(&self) -> Option<&String> {
        self.error.as_ref().or(self.read_error.as_ref())
    }
}

impl Agent {
    pub(super) fn ask_disk(&mut self, now: Instant) {
        let writes = self.lanes.commit(now, self.outage());
        if !writes.is_empty() {
            let wall_ms = self.health.wall_ms();
            self.keeper.ask(Job::Write { writes, wall_ms });
        }
        if let Some(marks) = self.lanes.marks(now) {
            self.keeper.ask(Job::Mark(marks));
        }
        if self.reads_on() {
            for ask in self.lanes.reads(now) {
                self.keeper.ask(Job::Read(ask));
            }
        }
    }

    /// What is read now can be sent soon.
    fn reads_on(&self) -> bool {
        !self.stopping && (self.drain.link.is_up() || self.drain.link.is_stalled())
    }

    /// When the disk is to be asked next, unless something happens before.
    pub(super) fn disk_due(&self) -> Option<Instant> {
        let reads = self.reads_on().then(|| self.lanes.reads_due()).flatten();
        self.lanes
            .next_due(self.outage())
            .into_iter()
            .chain(reads)
            .min()
    }

    /// Finds out whether a disk that failed is well again, also when there is nothing to write, and has what is too
    /// old dropped.
    pub(super) fn look_after_disk(&mut self, now: Instant) {
        if self.disk.trouble().is_some() && !self.disk.probing && now >= self.disk.next_probe {
            self.disk.next_probe = now + self.disk.probe_pause;
            self.disk.probe_pause = (self.disk.probe_pause * 2).min(PROBE_MOST);
            self.disk.probing = true;
            self.keeper.ask(Job::Probe);
        }
        if now >= self.disk.next_tidy {
            self.disk.next_tidy = now + TIDY_EVERY;
            self.tidy(false);
        }
        for lane in self.disk.unread.clone() {
            if self.lanes.waiting(lane) == 0 {
                self.could_read(lane); // nothing of it is to be read any more
            }
        }
        if let Some(trouble) = self.keeper.trouble(now) {
            self.disk_is(Some(trouble));
        }
    }

    pub(super) fn answered(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Written(written) => {
                // A small write may fit where the next does not: only a probe says that all is well.
                let error = written.iter().find_map(|lane| lane.outcome.as_ref().err());
                if let Some(error) = error {
                    self.disk_is(Some(chain(error)));
                }
                self.lanes.written(&written, now, self.outage());
            }
            Answer::Read(Ok(mut back)) => {
                for finding in back.findings.drain(..) {
                    self.finding(&finding, now);
                }
                self.could_read(back.lane);
                self.lanes.read_back(back, now);
            }
            Answer::Read(Err((lane, error))) => {
                self.cannot_read(lane, chain(&error));
                self.lanes.read_failed(lane, now);
            }
            Answer::Marked(Ok(marked)) => self.marked(marked),
            Answer::Marked(Err(error)) => {
                self.disk_is(Some(chain(&error)));
                self.lanes.marked(None);
            }
            Answer::Tidied(outcome) => {
                self.disk.tidying = false;
                match outcome {
                    Ok(tidied) => self.lanes.tidied(&tidied),
                    Err(error) => self.disk_is(Some(chain(&error))),
                }
            }
            Answer::Probed(outcome) => {
                self.disk.probing = false;
                self.disk.can_be_used = matches!(outcome, Ok(Disked::Ready));
                self.disk_is(outcome.err().map(|error| chain(&error)));
            }
            Answer::Noted(outcome) => self.noted(outcome),
            Answer::NotedClock(outcome) => self.noted_clock(outcome),
            Answer::Closed(Ok(())) => {}
            Answer::Closed(Err(error)) => tracing::warn!(
                error = chain(&error),
                "the buffer was not closed cleanly; the next start recovers it"
            ),
        }
    }

    fn marked(&mut self, marked: Marked) {
        self.lanes.marked(Some(&marked));
        let spare = flash::spare(
            self.facts.write_budget,
            marked.wear.today,
            marked.day_passed,
        );
        self.lanes.spare_flash(spare);
        self.disk.wear = marked.wear;
    }

    /// Has the disk drop what is too old and merge what is superseded; `all` before a replay.
    pub(super) fn tidy(&mut self, all: bool) {
        if !self.disk.tidying {
            self.disk.tidying = true;
            self.keeper.ask(Job::Tidy { all });
        }
    }

    /// What is kept waits until it can be read; what is new goes on. Told once, however often it is tried.
    fn cannot_read(&mut self, lane: LaneId, error: String) {
        if !self.disk.unread.contains(&lane) {
            self.disk.unread.push(lane);
        }
        if self.disk.read_error.is_none() {
            let lane = &self.intents.get(lane).name;
            tracing::error!(lane = %lane, error, "the disk cannot be read; what is kept there is not lost and waits, new events flow on; reading is tried again every second; check the disk");
            self.disk.read_error = Some(error);
            self.disk.next_probe = Instant::now() + PROBE_FIRST;
            self.disk.probe_pause = PROBE_FIRST;
        }
    }

    fn could_read(&mut self, lane: LaneId) {
        self.disk.unread.retain(|unread| *unread != lane);
        if self.disk.unread.is_empty() && self.disk.read_error.take().is_some() {
            tracing::info!("the disk can be read again");
        }
    }

    /// Tells when the disk begins to fail and when it is well again, once each.
    pub(super) fn disk_is(&mut self, error: Option<String>) {
        match (&self.disk.error, &error) {
            (None, Some(error)) => {
                self.disk.next_probe = Instant::now() + PROBE_FIRST;
                self.disk.probe_pause = PROBE_FIRST;
                tracing::error!(
                    error,
                    "the disk does not take what must be kept; going on from memory and holding back receipts; free space, replace the disk, or do what the error asks for"
                );
            }
            (Some(_), None) => tracing::info!("the disk takes what must be kept again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.disk.error = error;
    }
}
