//! Numbered events over MQTT; done when the broker has acknowledged all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, QoS};

use crate::Numbered;

#[derive(Debug, Clone)]
pub struct Publish {
    pub port: u16,
    /// `{d}` is the device: the event's number modulo `devices`.
    pub topic: String,
    pub devices: u64,
    pub numbers: std::ops::Range<u64>,
    /// Events a second; 0 as fast as it goes.
    pub rate: u32,
    pub size: usize,
    pub qos: u8,
    /// Fill with what does not compress.
    pub noise: bool,
}

/// Tells the clients of one process apart.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// Publishes, and returns when every message of QoS 1 or 2 is acknowledged.
///
/// # Panics
/// When the broker is lost: a test's broker is not meant to go away.
pub async fn publish(job: Publish) {
    let mut options = MqttOptions::new(
        format!(
            "load-{}-{}",
            std::process::id(),
            CLIENTS.fetch_add(1, Ordering::Relaxed)
        ),
        "127.0.0.1",
        job.port,
    );
    options
        .set_inflight(1000)
        .set_keep_alive(Duration::from_mins(1))
        .set_max_packet_size(1 << 20, 8 << 20);
    let (client, mut eventloop) = AsyncClient::new(options, 1000);
    // An event's time begins when its source could send it.
    while !matches!(
        eventloop.poll().await.expect("the broker is there"),
        Event::Incoming(Incoming::ConnAck(_))
    ) {}
    let count = job.numbers.end - job.numbers.start;
    let settled = acknowledged(eventloop, count, job.qos);
    let send = async {
        let begun = Instant::now();
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(job.qos)];
        for number in job.numbers.clone() {
            if job.rate > 0 {
                let due = Duration::from_micros(
                    (number - job.numbers.start) * 1_000_000 / u64::from(job.rate),
                );
                if due > begun.elapsed() + Duration::from_millis(1) {
                    tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
                }
            }
            let topic = job
                .topic
                .replace("{d}", &format!("d{}", number % job.devices));
            let payload = serde_json::to_vec(&Numbered::new(number, job.size, job.noise))
                .expect("numbers are JSON");
            client
                .publish(topic, qos, false, payload)
                .await
                .expect("the event loop runs");
        }
    };
    tokio::join!(send, settled);
}

async fn acknowledged(mut eventloop: EventLoop, count: u64, qos: u8) {
    let mut done = 0;
    while done < count {
        match eventloop.poll().await.expect("the broker is there") {
            Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) => done += 1,
            Event::Outgoing(rumqttc::Outgoing::Publish(_)) if qos == 0 => done += 1,
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}
