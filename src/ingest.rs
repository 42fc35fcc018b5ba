//! From a submission to a lane.

mod record;

mod router;

use std::time::Instant;

use adapters::{Event, Outcome, Patience, Refused, Submission};
use buffer::{LaneId, Lanes, Refusal};

pub(crate) use record::{Claim, Record};
pub(crate) use router::{RouteSection, Router, Routes, Rule};

#[derive(Debug)]
pub(crate) struct Ingest {
    pub router: Router,
    /// For each lane, the one that gets a copy of its events during an outage.
    pub histories: Vec<Option<LaneId>>,
}

/// How things are when submissions are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub now: Instant,
    pub outage: bool,
    /// The disk takes what it is given.
    pub disk_works: bool,
}

/// Room in memory that an event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub lane: LaneId,
    pub bytes: usize,
}

impl Need {
    /// Whether the event has to wait on.
    pub(crate) fn is_unmet(self, lanes: &mut Lanes<Record, Claim>, moment: Moment) -> bool {
        moment.disk_works && lanes.still_waits(self.lane, self.bytes)
    }
}

impl Ingest {
    /// Routes a submission and offers it to its lane; a refusal is told to the source at once. One that can wait, and has to, is
    /// given back: the lane's policy is for what cannot wait, and for what its disk does not take.
    pub(crate) fn take(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        submission: Submission,
        moment: Moment,
    ) -> Result<(), (Box<Submission>, Need)> {
        let Submission {
            event,
            claim,
            patience,
        } = submission;
        let (now, outage) = (moment.now, moment.outage);
        let lane = self.router.lane(&event.origin);
        let record = Record::from(event);
        if patience == Patience::Waits
            && moment.disk_works
            && let Some(bytes) = lanes.must_wait(lane, &record)
        {
            let submission = Submission {
                event: record.into(),
                claim,
                patience,
            };
            return Err((Box::new(submission), Need { lane, bytes }));
        }
        let history = self.histories.get(lane.index()).copied().flatten();
        let copy = history.filter(|_| outage).map(|to| (to, record.clone()));
        match lanes.append(lane, record, Claim(Some(claim)), now) {
            Ok(()) => {
                if let Some((to, record)) = copy
                    && let Err(refusal) = lanes.append(to, record, Claim(None), now)
                {
                    tracing::debug!(?refusal, "the history is full; a copy is left out");
                }
            }
            Err(Refusal::Full(Claim(claim))) => resolve(claim, Outcome::Refused(Refused::Full)),
        }
        Ok(())
    }

    /// Takes one of the gateway's own reports.
    pub(crate) fn notice(
        lanes: &mut Lanes<Record, Claim>,
        lane: LaneId,
        event: Event,
        now: Instant,
    ) {
        if let Err(refusal) = lanes.append(lane, Record::from(event), Claim(None), now) {
            tracing::debug!(?refusal, "the health lane is full; a report is left out");
        }
    }
}

fn resolve(claim: Option<adapters::Claim>, outcome: Outcome) {
    if let Some(claim) = claim {
        claim.resolve(outcome);
    }
}
