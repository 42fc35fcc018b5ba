//! Parts that work beside the agent's task, each a task of its own: an end that nobody asked for is noticed, and the part is
//! started again, after a pause that grows. Time is an argument.

use std::time::{Duration, Instant};

use adapters::printable;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::panic_text;

/// The first pause before a part is started again.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause: one line a minute in the log of a part that ends again and again.
const MOST: Duration = Duration::from_mins(1);
/// After a part ran for this long, its next pause is the first one again.
const RAN_WELL: Duration = Duration::from_mins(5);
/// A part that was started again counts as mended after it ran for this long.
const MENDED: Duration = Duration::from_secs(5);

/// The parts of one kind. A part is known by its place in the order of [`Parts::add`].
#[derive(Debug, Default)]
pub(crate) struct Parts {
    all: Vec<Part>,
    tasks: JoinSet<()>,
    stopping: bool,
}

#[derive(Debug)]
struct Part {
    place: usize,
    name: String,
    task: Option<AbortHandle>,
    /// Its end is asked for.
    stopping: bool,
    life: Life,
}

/// What became of a part since the last look, to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PartNews {
    pub place: usize,
    pub part: String,
    /// Of the agent's life so far.
    pub restarts: u64,
    pub now: PartIs,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PartIs {
    /// It ended, or could not be started, for this reason.
    Down {
        reason: String,
        again_in: Duration,
    },
    Mended,
}

/// A part that does not work, or was started again too short a time ago to say that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Down<'a> {
    pub part: &'a str,
    pub since: Instant,
    pub reason: &'a str,
}

impl Parts {
    /// A part that is not started yet; `name` is what an operator reads. Returns its place.
    pub(crate) fn add(&mut self, name: String) -> usize {
        let place = self.all.len();
        self.all.push(Part {
            place,
            name,
            task: None,
            stopping: false,
            life: Life::default(),
        });
        place
    }

    /// Starts `place`, or starts it again.
    pub(crate) fn start(
        &mut self,
        place: usize,
        task: impl Future<Output = ()> + Send + 'static,
        now: Instant,
    ) {
        if let Some(part) = self.all.get_mut(place) {
            part.task = Some(self.tasks.spawn(task));
            part.stopping = false;
            part.life.started(now);
        }
    }

    /// A part that is to be started could not be.
    pub(crate) fn failed(&mut self, place: usize, reason: &str, now: Instant) -> Option<PartNews> {
        let part = self.all.get_mut(place)?;
        part.stopping = false;
        Some(part.ended(printable(reason), now))
    }

    /// An end of `place` is no fault from here on: it is started again only by [`Parts::start`].
    pub(crate) fn ends(&mut self, place: usize) {
        if let Some(part) = self.all.get_mut(place) {
            part.stopping = true;
            part.life = Life::default();
        }
    }

    /// Ends it where it is.
    pub(crate) fn abort(&mut self, place: usize) {
        if let Some(task) = self.all.get(place).and_then(|part| part.task.as_ref()) {
            task.abort();
        }
    }

    /// It was asked to end, and has not yet.
    pub(crate) fn is_ending(&self, place: usize) -> bool {
        let part = self.all.get(place);
        part.is_some_and(|part| part.stopping && part.task.is_some())
    }

    /// Nothing is started again from here on, and an end is no fault any more unless it is a panic.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// What became of the parts since the last call.
    pub(crate) fn news(&mut self, now: Instant) -> Vec<PartNews> {
        let mut news = Vec::new();
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            };
            let mut all = self.all.iter_mut();
            let is_its = |part: &&mut Part| part.task.as_ref().is_some_and(|task| task.id() == id);
            let Some(part) = all.find(is_its) else {
                continue;
            };
            part.task = None;
            if part.stopping || (self.stopping && ended.is_ok()) {
                continue;
            }
            news.push(part.ended(reason(ended), now));
        }
        let mended = |part: &mut Part| part.life.settle(now).then(|| part.news(PartIs::Mended));
        news.extend(self.all.iter_mut().filter_map(mended));
        news
    }

    /// The parts that are to be started again now.
    pub(crate) fn due(&self, now: Instant) -> Vec<usize> {
        let stopping = |part: &Part| self.stopping || part.stopping;
        let is_due = |part: &Part| !stopping(part) && part.life.again.is_some_and(|at| at <= now);
        let due = self.all.iter().filter(|part| is_due(part));
        due.map(|part| part.place).collect()
    }

    /// Whether no part runs any more.
    pub(crate) fn have_ended(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How often a part was started again.
    pub(crate) fn restarts(&self, place: usize) -> u64 {
        self.all.get(place).map_or(0, |part| part.life.restarts)
    }

    /// The reason why a part does not run, if it does not.
    pub(crate) fn down_for(&self, place: usize) -> Option<&str> {
        let life = &self.all.get(place)?.life;
        let reason = life.down.as_ref().map(|(_, reason)| reason.as_str());
        reason.filter(|_| life.again.is_some())
    }

    /// Parts that are not known to work.
    pub(crate) fn down(&self) -> impl Iterator<Item = Down<'_>> {
        self.all.iter().filter_map(|part| {
            let (since, reason) = part.life.down.as_ref()?;
            Some(Down {
                part: &part.name,
                since: *since,
                reason,
            })
        })
    }
}

impl Part {
    fn ended(&mut self, reason: String, now: Instant) -> PartNews {
        let again_in = self.life.ended(reason.clone(), now);
        self.news(PartIs::Down { reason, again_in })
    }

    fn news(&self, is: PartIs) -> PartNews {
        PartNews {
            place: self.place,
            part: self.name.clone(),
            restarts: self.life.restarts,
            now: is,
        }
    }
}

fn reason(ended: Result<(Id, ()), JoinError>) -> String {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(_) => "it ended by itself".into(),
        Err(Ok(panic)) => {
            let text = panic_text(&*panic).unwrap_or("no reason given");
            format!("it panicked: {}", printable(text))
        }
        Err(Err(cancelled)) => cancelled.to_string(),
    }
}

/// Since when a part runs, and when it is started again.
#[derive(Debug, Default)]
struct Life {
    runs_since: Option<Instant>,
    again: Option<Instant>,
    /// Ends since it last ran well.
    failures: u32,
    restarts: u64,
    /// Since when it does not work, or is not known to, and why.
    down: Option<(Instant, String)>,
}

impl Life {
    fn started(&mut self, now: Instant) {
        self.restarts += u64::from(self.down.is_some());
        (self.runs_since, self.again) = (Some(now), None);
    }

    /// Returns the pause before it is to be started again.
    fn ended(&mut self, reason: String, now: Instant) -> Duration {
        self.settle(now);
        let ran = self.runs_since.take();
        if ran.is_some_and(|since| now.saturating_duration_since(since) >= RAN_WELL) {
            self.failures = 0;
        }
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        self.again = Some(now + pause);
        let since = self.down.take().map_or(now, |(since, _)| since);
        self.down = Some((since, reason));
        pause
    }

    /// Whether it is mended, as of now.
    fn settle(&mut self, now: Instant) -> bool {
        let runs = self.runs_since;
        let works = runs.is_some_and(|since| now.saturating_duration_since(since) >= MENDED);
        works && self.down.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_again_after_a_good_run() {
        let (mut life, mut now) = (Life::default(), Instant::now());
        life.started(now);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = life.ended("a fault".into(), now);
            assert_eq!(pause, Duration::from_secs(seconds));
            now += pause;
            life.started(now);
        }
        assert_eq!(life.restarts, 8);
        now += RAN_WELL;
        assert_eq!(life.ended("another fault".into(), now), FIRST);
        assert_eq!(life.down, Some((now, "another fault".into())));
    }

    #[test]
    fn a_part_is_down_from_its_first_end_until_it_has_run_for_a_while() {
        let (mut life, begun) = (Life::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        life.started(begun);
        life.ended("first".into(), at(10));
        life.started(at(11));
        assert!(!life.settle(at(12)), "it has only just begun");
        life.ended("second".into(), at(13));
        life.started(at(15));
        assert_eq!(life.down, Some((at(10), "second".into())));
        assert!(life.settle(at(20)) && life.down.is_none());
        assert!(!life.settle(at(21)), "it is said once");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_is_told_with_its_reason_and_is_no_fault_in_a_stop() {
        let (mut parts, now) = (Parts::default(), Instant::now());
        let faulty = parts.add("source `press`".into());
        let quiet = parts.add("source `vision`".into());
        parts.start(faulty, async { panic!("a\u{1b}[2Jvalue") }, now);
        parts.start(quiet, async {}, now);
        tokio::task::yield_now().await;
        let mut news = parts.news(now);
        news.sort_by(|one, other| one.part.cmp(&other.part));
        let reasons: Vec<_> = news.iter().map(|one| &one.now).collect();
        let down = |reason: &str| PartIs::Down {
            reason: reason.into(),
            again_in: FIRST,
        };
        assert_eq!(
            reasons,
            [
                &down("it panicked: a\\u{1b}[2Jvalue"),
                &down("it ended by itself")
            ]
        );
        assert!(parts.due(now).is_empty());
        assert_eq!(parts.due(now + FIRST), [faulty, quiet]);
        assert_eq!((parts.down().count(), parts.restarts(faulty)), (2, 0));
        parts.stop();
        assert!(
            parts.due(now + FIRST).is_empty(),
            "nothing is started in a stop"
        );
        parts.start(quiet, async {}, now);
        tokio::task::yield_now().await;
        assert_eq!(parts.news(now), []);
        assert!(parts.have_ended());
    }
}
