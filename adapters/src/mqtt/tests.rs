//! The source against a broker that does what it likes, over real sockets.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Mqtt, MqttSection, RETAINED, frame, properties};
use crate::{
    Clock, Context, Event, Intake, Outcome, Queues, SourceStats, Submission, Urge, queues,
};

/// A source under test, and the broker's end of its connection.
struct Rig {
    listener: TcpListener,
    queues: Queues<()>,
    stats: Arc<SourceStats>,
    stop: tokio::sync::watch::Sender<bool>,
    source: JoinHandle<()>,
}

impl Rig {
    async fn start(version: &str, state: &Path, filters: &[&str]) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let subscribe: Vec<_> = filters
            .iter()
            .map(|topic| json!({ "topic": topic }))
            .collect();
        let section: MqttSection = serde_json::from_value(json!({
            "name": "plant", "host": "127.0.0.1", "version": version,
            "port": listener.local_addr().unwrap().port(), "subscribe": subscribe,
        }))
        .unwrap();
        let context = Context {
            gateway: "gw-1",
            state,
            write: |path, bytes| {
                fs::create_dir_all(path.parent().unwrap())?;
                fs::write(path, bytes)
            },
            health: "health",
            unacked_bytes: 1 << 20,
            origin_bytes: 1 << 20,
            may_be_urgent: false,
            is_urgent: &|_| false,
        };
        let mqtt = Mqtt::new(&section, &context).unwrap();
        let (inlet, queues) = queues();
        let stats = Arc::<SourceStats>::default();
        let urge = Arc::<Urge>::default();
        let (intake, receipts) =
            Intake::new("plant", &inlet, urge, Clock::new(1), Arc::clone(&stats));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        Rig {
            listener,
            queues,
            stats,
            stop,
            source: tokio::spawn(mqtt.run(intake, receipts, stopped)),
        }
    }

    /// The next connection: lets it in, and grants what it asks for. Returns its SUBSCRIBE.
    async fn accept(&self, version: &str, session_present: bool) -> (Peer, Vec<u8>) {
        let mut peer = Peer(self.listener.accept().await.unwrap().0);
        let connect = peer.read().await;
        assert_eq!(connect[0], 0x10, "CONNECT");
        if version == "5" {
            allows_no_alias(&connect);
        }
        let present = u8::from(session_present);
        match version {
            "5" => peer.send(&[0x20, 3, present, 0, 0]).await,
            _ => peer.send(&[0x20, 2, present, 0]).await,
        }
        let subscribe = peer.read().await;
        assert_eq!(subscribe[0], 0x82);
        let id = [subscribe[2], subscribe[3]];
        match version {
            "5" => peer.send(&[0x90, 4, id[0], id[1], 0, 1]).await,
            _ => peer.send(&[0x90, 3, id[0], id[1], 1]).await,
        }
        (peer, subscribe)
    }

    /// The next event, which is kept.
    async fn event(&mut self) -> Event {
        let Submission { event, claim, .. } = self.submission().await;
        claim.resolve(Outcome::Kept);
        event
    }

    async fn submission(&mut self) -> Submission {
        self.queues.filled().await;
        let mut taken = None;
        self.queues.take(1, Instant::now(), |submission| {
            taken = Some(submission);
            Ok(())
        });
        taken.expect("there is one")
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        drop(self.queues);
        self.source.await.unwrap();
    }
}

/// Without a Topic Alias Maximum it is 0: the broker sends each topic as it is (MQTT 5 section 3.1.2.11.5).
fn allows_no_alias(connect: &[u8]) {
    let mut rest = Bytes::copy_from_slice(&connect[12..]);
    let mut said = frame::properties(&mut rest).unwrap();
    let said = std::iter::from_fn(|| properties::next(&mut said).unwrap());
    let said: Vec<u8> = said.map(|(identifier, _)| identifier).collect();
    assert_eq!(said, [0x11, 0x21], "session expiry and window, no more");
}

struct Peer(TcpStream);

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// A packet of less than 128 bytes.
    async fn read(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 2];
        self.0.read_exact(&mut packet).await.unwrap();
        assert!(packet[1] < 128, "it is short");
        packet.resize(2 + usize::from(packet[1]), 0);
        self.0.read_exact(&mut packet[2..]).await.unwrap();
        packet
    }

    /// A PUBLISH of QoS 1.
    async fn publish(&mut self, version: &str, retain: bool, id: u8, topic: &str, payload: &[u8]) {
        let properties: &[u8] = if version == "5" { &[0] } else { &[] };
        let topic_bytes = u8::try_from(topic.len()).unwrap();
        let body = [
            &[0, topic_bytes],
            topic.as_bytes(),
            &[0, id],
            properties,
            payload,
        ]
        .concat();
        let digit = |place: usize| u8::try_from(body.len() >> (7 * place) & 0x7f).unwrap();
        let first = 0x32 | u8::from(retain);
        let length = [digit(0) | 0x80, digit(1) | 0x80, digit(2) | 0x80, digit(3)];
        self.send(&[&[first], &length[..], &body].concat()).await;
    }
}

#[tokio::test]
async fn a_message_of_five_megabytes_is_acknowledged_and_dropped_by_its_lane_and_what_is_behind_it_comes()
 {
    for version in ["3.1.1", "5"] {
        let state = tempfile::tempdir().unwrap();
        let mut rig = Rig::start(version, state.path(), &["plant/#"]).await;
        let (mut peer, _) = rig.accept(version, false).await;
        peer.publish(version, false, 1, "plant/a", &vec![b'x'; 5_000_000])
            .await;
        peer.publish(version, false, 2, "plant/b", b"small").await;
        let large = rig.event().await;
        assert_eq!(large.origin.subject, "plant/a");
        assert!(large.payload.len() > 1_000_000, "no lane takes it");
        let small = rig.event().await;
        assert_eq!(&small.payload[..], b"small");
        for id in [1, 2] {
            assert_eq!(peer.read().await, [0x40, 2, 0, id]);
        }
        rig.stop().await;
    }
}

/// Answers a SUBSCRIBE or an UNSUBSCRIBE of MQTT 3.1.1, and says how many filters it had.
async fn answer_filters(peer: &mut Peer) -> usize {
    let asked = peer.read().await;
    let is_subscribe = asked[0] == 0x82;
    let (mut rest, mut count) = (&asked[4..], 0_u8);
    while let [high, low, ..] = rest {
        let end = 2 + usize::from(u16::from_be_bytes([*high, *low])) + usize::from(is_subscribe);
        (rest, count) = (&rest[end..], count + 1);
    }
    let codes = vec![1; if is_subscribe { count.into() } else { 0 }];
    let length = 2 + u8::try_from(codes.len()).unwrap();
    let kind = if is_subscribe { 0x90 } else { 0xb0 };
    let head = [kind, length, asked[2], asked[3]];
    peer.send(&[&head[..], &codes].concat()).await;
    count.into()
}

#[tokio::test]
async fn a_broker_that_takes_eight_filters_at_once_is_never_sent_more() {
    let state = tempfile::tempdir().unwrap();
    let filters: Vec<String> = (0..20).map(|number| format!("a/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    for (filters, present, expected) in [
        (&filters[..], 0, &[8, 8, 4][..]),
        (&["b"], 1, &[1, 8, 8, 4]),
    ] {
        let rig = Rig::start("3.1.1", state.path(), filters).await;
        let mut peer = Peer(rig.listener.accept().await.unwrap().0);
        peer.read().await;
        peer.send(&[0x20, 2, present, 0]).await;
        for count in expected {
            assert_eq!(answer_filters(&mut peer).await, *count);
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_filter_that_is_taken_out_of_the_configuration_is_unsubscribed() {
    for version in ["3.1.1", "5"] {
        let state = tempfile::tempdir().unwrap();
        let rig = Rig::start(version, state.path(), &["a/+"]).await;
        rig.accept(version, false).await;
        rig.stop().await;
        for unsubacks in [false, true] {
            let rig = Rig::start(version, state.path(), &["b/+"]).await;
            let (mut peer, _) = rig.accept(version, true).await;
            let unsubscribe = peer.read().await;
            assert_eq!(unsubscribe[0], 0xa2);
            assert!(unsubscribe.ends_with(b"\x00\x03a/+"), "{unsubscribe:x?}");
            if unsubacks {
                let id = &unsubscribe[2..4];
                match version {
                    "5" => peer.send(&[&[0xb0, 4], id, &[0, 0]].concat()).await,
                    _ => peer.send(&[&[0xb0, 2], id].concat()).await,
                }
                let file = state.path().join("mqtt/plant.filters");
                while fs::read(&file).unwrap() != b"[\"b/+\"]" {
                    tokio::task::yield_now().await;
                }
            }
            rig.stop().await;
        }
        let rig = Rig::start(version, state.path(), &["b/+"]).await;
        let (mut peer, _) = rig.accept(version, true).await;
        let stopping = tokio::spawn(rig.stop());
        assert_eq!(peer.read().await[0], 0xe0, "DISCONNECT, and nothing else");
        stopping.await.unwrap();
    }
}

#[tokio::test]
async fn a_retained_message_comes_once_over_connections_and_restarts_and_never_after_a_newer_one() {
    for version in ["3.1.1", "5"] {
        let state = tempfile::tempdir().unwrap();
        let mut rig = Rig::start(version, state.path(), &["a/#"]).await;
        for connection in 1..=3 {
            let (mut peer, subscribe) = rig.accept(version, connection > 1).await;
            if version == "5" {
                assert_eq!(subscribe.last(), Some(&0x01), "Retain Handling 0");
            }
            peer.publish(version, true, 1, "a/1", b"kept").await;
            if connection == 1 {
                let event = rig.event().await;
                assert_eq!(event.origin.tags[RETAINED], "true");
                assert_eq!(&event.payload[..], b"kept");
            }
            assert_eq!(peer.read().await, [0x40, 2, 0, 1], "acknowledged");
            let live = format!("live {connection}");
            peer.publish(version, false, 2, "a/2", live.as_bytes())
                .await;
            peer.publish(version, true, 3, "a/2", b"old").await;
            let event = rig.event().await;
            assert_eq!(event.payload, live);
            assert!(!event.origin.tags.contains_key(RETAINED));
            for id in [2, 3] {
                assert_eq!(peer.read().await, [0x40, 2, 0, id]);
            }
            if connection == 2 {
                rig.stop().await;
                rig = Rig::start(version, state.path(), &["a/#"]).await;
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_no_filter_matches_is_taken_and_counted() {
    let state = tempfile::tempdir().unwrap();
    let mut rig = Rig::start("5", state.path(), &["$share/gw/a/{device}"]).await;
    let (mut peer, subscribe) = rig.accept("5", false).await;
    assert!(subscribe.ends_with(b"$share/gw/a/+\x01"), "{subscribe:x?}");
    peer.publish("5", false, 1, "a/press-3", b"1").await;
    assert_eq!(rig.event().await.origin.device, "press-3");
    assert_eq!(rig.stats.errors.load(Ordering::Relaxed), 0);
    peer.publish("5", false, 2, "b/press-3", b"2").await;
    let event = rig.event().await;
    assert_eq!(event.origin.tags["tg-unmatched"], "true");
    assert_eq!(rig.stats.errors.load(Ordering::Relaxed), 1);
    rig.stop().await;
}

/// A broker that goes on sending while we stop: with a reset in place of an end it would lose the last acknowledgements.
#[tokio::test]
async fn a_stop_beside_messages_that_are_not_read_leaves_the_broker_every_acknowledgement() {
    for version in ["3.1.1", "5"] {
        let state = tempfile::tempdir().unwrap();
        let mut rig = Rig::start(version, state.path(), &["a/#"]).await;
        let (mut peer, _) = rig.accept(version, false).await;
        peer.publish(version, false, 1, "a/1", b"1").await;
        let claim = rig.submission().await.claim;
        rig.stop.send_replace(true);
        tokio::task::yield_now().await;
        for id in 2..40 {
            peer.publish(version, false, id, "a/1", b"later").await;
        }
        claim.resolve(Outcome::Kept);
        assert_eq!(peer.read().await, [0x40, 2, 0, 1]);
        assert_eq!(peer.read().await[0], 0xe0, "DISCONNECT");
        let mut rest = Vec::new();
        let ended = peer.0.read_to_end(&mut rest).await;
        assert_eq!(ended.expect("an end, not a reset"), 0, "{rest:x?}");
        rig.stop().await;
    }
}
