//! The parts of a configuration that prove themselves, each in its own way. Pure.

use std::time::{Duration, Instant};

use super::super::drops::Dropping;
use super::Seen;

/// A topic that is being made is not there for a moment.
const REFUSED: Duration = Duration::from_secs(10);
/// Of the memory that the control group allows: beyond that the kernel is about to end the process.
const FULL_PERCENT: u64 = 90;
const FULL_LASTS: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct UplinkPart {
    pub(super) proved: bool,
    pub(super) ask_at: Instant,
}

#[derive(Debug)]
pub(super) struct SourcePart {
    pub(super) name: String,
    pub(super) proved: bool,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct TopicPart {
    pub(super) name: String,
    pub(super) proved: bool,
    refused: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct LanesPart {
    /// So long it has to show, with a link, that no lane begins to drop; until then, once there was one.
    pub(super) settles: Option<Duration>,
    until: Option<Instant>,
    /// With another cluster the one before may be no better.
    pub(super) is_excused: bool,
    /// Which one does.
    dropping: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct MemoryPart {
    /// It was used up before as well.
    excused: Option<bool>,
    /// Since when it is.
    since: Option<Instant>,
}

impl LanesPart {
    /// The lane, and why, that speaks against it.
    pub(super) fn look(
        &mut self,
        dropping: Option<&Dropping>,
        link_up: bool,
        now: Instant,
    ) -> Option<(String, &'static str)> {
        self.dropping = dropping.map(|one| one.lane.clone());
        if let Some(settles) = self.settles.take_if(|_| link_up) {
            self.until = Some(now + settles);
        }
        self.until.take_if(|until| *until <= now);
        let against = dropping.filter(|one| one.lasts && !self.is_excused);
        against.map(|one| (one.lane.clone(), one.reason))
    }

    pub(super) fn open(&self) -> Option<String> {
        let dropping = self.dropping.as_ref();
        let dropping = dropping.map(|lane| format!("lane `{lane}` drops nothing"));
        let settles = self.settles.is_some() || self.until.is_some();
        dropping.or_else(|| settles.then(|| "no lane begins to drop events".into()))
    }
}

impl MemoryPart {
    /// Why there has been too little of it for a while, and was not before.
    pub(super) fn look(&mut self, memory: Option<(u64, u64)>, now: Instant) -> Option<String> {
        let Some((used, most)) = memory else {
            self.since = None;
            return None;
        };
        let is_full = used >= most / 100 * FULL_PERCENT;
        let excused = *self.excused.get_or_insert(is_full);
        if !is_full || excused {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let lasts = now.saturating_duration_since(since) >= FULL_LASTS;
        let mib = |bytes| bytes / 1024 / 1024;
        lasts.then(|| {
            let (used, most) = (mib(used), mib(most));
            format!("{used} MiB of memory are in use, of {most} that the gateway has for the agent")
        })
    }

    pub(super) fn open(&self) -> Option<String> {
        self.since.map(|_| "there is enough memory".into())
    }
}

impl TopicPart {
    pub(super) fn new(name: String) -> TopicPart {
        TopicPart {
            name,
            proved: false,
            refused: None,
        }
    }

    /// Why the cluster has taken nothing for it for a while.
    pub(super) fn look(&mut self, seen: &Seen<'_>, now: Instant) -> Option<String> {
        let said = seen.topics.iter().find(|(name, _)| *name == self.name);
        match said.map(|(_, is)| is) {
            Some(Ok(())) => (self.proved, self.refused) = (true, None),
            Some(Err(reason)) => {
                let since = *self.refused.get_or_insert(now);
                let lasts = now.saturating_duration_since(since) >= REFUSED;
                return lasts.then(|| format!("topic `{}`: {reason}", self.name));
            }
            None => {}
        }
        None
    }
}
