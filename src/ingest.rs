//! From a submission to a lane.

mod record;

mod router;

use std::time::Instant;

use adapters::{Event, Outcome, Refused, Submission};
use buffer::{LaneId, Lanes, Refusal};

pub(crate) use record::{Claim, Record};
pub(crate) use router::{RouteSection, Router, Routes, Rule};

#[derive(Debug)]
pub(crate) struct Ingest {
    pub router: Router,
    /// For each lane, the one that gets a copy of its events during an outage.
    pub histories: Vec<Option<LaneId>>,
}

impl Ingest {
    /// Routes a submission and offers it to its lane; a refusal is told to the source at once.
    pub(crate) fn take(
        &mut self,
        lanes: &mut Lanes<Record, Claim>,
        submission: Submission,
        outage: bool,
        now: Instant,
    ) {
        let Submission { event, claim } = submission;
        let lane = self.router.lane(&event.origin);
        let record = Record::from(event);
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
