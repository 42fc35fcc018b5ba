//! Producers that end beside the agent's task.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::BaseProducer;

use super::UplinkError;
use super::callbacks::{Context, Inbox};

/// Producers that are ending.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// Waits until no producer is ending any more, `most` at most: a process must not end under their threads.
pub(crate) fn wait_for_ends(most: Duration) {
    let until = Instant::now() + most;
    while ENDING.load(Ordering::Acquire) > 0 && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A producer that ends on a thread of its own: that takes up to seconds, more where names are not resolved.
pub(super) struct Owned(Option<Arc<BaseProducer<Context>>>);

impl Owned {
    /// Begins one, and says where it puts what it has to say.
    pub(super) fn begin(
        config: &ClientConfig,
        number: usize,
    ) -> Result<(Owned, Arc<Inbox>), UplinkError> {
        let inbox = Arc::new(Inbox::default());
        let producer = config.create_with_context(Context::new(number, &inbox));
        let producer = producer.map_err(UplinkError::Settings)?;
        Ok((Owned(Some(Arc::new(producer))), inbox))
    }

    /// For a question to the cluster.
    pub(super) fn share(&self) -> Option<Arc<BaseProducer<Context>>> {
        self.0.clone()
    }
}

impl Deref for Owned {
    type Target = BaseProducer<Context>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let producer = self.0.take();
        ENDING.fetch_add(1, Ordering::AcqRel);
        let end = move || {
            drop(producer);
            ENDING.fetch_sub(1, Ordering::AcqRel);
        };
        let ending = std::thread::Builder::new().name("kafka-end".into());
        if let Err(error) = ending.spawn(end) {
            // With the closure the producer was dropped here.
            ENDING.fetch_sub(1, Ordering::AcqRel);
            tracing::debug!(%error, "no thread to end a kafka producer on; it was ended here");
        }
    }
}
