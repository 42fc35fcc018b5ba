//! The configuration that runs, from one agent of this process to the next: its trial, what is noted of it, and what is gone back to.

mod acts;

mod delivered;

mod looks;

mod proves;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::off_task;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::admission::refusal;
use super::backlog::Backlog;
use super::drops::Drops;
use super::proof::Proof;
use super::record::{Record, State};
use super::shelf::Shelf;
use super::start::{Start, Told};
use super::wellness::Wellness;
use crate::config::{Loaded, Texts, Version, kept_fleet};

/// How long a stop waits for its note.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the agent is to do about the configuration that it runs with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Whether the uplink of this one connects is to be found out.
    AskOld,
    /// It is to be gone back from.
    Return,
    /// What was delivered is to be read again: its time has come, what had no place in it is delivered, or what it was gone back from for
    /// was no fault of it.
    TryAgain,
}

pub(crate) struct Rollout {
    shelf: Shelf,
    record: Record,
    told: Option<Told>,
    /// What runs, and which it is.
    loaded: Option<Arc<Loaded>>,
    version: Version,
    /// The one that delivered last, and the one before that.
    proved: Option<Arc<Loaded>>,
    before: Option<Arc<Loaded>>,
    proof: Option<Proof>,
    /// What runs next is another than that which was delivered.
    instead: bool,
    /// Which signature was beside the file when it was last asked whether there is news.
    vouchers: String,
    /// Sources that are well, as far as that is known: after another boot the peers of all may still be starting.
    well: Wellness,
    drops: Drops,
    /// Lanes of which something was delivered by this process.
    used: BTreeSet<String>,
    /// What waited when a configuration was last about to be read.
    backlogs: Vec<Backlog>,
    /// Since when what was delivered last is held, in this process.
    held: Instant,
    boot: String,
    /// What was last written of the record.
    noted: Record,
    noting: Option<JoinHandle<()>>,
}

impl Rollout {
    /// Of a process that begins; what it is to run with is beside it.
    pub(crate) fn new(start: Start) -> (Rollout, Arc<Loaded>) {
        let loaded = Arc::new(start.loaded);
        let boot = buffer::boot_id().unwrap_or_default();
        let is_this_boot = !boot.is_empty() && start.record.boot == boot;
        let proved = if start.record.is_proved(loaded.version()) {
            Some(Arc::clone(&loaded))
        } else {
            let proved = start.shelf.proved(&start.record).and_then(Result::ok);
            proved.map(Arc::new)
        };
        let before = start.shelf.before(&start.record).map(Arc::new);
        let well = start.noted.well.iter().filter(|_| is_this_boot);
        // What was gone back for has its time also where the process was begun anew since.
        let well = well.chain(&start.record.doubt);
        let rollout = Rollout {
            well: Wellness::new(well.cloned(), Instant::now()),
            drops: Drops::default(),
            used: BTreeSet::new(),
            backlogs: Vec::new(),
            held: Instant::now(),
            boot,
            shelf: start.shelf,
            noted: start.noted,
            record: start.record,
            told: Some(start.told),
            loaded: None,
            version: Version::default(),
            proved,
            before,
            proof: None,
            instead: start.instead,
            vouchers: start.vouchers,
            noting: None,
        };
        (rollout, loaded)
    }

    /// Says why the file is not what runs, once there is a log.
    pub(crate) fn tell(&mut self, file: &std::path::Path) {
        let Some(told) = self.told.take() else {
            return;
        };
        let file = file.display();
        for problem in told.problems {
            tracing::error!(%file, "{problem}");
        }
        match told.line {
            Some(line) if told.is_calm => tracing::info!(%file, "{line}"),
            Some(line) => tracing::error!(%file, "{line}"),
            None => {}
        }
    }

    /// Why this one is not even tried.
    ///
    /// # Errors
    /// It is older than one that delivered, or it may not be whole. What ran before goes on.
    pub(crate) fn admits(&mut self, loaded: &Loaded) -> Result<(), String> {
        let Some(why) = refusal(&self.record, loaded, self.proved.as_deref()) else {
            return Ok(());
        };
        self.record.rejects(loaded.version().clone(), why.clone());
        self.instead = true;
        Err(why)
    }

    /// Why this one must not be tried again.
    ///
    /// # Errors
    /// It was gone back from, and nothing of it has changed since.
    pub(crate) fn may_try(&mut self, loaded: &Loaded) -> Result<(), String> {
        let version = loaded.version();
        let why = self.record.was_returned(version).map(ToOwned::to_owned);
        self.instead = why.is_some();
        why.map_or(Ok(()), |why| {
            self.record.is_still_returned(version, &why);
            Err(why)
        })
    }

    /// These texts were delivered, with what vouches for them: whether they are others than the last ones, and than those that run, or are
    /// signed now and were refused before.
    pub(crate) fn is_news(&mut self, texts: &Texts, vouchers: String) -> bool {
        let version = Version::of_texts(texts);
        let is_signed_anew = self.vouchers != vouchers;
        self.vouchers = vouchers;
        if self.record.attempted.has_texts_of(&version) {
            return is_signed_anew && self.record.state == State::Rejected;
        }
        let runs = self.record.effective.has_texts_of(&version);
        if runs {
            self.record.is_back(&self.version);
            self.instead = false;
        }
        !runs
    }

    /// What was delivered cannot be used: what ran before goes on.
    pub(crate) fn rejects(&mut self, texts: &Texts, why: String) {
        self.record.rejects(Version::of_texts(texts), why);
        self.instead = true;
    }

    /// An agent is about to begin with it. That is on disk before, so that a process which dies of it is known to have.
    pub(crate) async fn is_about_to_run(&mut self, loaded: &Loaded) {
        self.version.clone_from(loaded.version());
        if !self.instead && !self.record.is_proved(&self.version) {
            self.record.tries(&self.version);
            self.record.runs = true;
        }
        self.note();
        self.noted_in_time().await;
    }

    /// It runs.
    pub(crate) fn runs_with(&mut self, loaded: &Arc<Loaded>, now: Instant) {
        self.record.effective = self.version.clone();
        self.record.fleet = kept_fleet(&loaded.file.fleet);
        self.loaded = Some(Arc::clone(loaded));
        self.proof = None;
        self.well.begins(now);
        self.drops.begins(None, now);
        if self.instead {
            return;
        }
        if self.record.is_proved(&self.version) {
            self.record.is_back(&self.version);
            return;
        }
        self.proof = Some(self.new_proof(loaded, now));
        let within = loaded.file.fleet.prove_within.0;
        self.drops.begins(Some(within), now);
    }

    /// The uplink of the configuration before connects, and that of this one does not.
    pub(crate) fn returns(&mut self, why: &str) {
        self.record.returns(&self.version, why);
        (self.proof, self.instead) = (None, true);
    }

    /// It cannot be gone back from.
    pub(crate) fn stays(&mut self) {
        self.instead = false;
        self.record.stays();
    }

    /// What to go back to.
    pub(crate) fn proved(&self) -> Option<&Arc<Loaded>> {
        self.proved.as_ref()
    }

    /// The same where it is another than this.
    pub(crate) fn other_than(&self, loaded: &Arc<Loaded>) -> Option<Arc<Loaded>> {
        let proved = self.proved.as_ref();
        proved.filter(|one| !Arc::ptr_eq(one, loaded)).cloned()
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn is_on_trial(&self) -> bool {
        self.proof.is_some()
    }

    /// What has not proved itself, in words.
    pub(crate) fn open(&self) -> Vec<String> {
        let proof = self.proof.iter();
        proof.flat_map(Proof::open).collect()
    }

    fn keep(&mut self) {
        let old = std::mem::replace(&mut self.proved, self.loaded.clone());
        let is_other = |old: &Arc<Loaded>| !old.version().is_same(&self.version);
        if let Some(old) = old.filter(is_other) {
            self.before = Some(old);
        }
        self.write_kept();
    }

    fn write_kept(&mut self) {
        self.record.before = self.before.as_ref().map(|one| one.version().clone());
        self.keep_history();
        self.noted.clone_from(&self.record);
        let (shelf, record) = (self.shelf.clone(), self.record.clone());
        let (proved, before) = (self.proved.clone(), self.before.clone());
        self.write(move || {
            shelf.keep(proved.as_deref(), before.as_deref())?;
            shelf.note(&record)
        });
    }

    fn keep_history(&mut self) {
        let record = &mut self.record;
        let (state, why) = (record.state.name(), record.why.as_deref());
        let now = || Timestamp::now().to_string();
        record.history.becomes(state, &record.attempted, why, now);
    }

    /// Writes what has changed of the record.
    fn note(&mut self) {
        self.keep_history();
        if self.record != self.noted {
            self.noted.clone_from(&self.record);
            let (shelf, record) = (self.shelf.clone(), self.record.clone());
            self.write(move || shelf.note(&record));
        }
    }

    /// Beside the agent, one after the other.
    fn write(&mut self, work: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
        let last = self.noting.take();
        self.noting = Some(tokio::spawn(async move {
            if let Some(last) = last
                && let Err(error) = last.await
            {
                tracing::debug!(%error, "a note of the configuration was not written");
            }
            match off_task(work).await {
                Ok(()) => {}
                // Another process has the state, and says so itself.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot note which configuration runs and whether it delivered; a start with a bad file may not find the one before");
                }
            }
        }));
    }

    async fn noted_in_time(&mut self) {
        let Some(last) = &mut self.noting else {
            return;
        };
        if tokio::time::timeout(PATIENCE, last).await.is_ok() {
            self.noting = None;
        } else {
            tracing::warn!(
                "the disk does not take a note of the configuration in time; a start may go back to one that delivered earlier"
            );
        }
    }

    /// The process ends of its own accord; a disk that hangs does not keep it from that.
    pub(crate) async fn stops(&mut self) {
        self.record.runs = false;
        self.note();
        self.noted_in_time().await;
    }
}
