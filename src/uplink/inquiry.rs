//! Asking the cluster about topics that take nothing: its answer says why, and shows that a broker answers.
//!
//! It is asked on threads of their own, since librdkafka waits for the answer, through another connection than the one that
//! the topic is on, since a broker works off one request of a connection after the other, so that a record which waits there
//! for a replica holds up the question; and through its own, which may be let in where the other is not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::metadata::{Metadata, MetadataPartition};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaRespErr;

use super::callbacks::{self, Context, lock};

/// How long the cluster may take for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Topics asked about at once.
pub(super) const TOPICS_MAX: usize = 8;

/// What the cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can be written, as far as the cluster knows; these brokers lead its partitions.
    Writable(Vec<i32>),
    /// It cannot, for this reason.
    Sick(String),
    /// The same, and it is no matter of brokers: it is not there, or may not be written.
    Refused(String),
}

#[derive(Debug, Default)]
pub(super) struct Inquiries {
    answers: Arc<Mutex<Vec<(String, Standing)>>>,
    /// What is to be said where the cluster was found to be another one.
    other: Arc<Mutex<Option<String>>>,
    /// Through another connection than a topic's own, and through its own.
    asking: [Arc<AtomicBool>; 2],
}

impl Inquiries {
    /// Asks about `topics`, unless that is still being asked; through the `own` connection of one of them, or another.
    pub(super) fn ask(
        &self,
        through: Arc<BaseProducer<Context>>,
        own: bool,
        mut topics: Vec<String>,
    ) {
        topics.truncate(TOPICS_MAX);
        let answers = Arc::clone(&self.answers);
        self.beside(own, move || {
            for topic in topics {
                match through.client().fetch_metadata(Some(&topic), PATIENCE) {
                    Ok(metadata) => {
                        let standing = standing(&topic, &metadata);
                        lock(&answers).push((topic, standing));
                    }
                    Err(error) => {
                        tracing::debug!(topic, %error, "the cluster does not say how a topic is");
                        break;
                    }
                }
            }
        });
    }

    /// Asks the cluster for its id, and compares it with the one that `file` remembers.
    /// librdkafka remembers the id that came with the last metadata, so that those of a topic of ours are asked for before.
    pub(super) fn identify(
        &self,
        through: Arc<BaseProducer<Context>>,
        topic: Option<String>,
        file: PathBuf,
    ) {
        let other = Arc::clone(&self.other);
        self.beside(false, move || {
            let client = through.client();
            if let Some(topic) = topic
                && let Err(error) = client.fetch_metadata(Some(&topic), PATIENCE)
            {
                tracing::debug!(topic, %error, "the cluster does not say which one it is");
                return;
            }
            if let Some(id) = client.fetch_cluster_id(PATIENCE)
                && let Some(before) = compare(&file, &id)
            {
                *lock(&other) = Some(format!("it is {id}, and was {before}"));
            }
        });
    }

    /// Which cluster it is and was, where that changed since the start.
    pub(super) fn other(&self) -> Option<String> {
        lock(&self.other).clone()
    }

    /// Does `ask` on a thread of its own, unless one is at it.
    fn beside(&self, own: bool, ask: impl FnOnce() + Send + 'static) {
        let asking = Arc::clone(&self.asking[usize::from(own)]);
        if asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let undone = Arc::clone(&asking);
        let asker = std::thread::Builder::new().name("kafka-ask".into());
        let spawned = asker.spawn(move || {
            ask();
            asking.store(false, Ordering::Release);
        });
        if let Err(error) = spawned {
            undone.store(false, Ordering::Release);
            tracing::debug!(%error, "no thread to ask the cluster on");
        }
    }

    pub(super) fn take(&self) -> Vec<(String, Standing)> {
        std::mem::take(&mut *lock(&self.answers))
    }
}

/// Says so where the cluster is another one than before: what the other had acknowledged is not there.
/// Returns which one it was.
fn compare(file: &Path, id: &str) -> Option<String> {
    let before = std::fs::read_to_string(file).unwrap_or_default();
    if before == id {
        return None;
    }
    let is_other = !before.is_empty();
    if is_other {
        tracing::error!(
            cluster = id,
            before,
            "the brokers belong to another cluster than before: what was delivered to the one before is only there; events go on to this one; check uplink.brokers and the names in it if that is not meant"
        );
    }
    if let Err(error) = buffer::write_whole(file, id.as_bytes()) {
        tracing::debug!(%error, path = %file.display(), "cannot remember the cluster's id");
    }
    is_other.then_some(before)
}

fn standing(topic: &str, metadata: &Metadata) -> Standing {
    let Some(said) = metadata.topics().iter().find(|one| one.name() == topic) else {
        return Standing::Refused("the cluster does not know it; create it".into());
    };
    if let Some(error) = said.error() {
        return refusal(error);
    }
    let partitions = said.partitions();
    let leaderless = partitions.iter().filter(|one| one.leader() < 0);
    let (all, without) = (partitions.len(), leaderless.count());
    if without > 0 {
        return Standing::Sick(format!(
            "{without} of its {all} partitions have no leader; start the brokers that hold its replicas"
        ));
    }
    let short = partitions
        .iter()
        .filter(|one| one.isr().len() < one.replicas().len());
    if let Some(one) = short.min_by_key(|one| one.isr().len()) {
        let (in_sync, replicas) = (one.isr().len(), one.replicas().len());
        return Standing::Sick(format!(
            "partition {} has {in_sync} of its {replicas} replicas in sync, which may be fewer than min.insync.replicas; start the brokers that hold the others",
            one.id()
        ));
    }
    let mut leaders: Vec<i32> = partitions.iter().map(MetadataPartition::leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    Standing::Writable(leaders)
}

fn refusal(error: RDKafkaRespErr) -> Standing {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let code = Code::from(error);
    let is = |some: &[Code]| some.contains(&code);
    if is(&[Code::UnknownTopicOrPartition, Code::UnknownTopic]) {
        return Standing::Refused("the cluster does not know it; create it".into());
    }
    if is(&[Code::TopicAuthorizationFailed]) {
        return Standing::Refused("it may not be written; grant the right to write".into());
    }
    if is(&[Code::LeaderNotAvailable]) {
        let why = "it has no leader; start the brokers that hold its replicas";
        return Standing::Sick(why.into());
    }
    Standing::Sick(callbacks::reason(code))
}
