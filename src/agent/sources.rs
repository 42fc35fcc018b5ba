//! The sources that run, each with a handle of its own: it can be stopped alone, and its end is seen.

use std::sync::Arc;

use adapters::{Clock, Inlet, Intake, Source, SourceStats, Urge};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

pub(super) struct Sources {
    running: Vec<Running>,
    tasks: JoinSet<()>,
    inlet: Inlet,
    urge: Arc<Urge>,
    clock: Clock,
}

pub(super) struct Running {
    pub(super) name: String,
    pub(super) stats: Arc<SourceStats>,
    stop: watch::Sender<bool>,
    task: Id,
}

impl Sources {
    pub(super) fn new(inlet: Inlet, urge: Arc<Urge>, clock: Clock) -> Sources {
        Sources {
            running: Vec::new(),
            tasks: JoinSet::new(),
            inlet,
            urge,
            clock,
        }
    }

    pub(super) fn start(&mut self, source: Source) {
        let urge = Arc::clone(&self.urge);
        let (intake, receipts) = Intake::new(source.name(), &self.inlet, urge, self.clock);
        let (name, stats) = (source.name().to_owned(), Arc::clone(&intake.stats));
        let (stop, stopped) = watch::channel(false);
        let task = self
            .tasks
            .spawn_local(source.run(intake, receipts, stopped))
            .id();
        self.running.push(Running {
            name,
            stats,
            stop,
            task,
        });
    }

    /// Has all of them take nothing new, wait for the receipts that they still need, and end.
    pub(super) fn stop(&self) {
        for running in &self.running {
            running.stop.send_replace(true);
        }
    }

    /// Lets go of those that have ended, and says which ended badly. Returns whether all have.
    pub(super) fn reap(&mut self) -> bool {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            };
            let one = self.running.iter().find(|running| running.task == id);
            let name = one.map_or("", |running| running.name.as_str());
            let stopping = one.is_none_or(|running| *running.stop.borrow());
            match ended {
                Ok(_) if stopping => {}
                Ok(_) => {
                    tracing::error!(
                        source = name,
                        "a source has ended by itself; restart the agent"
                    );
                }
                Err(error) => {
                    tracing::error!(source = name, %error, "a source ended badly; what it had not acknowledged stays with it");
                }
            }
        }
        self.tasks.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Running> {
        self.running.iter()
    }
}
