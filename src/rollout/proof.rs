//! What counts for and against a configuration that runs. Pure: time comes in as an argument.

use std::time::{Duration, Instant};

use super::backlog::Waiting;
use super::drops::{Dropped, Dropping, lasts};

mod parts;

use parts::{LanesPart, MemoryPart, SourcePart, TopicPart, UplinkPart};

/// What was well before has at least this long to be well again, and the uplink to connect.
pub(super) const FAIR: Duration = Duration::from_mins(1);
/// And a source three of its own intervals.
const INTERVALS: u32 = 3;
/// How often the uplink of the configuration before is tried, as long as the new one does not connect: an outage may be long.
const ASK_EVERY: Duration = Duration::from_mins(5);

/// How the parts of the running agent are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen<'a> {
    /// All connections to the cluster stand, and their login was accepted.
    pub connected: bool,
    /// And the cluster answers: there is no outage.
    pub link_up: bool,
    /// Something was delivered since the agent began.
    pub delivered: bool,
    /// Each source, and whether it is well.
    pub sources: Vec<(&'a str, bool)>,
    /// Topics that are to be proved, and whether the cluster has them, or why it takes nothing for them.
    pub topics: Vec<(String, Result<(), String>)>,
    /// Lanes of which something was delivered since the agent began.
    pub used: Vec<&'a str>,
    /// What lanes have dropped for reasons that a configuration can be to blame for.
    pub drops: Vec<Dropped<'a>>,
    /// What of each lane waits.
    pub waiting: Vec<Waiting<'a>>,
    /// Bytes of memory in use, and those that the control group allows.
    pub memory: Option<(u64, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is not enough for one yet.
    Open,
    /// It delivers.
    Proved,
    /// This source was well before, and is not with it: it is to be gone back from.
    Lost(String),
    /// For this reason it is to be gone back from: the cluster takes nothing for a topic that it brings, or there is too little memory.
    Refused(String),
    /// This lane drops for this reason, and did not before.
    Drops(String, &'static str),
    /// Whether the uplink of the configuration before connects would tell.
    AskOld,
    /// Its time is over, and nothing spoke against it; these have not proved themselves.
    Unproven(String),
}

/// The parts that a configuration changes, of which each has to prove itself.
#[derive(Debug)]
pub(super) struct Proof {
    until: Instant,
    uplink: Option<UplinkPart>,
    sources: Vec<SourcePart>,
    topics: Vec<TopicPart>,
    lanes: LanesPart,
    memory: MemoryPart,
    /// There is one to go back to.
    can_return: bool,
    was_unproven: bool,
}

/// How long a source of this longest interval has to be well again.
pub(super) fn patience(within: Duration, interval: Duration) -> Duration {
    FAIR.min(within).max(interval * INTERVALS)
}

impl Proof {
    /// `sources` are those that were well and are changed, each with its longest interval.
    pub(super) fn new(
        uplink: bool,
        sources: impl Iterator<Item = (String, Duration)>,
        can_return: bool,
        within: Duration,
        now: Instant,
    ) -> Proof {
        let fair = FAIR.min(within);
        let part = |(name, interval): (String, Duration)| SourcePart {
            name,
            proved: false,
            until: now + patience(within, interval),
        };
        Proof {
            until: now + within,
            uplink: uplink.then_some(UplinkPart {
                proved: false,
                ask_at: now + fair,
            }),
            sources: sources.map(part).collect(),
            topics: Vec::new(),
            lanes: LanesPart::default(),
            memory: MemoryPart::default(),
            can_return,
            was_unproven: false,
        }
    }

    /// With `topics` that it brings, of which the cluster is to say that it has them.
    pub(super) fn with_topics(self, topics: impl Iterator<Item = String>) -> Proof {
        Proof {
            topics: topics.map(TopicPart::new).collect(),
            ..self
        }
    }

    /// Budgets, memory, routes or topics differ, so that its lanes have to show that they drop nothing; or the cluster does, and the one
    /// before may be no better.
    pub(super) fn with_lanes(mut self, differ: bool, moves: bool, within: Duration) -> Proof {
        self.lanes.settles = differ.then(|| lasts(within));
        self.lanes.is_excused = moves;
        self
    }

    /// Those of which the cluster has not said it yet.
    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        let open = self.topics.iter().filter(|part| !part.proved);
        open.map(|part| &part.name)
    }

    pub(super) fn look(
        &mut self,
        seen: &Seen<'_>,
        dropping: Option<&Dropping>,
        now: Instant,
    ) -> Verdict {
        let drops = self.lanes.look(dropping, seen.link_up, now);
        let refused = self.take(seen, now);
        if self.open().next().is_none() {
            return Verdict::Proved;
        }
        if self.can_return {
            if let Some(why) = refused {
                return Verdict::Refused(why);
            }
            if let Some((lane, reason)) = drops {
                return Verdict::Drops(lane, reason);
            }
            let mut late = self.sources.iter();
            let late = late.find(|part| !part.proved && now >= part.until);
            if let Some(part) = late {
                return Verdict::Lost(part.name.clone());
            }
            if let Some(uplink) = self.uplink.as_mut().filter(|one| !one.proved)
                && !seen.connected
                && now >= uplink.ask_at
            {
                uplink.ask_at = now + ASK_EVERY;
                return Verdict::AskOld;
            }
        }
        if now >= self.until && !std::mem::replace(&mut self.was_unproven, true) {
            let open: Vec<String> = self.open().collect();
            return Verdict::Unproven(format!("not proved yet: {}", open.join(", ")));
        }
        Verdict::Open
    }

    /// Takes down what each part shows of itself; returns what speaks against one.
    fn take(&mut self, seen: &Seen<'_>, now: Instant) -> Option<String> {
        if let Some(uplink) = &mut self.uplink {
            uplink.proved |= seen.connected && seen.delivered;
        }
        for part in &mut self.sources {
            let well = |(name, well): &(&str, bool)| *well && *name == part.name;
            part.proved |= seen.sources.iter().any(well);
        }
        let topics = self.topics.iter_mut().filter(|part| !part.proved);
        let refused = topics.fold(None, |refused, part| refused.or(part.look(seen, now)));
        let full = self.memory.look(seen.memory, now);
        refused.or(full)
    }

    /// What has not proved itself, in words.
    pub(super) fn open(&self) -> impl Iterator<Item = String> {
        let uplink = self.uplink.iter().filter(|one| !one.proved);
        let uplink = uplink.map(|_| "the uplink delivers".to_owned());
        let sources = self.sources.iter().filter(|one| !one.proved);
        let topics = self.topics();
        let topics = topics.map(|name| format!("the cluster has topic `{name}`"));
        let sources = sources.map(|one| format!("source `{}` is well", one.name));
        let rest = self.lanes.open().into_iter().chain(self.memory.open());
        uplink.chain(sources).chain(topics).chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_mins(10);

    fn proof(now: Instant) -> Proof {
        let sources = [("plant", 0), ("meter", 30)];
        let sources = sources.map(|(name, s)| (name.to_owned(), Duration::from_secs(s)));
        Proof::new(true, sources.into_iter(), true, WITHIN, now)
    }

    fn seen(link: bool, plant: bool, meter: bool) -> Seen<'static> {
        Seen {
            connected: link,
            link_up: link,
            delivered: link,
            sources: vec![("plant", plant), ("meter", meter)],
            ..Seen::default()
        }
    }

    #[test]
    fn it_is_kept_as_soon_as_each_part_was_well_once() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut proof = proof(now);
        assert_eq!(
            proof.look(&seen(false, true, false), None, at(1)),
            Verdict::Open
        );
        assert_eq!(
            proof.look(&seen(true, false, false), None, at(2)),
            Verdict::Open
        );
        assert_eq!(
            proof.look(&seen(false, false, true), None, at(3)),
            Verdict::Proved
        );
    }

    #[test]
    fn a_source_that_was_well_has_a_minute_or_three_of_its_intervals() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut one = proof(now);
        assert_eq!(
            one.look(&seen(true, false, true), None, at(59)),
            Verdict::Open
        );
        let verdict = one.look(&seen(true, false, true), None, at(60));
        assert!(matches!(verdict, Verdict::Lost(name) if name == "plant"));
        let mut one = proof(now);
        assert_eq!(
            one.look(&seen(true, true, false), None, at(89)),
            Verdict::Open
        );
        let verdict = one.look(&seen(true, true, false), None, at(90));
        assert!(matches!(verdict, Verdict::Lost(name) if name == "meter"));
    }

    #[test]
    fn an_uplink_that_does_not_connect_speaks_against_nothing_before_the_old_one_was_asked() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut proof = proof(now);
        let away = seen(false, true, true);
        assert_eq!(proof.look(&away, None, at(59)), Verdict::Open);
        assert_eq!(proof.look(&away, None, at(60)), Verdict::AskOld);
        assert_eq!(proof.look(&away, None, at(61)), Verdict::Open);
        assert_eq!(proof.look(&away, None, at(360)), Verdict::AskOld);
        let verdict = proof.look(&away, None, at(600));
        assert!(matches!(verdict, Verdict::Unproven(why) if why.contains("uplink")));
        assert_eq!(
            proof.look(&away, None, at(660)),
            Verdict::AskOld,
            "as long as it lasts"
        );
        assert_eq!(
            proof.look(&seen(true, true, true), None, at(9000)),
            Verdict::Proved
        );
    }

    #[test]
    fn without_another_to_go_back_to_nothing_speaks_against_it() {
        let now = Instant::now();
        let sources = [("plant".to_owned(), Duration::ZERO)];
        let mut proof = Proof::new(true, sources.into_iter(), false, WITHIN, now);
        let late = now + Duration::from_secs(599);
        assert_eq!(
            proof.look(&seen(false, false, false), None, late),
            Verdict::Open
        );
        let over = proof.look(&seen(false, false, false), None, now + WITHIN);
        assert!(matches!(over, Verdict::Unproven(_)));
    }

    #[test]
    fn a_lane_that_begins_to_drop_and_memory_that_is_used_up_speak_against_it() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let drops = |lasts| Dropping {
            lane: "state".into(),
            reason: "age",
            lasts,
        };
        let well = seen(true, true, true);
        let mut one = proof(now).with_lanes(true, false, WITHIN);
        assert_eq!(one.look(&well, None, at(9)), Verdict::Open);
        assert_eq!(one.look(&well, Some(&drops(false)), at(10)), Verdict::Open);
        assert_eq!(
            one.open().collect::<Vec<_>>(),
            ["lane `state` drops nothing"]
        );
        let verdict = one.look(&well, Some(&drops(true)), at(20));
        assert_eq!(verdict, Verdict::Drops("state".into(), "age"));
        assert_eq!(
            one.look(&well, None, at(30)),
            Verdict::Proved,
            "it has ended"
        );

        let with = |percent: u64| Seen {
            memory: Some((percent << 20, 100 << 20)),
            ..seen(true, false, true)
        };
        let mut one = proof(now);
        for (percent, second) in [(50, 1), (95, 2), (95, 11), (80, 12), (95, 13), (95, 22)] {
            assert_eq!(one.look(&with(percent), None, at(second)), Verdict::Open);
        }
        let verdict = one.look(&with(95), None, at(23));
        assert!(
            matches!(&verdict, Verdict::Refused(why) if why.contains("95 MiB")),
            "{verdict:?}"
        );
        let mut one = proof(now);
        for second in [1, 30, 59] {
            let used_up_before = one.look(&with(95), None, at(second));
            assert_eq!(used_up_before, Verdict::Open);
        }
    }

    #[test]
    fn a_topic_that_it_brings_is_there_or_is_not_for_a_while() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let with = |is: Option<Result<(), String>>| Seen {
            topics: is.map(|is| ("t".to_owned(), is)).into_iter().collect(),
            ..seen(true, true, true)
        };
        let refused = || with(Some(Err("unknown".into())));
        let with_topic = || proof(now).with_topics(std::iter::once("t".to_owned()));
        let mut one = with_topic();
        assert_eq!(one.look(&with(None), None, at(1)), Verdict::Open);
        assert_eq!(
            one.open().collect::<Vec<_>>(),
            ["the cluster has topic `t`"]
        );
        assert_eq!(one.look(&refused(), None, at(2)), Verdict::Open);
        assert_eq!(one.look(&refused(), None, at(11)), Verdict::Open);
        let verdict = one.look(&refused(), None, at(12));
        assert_eq!(verdict, Verdict::Refused("topic `t`: unknown".into()));
        let mut one = with_topic();
        assert_eq!(one.look(&refused(), None, at(1)), Verdict::Open);
        assert_eq!(
            one.look(&with(Some(Ok(()))), None, at(30)),
            Verdict::Proved,
            "it was made"
        );
    }
}
