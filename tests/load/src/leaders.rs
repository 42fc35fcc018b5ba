//! Who leads a topic's partitions, and since when.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::unix_us;

/// How exactly a change is timed.
const EVERY: Duration = Duration::from_millis(20);

/// Prints `seconds-since-1970 partition leader` at each change, for ever.
///
/// # Panics
/// When librdkafka does not take the brokers.
pub fn tell(brokers: &str, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let client: BaseConsumer = config.create().expect("settings are good");
    let mut known: HashMap<i32, i32> = HashMap::new();
    loop {
        let metadata = client.fetch_metadata(Some(topic), Duration::from_millis(500));
        let topics = metadata
            .iter()
            .flat_map(rdkafka::metadata::Metadata::topics);
        for partition in topics.flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            if known.insert(partition.id(), partition.leader()) != Some(partition.leader()) {
                let at = Duration::from_micros(unix_us()).as_secs_f64();
                #[expect(clippy::print_stdout, reason = "that is this command's output")]
                {
                    println!("{at:.3} {} {}", partition.id(), partition.leader());
                }
            }
        }
        client.poll(EVERY);
    }
}
