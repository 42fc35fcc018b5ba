//! What librdkafka gets through a link by itself, to compare with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::Numbered;

#[derive(Default)]
struct Delivered(AtomicU64);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0
            .fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

/// Sends events of `size` bytes as fast as they go for `time`, after as long a start, and returns how many were
/// delivered a second.
///
/// # Panics
/// When librdkafka does not take the settings.
#[must_use]
pub fn produce(brokers: &str, topic: &str, size: usize, time: Duration) -> f64 {
    let producer: BaseProducer<Delivered> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.codec", "zstd")
        .set("queue.buffering.max.kbytes", "4096")
        .create_with_context(Delivered::default())
        .expect("settings are good");
    let (begun, mut number) = (Instant::now(), 0);
    let delivered = || producer.context().0.load(Ordering::Relaxed);
    let mut until = |end: Instant| {
        while Instant::now() < end {
            let payload =
                serde_json::to_vec(&Numbered::new(number, size, true)).expect("numbers are JSON");
            let key = format!("d{}", number % 50);
            let record = BaseRecord::to(topic).key(&key).payload(&payload);
            number += u64::from(producer.send(record).is_ok());
            producer.poll(Duration::from_millis(
                u64::from(producer.in_flight_count() > 2000) * 5,
            ));
        }
        delivered()
    };
    let before = until(begun + time);
    let after = until(begun + 2 * time);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 events")]
    let count = (after - before) as f64;
    count / time.as_secs_f64()
}
