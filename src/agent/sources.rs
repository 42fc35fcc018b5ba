//! The sources that run, each with a task of its own: it can be stopped alone, its end is seen, and it is started again. Another
//! configuration ends and starts only those that it changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::{Clock, Inlet, Intake, Receipts, Source, SourceStats, Stop, Urge};
use tokio::sync::watch;

use super::prepare::{Opened, open_source};
use crate::config::{Difference, Loaded};
use crate::process::chain;
use crate::process::parts::{Down, PartIs, PartNews, Parts};

/// How long a source that is to end has: an exchange on a serial line takes its time. What it has no receipt for is offered again.
const ENDING: Duration = Duration::from_secs(3);
/// How often those are looked at that are to end.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Sources {
    /// What they are opened from, in their order.
    loaded: Arc<Loaded>,
    all: Vec<One>,
    /// Their tasks, in the same order.
    parts: Parts,
    inlet: Inlet,
    urge: Arc<Urge>,
    clock: Clock,
    /// What is to be started once those have ended that end for another configuration, and until when they have time.
    next: Vec<(usize, Opened)>,
    until: Option<Instant>,
}

struct One {
    name: String,
    /// Over all of its runs.
    stats: Arc<SourceStats>,
    stop: watch::Sender<bool>,
    /// The configuration has it no more.
    removed: bool,
}

/// A source, as an operator sees it.
pub(super) struct Seen<'a> {
    pub(super) name: &'a str,
    pub(super) stats: &'a SourceStats,
    pub(super) restarts: u64,
    /// Why it does not run.
    pub(super) down: Option<&'a str>,
}

impl Sources {
    pub(super) fn new(loaded: Arc<Loaded>, inlet: Inlet, urge: Arc<Urge>, clock: Clock) -> Sources {
        Sources {
            loaded,
            all: Vec::new(),
            parts: Parts::default(),
            inlet,
            urge,
            clock,
            next: Vec::new(),
            until: None,
        }
    }

    /// Starts all; they are in the order of the configuration. Returns what to report of those that cannot be opened.
    pub(super) fn start(&mut self, sources: Vec<Opened>, now: Instant) -> Vec<PartNews> {
        for source in sources {
            let place = self.add(name(&source));
            self.next.push((place, source));
        }
        self.start_next(now)
    }

    fn start_next(&mut self, now: Instant) -> Vec<PartNews> {
        let mut news = Vec::new();
        for (place, source) in std::mem::take(&mut self.next) {
            match source {
                Ok(source) => self.run(place, source, now),
                Err((_, reason)) => news.extend(self.parts.failed(place, &reason, now)),
            }
        }
        self.show(&news);
        news
    }

    /// Takes another configuration: ends what is removed or is another now, to start `opened` after it. All else goes on.
    pub(super) fn change(
        &mut self,
        loaded: Arc<Loaded>,
        difference: &Difference,
        opened: Vec<Opened>,
        now: Instant,
    ) {
        self.loaded = loaded;
        for name in &difference.removed {
            if let Some(place) = self.place(name) {
                self.end(place);
                self.all[place].removed = true;
            }
        }
        for source in opened {
            let place = self.place(name(&source));
            let place = place.unwrap_or_else(|| self.add(name(&source)));
            self.end(place);
            self.next.retain(|(other, _)| *other != place);
            self.next.push((place, source));
        }
        self.until = Some(now + ENDING);
    }

    fn place(&self, name: &str) -> Option<usize> {
        let mut all = self.all.iter();
        all.position(|one| one.name == name && !one.removed)
    }

    fn end(&mut self, place: usize) {
        self.parts.ends(place);
        if let Some(one) = self.all.get_mut(place) {
            one.stop.send_replace(true);
            one.stats = Arc::default();
        }
    }

    /// Some end for another configuration.
    pub(super) fn are_ending(&self) -> bool {
        self.until.is_some()
    }

    /// When these are to be looked at.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.until.map(|_| now + LOOK)
    }

    /// Starts what waits for others to end, which may have the same socket, port or name, once these have.
    fn turn(&mut self, now: Instant) -> Vec<PartNews> {
        let Some(until) = self.until else {
            return Vec::new();
        };
        let is_ending = |place: &usize| self.parts.is_ending(*place);
        let ending: Vec<usize> = (0..self.all.len()).filter(is_ending).collect();
        if ending.is_empty() {
            self.until = None;
            return self.start_next(now);
        }
        if now >= until {
            for place in ending {
                self.parts.abort(place);
            }
        }
        Vec::new()
    }

    fn add(&mut self, name: &str) -> usize {
        self.all.push(One {
            name: name.to_owned(),
            stats: Arc::default(),
            stop: watch::channel(false).0,
            removed: false,
        });
        self.parts.add(format!("source `{name}`"))
    }

    fn run(&mut self, place: usize, source: Source, now: Instant) {
        if let Some((intake, receipts, stop)) = self.way_in(place) {
            self.parts
                .start(place, source.run(intake, receipts, stop), now);
        }
    }

    /// A new way in for each run: claims of an earlier one are nobody's, and what they stand for is offered again.
    fn way_in(&mut self, place: usize) -> Option<(Intake, Receipts, Stop)> {
        let one = self.all.get_mut(place)?;
        one.stop = watch::channel(false).0;
        let urge = Arc::clone(&self.urge);
        let stats = Arc::clone(&one.stats);
        let clock = self.clock.clone();
        let (intake, receipts) = Intake::new(&one.name, &self.inlet, urge, clock, stats);
        Some((intake, receipts, one.stop.subscribe()))
    }

    /// Notices which have ended, and starts again what is due. Returns what is to be told.
    pub(super) fn look_after(&mut self, now: Instant) -> Vec<PartNews> {
        let mut news = self.parts.news(now);
        news.extend(self.turn(now));
        for place in self.parts.due(now) {
            match self.open(place) {
                Ok(source) => self.run(place, source, now),
                Err(reason) => news.extend(self.parts.failed(place, &reason, now)),
            }
        }
        self.show(&news);
        news
    }

    /// In what is asked of each.
    fn show(&self, news: &[PartNews]) {
        for one in news {
            if let (PartIs::Down { reason, .. }, Some(source)) = (&one.now, self.all.get(one.place))
            {
                source.stats.down(reason);
            }
        }
    }

    fn open(&self, place: usize) -> Result<Source, String> {
        let settings = &self.loaded.settings;
        let name = self.all.get(place).map(|one| &one.name);
        let mut sources = settings.sources.iter();
        let one = sources.find(|one| name.is_some_and(|name| name == one.name()));
        let one = one.ok_or("the configuration has no such source")?;
        open_source(settings, one).map_err(|error| chain(&error))
    }

    /// Has all of them take nothing new, wait for the receipts that they still need, and end.
    pub(super) fn stop(&mut self) {
        self.parts.stop();
        (self.next, self.until) = (Vec::new(), None);
        for one in &self.all {
            one.stop.send_replace(true);
        }
    }

    pub(super) fn have_ended(&self) -> bool {
        self.parts.have_ended()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Seen<'_>> {
        let all = self.all.iter().enumerate();
        let all = all.filter(|(_, one)| !one.removed);
        all.map(|(place, one)| Seen {
            name: &one.name,
            stats: &one.stats,
            restarts: self.parts.restarts(place),
            down: self.parts.down_for(place),
        })
    }

    pub(super) fn down(&self) -> impl Iterator<Item = Down<'_>> {
        self.parts.down()
    }
}

fn name(opened: &Opened) -> &str {
    match opened {
        Ok(source) => source.name(),
        Err((name, _)) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Sources of a configuration that names one, `section`, with `$DIR` for `root`.
    fn configured(root: &std::path::Path, section: &str) -> Sources {
        let text = format!("[uplink]\nbrokers = [\"localhost:9\"]\n{section}");
        let path = root.join("gateway.toml");
        let text = text.replace("$DIR", &root.display().to_string());
        std::fs::write(&path, text).unwrap();
        let loaded = Arc::new(config::load(&path).unwrap());
        let (inlet, _queues) = adapters::queues::<()>();
        Sources::new(loaded, inlet, Arc::default(), Clock::new(0))
    }

    const SOCKET: &str = "[[inference]]\nname = \"vision\"\nsocket = \"$DIR/vision.sock\"\n";
    const WITH_PASSWORD: &str = "[[mqtt]]\nname = \"plant\"\nhost = \"127.0.0.1\"\nport = 9\nusername = \"gw\"\npassword = { file = \"$DIR/password\" }\n\
         [[mqtt.subscribe]]\ntopic = \"a/#\"\nintent = \"state\"\n";

    #[tokio::test(flavor = "current_thread")]
    async fn a_source_that_cannot_be_opened_again_is_tried_until_it_can() {
        let root = tempfile::tempdir().unwrap();
        let password = root.path().join("password");
        std::fs::write(&password, "secret").unwrap();
        let mut sources = configured(root.path(), WITH_PASSWORD);
        let mut now = Instant::now();
        let place = sources.add("plant");
        sources.parts.start(place, async {}, now);
        tokio::task::yield_now().await;
        assert_eq!(sources.look_after(now).len(), 1, "it ended by itself");
        std::fs::remove_file(&password).unwrap();
        now += Duration::from_secs(1);
        let news = sources.look_after(now);
        let PartIs::Down { reason, again_in } = &news[0].now else {
            panic!("{news:?}");
        };
        assert!(reason.contains("cannot read the secret in"), "{reason}");
        assert_eq!(*again_in, Duration::from_secs(2));
        std::fs::write(&password, "secret").unwrap();
        now += *again_in;
        assert!(sources.look_after(now).is_empty());
        let seen = sources.iter().next().unwrap();
        assert_eq!((seen.down, seen.restarts), (None, 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_source_that_panics_is_told_by_name_and_started_again_with_its_counters() {
        let root = tempfile::tempdir().unwrap();
        let (mut sources, now) = (configured(root.path(), SOCKET), Instant::now());
        let place = sources.add("vision");
        let (intake, _receipts, _stop) = sources.way_in(place).unwrap();
        let faulty = async move {
            intake.stats.up();
            panic!("a value out of range");
        };
        sources.parts.start(place, faulty, now);
        tokio::task::yield_now().await;
        let news = sources.look_after(now);
        assert_eq!(news.len(), 1);
        assert_eq!(news[0].part, "source `vision`");
        let seen = sources.iter().next().unwrap();
        assert_eq!(seen.down, Some("it panicked: a value out of range"));
        assert_eq!(seen.stats.last_error(), seen.down.unwrap());
        assert!(
            !seen
                .stats
                .connected
                .load(std::sync::atomic::Ordering::Relaxed)
        );
        assert!(sources.look_after(now).is_empty(), "it is told once");

        let later = now + Duration::from_secs(1);
        assert!(sources.look_after(later).is_empty());
        let connect = || std::os::unix::net::UnixStream::connect(root.path().join("vision.sock"));
        while connect().is_err() {
            tokio::task::yield_now().await;
        }
        let seen = sources.iter().next().unwrap();
        assert_eq!((seen.down, seen.restarts), (None, 1));
        let news = sources.look_after(later + Duration::from_secs(5));
        assert_eq!(news[0].now, PartIs::Mended);
        sources.stop();
        while !sources.have_ended() {
            tokio::task::yield_now().await;
            assert!(sources.look_after(later).is_empty(), "a stop is no fault");
        }
    }
}
