//! Configurations that the gateway pulls: `[fleet] url` is asked again and again, and what is there is kept in the state directory and
//! told of. Whatever the server, the link or the disk do, the next pull comes; what runs does not depend on it.

mod body;

mod cache;

mod connect;

mod error;

mod request;

mod rhythm;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapters::{off_task, read_clocks};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(super) use cache::{place, text};

use cache::Pulled;
use error::PullError;
use request::{Answer, ask, ask_signature};
use rhythm::Rhythm;

use super::shelf::Shelf;
use crate::config::{self, PullSettings, sha256};

/// An unchanged answer is noted no more often than this, or `every` where that is longer: each note is a write.
const NOTE_EVERY: Duration = Duration::from_hours(1);

/// Before what pulls begins again.
const SOON: Duration = Duration::from_mins(1);

/// Pulls as the configuration that runs says, over all agents of this process.
pub(crate) struct Pull {
    settings: Option<PullSettings>,
    tell: mpsc::Sender<()>,
    told: mpsc::Receiver<()>,
    /// Why the last pull brought nothing; none where it went well.
    failed: Arc<Mutex<Option<String>>>,
    task: JoinSet<()>,
}

impl Pull {
    pub(crate) fn new() -> Pull {
        // One more that waits says no more.
        let (tell, told) = mpsc::channel(1);
        Pull {
            settings: None,
            tell,
            told,
            failed: Arc::default(),
            task: JoinSet::new(),
        }
    }

    /// Pulls by these `settings` for `file` from now on. `known` is the SHA-256 of the text that was seen last.
    pub(crate) fn follow(
        &mut self,
        settings: Option<PullSettings>,
        shelf: &Shelf,
        known: &str,
        file: &Path,
    ) {
        if self.settings == settings && (settings.is_none() || !self.task.is_empty()) {
            return;
        }
        // What is being written is written to its end, on a thread of its own.
        self.task.abort_all();
        self.task = JoinSet::new();
        self.failed = Arc::default();
        self.settings.clone_from(&settings);
        if let Some(settings) = settings {
            let puller = Puller {
                rhythm: Rhythm::new(&settings),
                settings,
                shelf: shelf.clone(),
                known: known.to_owned(),
                file: file.to_owned(),
                pulled: Pulled::default(),
                tell: self.tell.clone(),
                failed: Arc::clone(&self.failed),
            };
            self.task.spawn(puller.keep_on());
        }
    }

    /// Waits until another text was pulled. Safe to cancel.
    pub(crate) async fn news(&mut self) {
        // There is a sender beside it.
        if self.told.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Why the last pull brought nothing.
    pub(crate) fn failure(&self) -> Option<String> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone)]
struct Puller {
    settings: PullSettings,
    rhythm: Rhythm,
    shelf: Shelf,
    known: String,
    /// In whose place it stands: who may sign it is said beside that.
    file: PathBuf,
    pulled: Pulled,
    tell: mpsc::Sender<()>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Puller {
    /// Begins again where it ended, which is a mistake in this agent.
    async fn keep_on(self) {
        loop {
            let mut running = JoinSet::new();
            running.spawn(self.clone().run());
            let ended = running.join_next().await.and_then(Result::err);
            let error = ended.map(|error| error.to_string());
            tracing::error!(
                error,
                "what pulls the configuration has ended; it begins again in a minute; please report it"
            );
            tokio::time::sleep(SOON).await;
        }
    }

    async fn run(mut self) {
        self.remember().await;
        let last = Duration::from_secs(self.pulled.asked_s);
        let since = (self.pulled.asked_s > 0).then(|| now().checked_sub(last));
        let mut wait = self.rhythm.first(since.flatten(), now());
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.pull().await {
                Ok(()) => {
                    self.is_well();
                    self.rhythm.after(now())
                }
                Err(error) => {
                    let wait = self.rhythm.after_error(error.wait());
                    self.is_not(&error, wait);
                    wait
                }
            };
        }
    }

    /// What is on disk, if it is from here and was seen.
    async fn remember(&mut self) {
        let directory = self.directory();
        let read = off_task(move || Ok(cache::read(&directory))).await;
        let is_ours = |one: &Pulled| one.url == self.settings.written && one.sha256 == self.known;
        self.pulled = read.ok().filter(is_ours).unwrap_or_default();
    }

    fn directory(&self) -> PathBuf {
        self.shelf.directory().to_owned()
    }

    async fn pull(&mut self) -> Result<(), PullError> {
        let asked_s = now().as_secs();
        let answer = ask(&self.settings, self.pulled.etag.as_deref()).await?;
        let is_signed_anew = self.pull_signature().await?;
        match answer {
            Answer::Same => self.is_same(asked_s).await,
            Answer::File { text, etag } => self.came(text, etag, asked_s).await,
        }?;
        if is_signed_anew {
            self.tell.try_send(()).ok();
        }
        Ok(())
    }

    /// The signature first, as where one is dropped: it may be what a text that is here already waits for. Says whether it is another.
    async fn pull_signature(&self) -> Result<bool, PullError> {
        let file = self.file.clone();
        let asks = off_task(move || Ok(config::asks_for_signature(&file))).await;
        if !asks.map_err(PullError::Kept)? {
            return Ok(false);
        }
        let signature = ask_signature(&self.settings).await;
        let signature = signature.map_err(|error| PullError::Unsigned(Box::new(error)))?;
        let shelf = self.shelf.clone();
        let written = off_task(move || {
            let is_other = cache::signature(shelf.directory()) != signature;
            if is_other {
                shelf.claim()?;
                cache::write_signature(shelf.directory(), &signature)?;
            }
            Ok(is_other)
        });
        written.await.map_err(PullError::Kept)
    }

    async fn is_same(&mut self, asked_s: u64) -> Result<(), PullError> {
        let often = NOTE_EVERY.max(self.settings.every).as_secs();
        if asked_s.abs_diff(self.pulled.asked_s) >= often {
            self.pulled.asked_s = asked_s;
            self.write(None).await?;
        }
        Ok(())
    }

    async fn came(
        &mut self,
        text: String,
        etag: Option<String>,
        asked_s: u64,
    ) -> Result<(), PullError> {
        let sha256 = sha256(&text);
        if sha256 == self.pulled.sha256 && etag == self.pulled.etag {
            return self.is_same(asked_s).await;
        }
        let before = std::mem::replace(
            &mut self.pulled,
            Pulled {
                url: self.settings.written.clone(),
                etag,
                sha256,
                asked_s,
            },
        );
        if let Err(error) = self.write(Some(text)).await {
            // So that it is asked for again.
            self.pulled = before;
            return Err(error);
        }
        self.known.clone_from(&self.pulled.sha256);
        // Full: the last one is not looked at yet.
        self.tell.try_send(()).ok();
        Ok(())
    }

    async fn write(&self, text: Option<String>) -> Result<(), PullError> {
        let (shelf, pulled) = (self.shelf.clone(), self.pulled.clone());
        let written = off_task(move || {
            shelf.claim()?;
            cache::write(shelf.directory(), text.as_deref(), &pulled)
        });
        written.await.map_err(PullError::Kept)
    }

    /// Says it where it was not so.
    fn is_well(&self) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.take().is_some() {
            let host = &self.settings.url.authority;
            tracing::info!(host, "the configuration can be pulled again");
        }
    }

    /// The same; another reason is said as well.
    fn is_not(&self, error: &PullError, wait: Duration) {
        let error = error.to_string();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.as_ref() != Some(&error) {
            let host = &self.settings.url.authority;
            tracing::warn!(host, error, again_in = ?wait, "cannot pull the configuration; the gateway goes on with the one it has, no event is lost, and it is tried again");
            *failed = Some(error);
        }
    }
}

/// Since 1970, by the system's clock.
fn now() -> Duration {
    let micros = u64::try_from(read_clocks().wall_us).unwrap_or_default();
    Duration::from_micros(micros)
}
