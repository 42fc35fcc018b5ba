//! An agent as tests want it: it takes what comes, or refuses some of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use tokio::task::JoinHandle;

use crate::{Clock, Intake, Outcome, Receipts, Refused, SourceStats, Urge, queues};

#[derive(Debug, Clone, Default)]
pub(super) struct Agent {
    /// Payloads that were kept, with their marks.
    pub(super) seen: Arc<Mutex<Vec<(String, u64)>>>,
    /// Whether a third of all events is refused.
    pub(super) refuses: Arc<AtomicBool>,
    /// How many were.
    pub(super) refused: Arc<AtomicU64>,
}

impl Agent {
    /// A source's way in, and who takes what comes in.
    pub(super) fn run(&self) -> (Intake, Receipts, JoinHandle<()>) {
        let (inlet, mut queues) = queues::<()>();
        let stats = Arc::new(SourceStats::default());
        let urge = Arc::new(Urge::default());
        let (intake, receipts) = Intake::new("f", &inlet, urge, Clock::new(1), stats);
        let agent = self.clone();
        let taking = tokio::spawn(async move {
            loop {
                queues.filled().await;
                queues.take(64, std::time::Instant::now(), |submission| {
                    submission.claim.resolve(agent.outcome(&submission.event));
                    Ok(())
                });
            }
        });
        (intake, receipts, taking)
    }

    fn outcome(&self, event: &crate::Event) -> Outcome {
        if self.refuses.load(Ordering::Relaxed) && event.mark.is_multiple_of(3) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Outcome::Refused(Refused::Full);
        }
        let text = String::from_utf8(event.payload.to_vec()).unwrap();
        self.seen.lock().unwrap().push((text, event.mark));
        Outcome::Kept
    }

    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A small file, whole or not at all.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    fs::create_dir_all(path.parent().unwrap())?;
    let new = path.with_extension(number.to_string());
    fs::write(&new, content)?;
    fs::rename(new, path)
}
