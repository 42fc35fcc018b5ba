//! MQTT 3.1.1. rumqttc connects and codes packets; the loop is ours.
//!
//! rumqttc's own loop takes each acknowledgement through a channel and flushes it alone; here those
//! of a batch are written and flushed together, which costs a quarter of the CPU. Doing PUBREL here
//! also keeps a QoS 2 message that was in flight when we were killed from ending every connection
//! (rumqttc issue 664).

use futures_util::FutureExt;
use rumqttc::{
    Event, EventLoop, Incoming, MqttOptions, PubAck, PubComp, PubRec, Publish, QoS, Request,
    Subscribe, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::section::Settings;
use super::subscriptions::{Subscriptions, until};
use super::unacked::Unacked;
use super::{Ended, LAST_RECEIPTS, Lost, PATIENCE, Parts};
use crate::{Stop, stopped};

/// Larger packets end the connection. The record limit is far below; a message between the two is
/// acknowledged, dropped and counted.
const PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Packets taken in before acknowledgements are looked at again.
const BATCH: usize = 128;
/// Messages that may wait for their receipt, whatever the broker thinks: bounds memory.
const UNACKED_MAX: usize = 4096;

pub(super) async fn session(parts: &mut Parts<'_>, stop: &mut Stop) -> Ended {
    let mut eventloop = EventLoop::new(options(parts.settings), 1);
    let first = tokio::select! {
        event = eventloop.poll() => event.map_err(Lost::broken)?,
        () = stopped(stop) => return Err(Lost::Stopped),
    };
    let Event::Incoming(Incoming::ConnAck(connack)) = first else {
        return Err(Lost::Broken(format!("expected CONNACK, got {first:?}")));
    };
    if !connack.session_present {
        parts.session.begin();
    }
    let mut connection = Connection {
        eventloop,
        unacked: Unacked::new(parts.settings.window),
        subscriptions: Subscriptions::new(&parts.settings.filters),
        session_present: connack.session_present,
        pinged: None,
        parts,
    };
    connection.subscribe().await?;
    connection.run(stop).await
}

fn options(settings: &Settings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_clean_session(false);
    options.set_manual_acks(true);
    options.set_keep_alive(settings.keep_alive);
    options.set_max_packet_size(PACKET_BYTES_MAX, 64 * 1024);
    if let Some((user, password)) = &settings.credentials {
        options.set_credentials(user, password);
    }
    if let Some(tls) = &settings.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(
            tls.clone(),
        )));
    }
    options
}

struct Connection<'a, 'b> {
    eventloop: EventLoop,
    parts: &'a mut Parts<'b>,
    unacked: Unacked,
    subscriptions: Subscriptions,
    session_present: bool,
    /// When the ping that is not answered yet was sent.
    pinged: Option<Instant>,
}

impl Connection<'_, '_> {
    async fn run(&mut self, stop: &mut Stop) -> Ended {
        let keep_alive = self.parts.settings.keep_alive;
        let mut ping_at = Instant::now() + keep_alive;
        let mut stop_by: Option<Instant> = None;
        loop {
            let network = self.eventloop.network.as_mut().ok_or(Lost::Silent)?;
            let open = stop_by.is_none() && self.unacked.len() < UNACKED_MAX;
            let mut gather = false;
            tokio::select! {
                biased;
                () = stopped(stop), if stop_by.is_none() => stop_by = Some(Instant::now() + LAST_RECEIPTS),
                () = self.parts.receipts.changed() => {}
                packet = network.read(), if open => gather = self.take(packet.map_err(Lost::broken)?).await?,
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + keep_alive;
                    self.ping()?;
                }
                () = until(self.subscriptions.due()) => self.subscribe().await?,
                () = sleep_until(self.unacked.retry_at()) => return Err(Lost::Again),
                () = sleep_until(stop_by.unwrap_or(ping_at)), if stop_by.is_some() => return Err(Lost::Stopped),
            }
            self.acknowledge().await?;
            if stop_by.is_some() && self.unacked.is_empty() {
                return Err(Lost::Stopped);
            }
            if gather && self.unacked.is_gathering() {
                // A broker wakes us for each message; under load a pause lets some gather.
                sleep(Unacked::GATHER).await;
            }
        }
    }

    /// Takes in `packet` and all that is already here, up to a batch; says whether that was all.
    async fn take(&mut self, packet: Incoming) -> Result<bool, Lost> {
        let stamp = self.parts.intake.now();
        let mut next = Some(packet);
        let mut taken = 0;
        while let Some(packet) = next {
            match &packet {
                Incoming::Publish(publish) => self.publish(publish, stamp).await,
                Incoming::PubRel(release) => {
                    self.write(rumqttc::Packet::PubComp(PubComp::new(release.pkid)))
                        .await?;
                    self.flush().await?;
                }
                Incoming::SubAck(answer) => {
                    let codes = answer.return_codes.iter();
                    let granted = codes.map(|code| *code != SubscribeReasonCode::Failure);
                    if self.subscriptions.answer(granted, Instant::now()) {
                        (self.parts.up)(self.session_present);
                    }
                    self.subscriptions
                        .tell_refused(&self.parts.settings.name, &self.parts.intake.stats);
                }
                Incoming::PingResp => self.pinged = None,
                Incoming::Disconnect => {
                    return Err(Lost::Broken("the broker said DISCONNECT".into()));
                }
                Incoming::Connect(_)
                | Incoming::ConnAck(_)
                | Incoming::PubAck(_)
                | Incoming::PubRec(_)
                | Incoming::PubComp(_)
                | Incoming::Subscribe(_)
                | Incoming::Unsubscribe(_)
                | Incoming::UnsubAck(_)
                | Incoming::PingReq => {
                    return Err(Lost::Broken(format!("unexpected packet {packet:?}")));
                }
            }
            taken += 1;
            if taken >= BATCH {
                return Ok(false);
            }
            let network = self.eventloop.network.as_mut().ok_or(Lost::Silent)?;
            next = network
                .read()
                .now_or_never()
                .transpose()
                .map_err(Lost::broken)?;
        }
        self.unacked.arrived(taken);
        Ok(true)
    }

    async fn publish(&mut self, publish: &Publish, stamp: crate::Stamp) {
        let mark = (publish.qos != QoS::AtMostOnce).then(|| self.parts.session.mark(publish.pkid));
        let event =
            self.parts
                .source
                .event(publish.topic.as_bytes(), &publish.payload, mark, stamp);
        self.unacked.push(publish.pkid, publish.qos as u8);
        self.parts.intake.submit(event).await;
    }

    /// Acknowledges all that has its receipt, as one write.
    async fn acknowledge(&mut self) -> Result<(), Lost> {
        let network = self.eventloop.network.as_mut().ok_or(Lost::Silent)?;
        let (receipts, unacked) = (&mut *self.parts.receipts, &mut self.unacked);
        let stats = &self.parts.intake.stats;
        let written = timeout(PATIENCE, async {
            let mut wrote = false;
            while let Some(outcome) = receipts.ready() {
                let packet = match unacked.settle(outcome, stats) {
                    None => continue,
                    Some((packet_id, 2)) => rumqttc::Packet::PubRec(PubRec::new(packet_id)),
                    Some((packet_id, _)) => rumqttc::Packet::PubAck(PubAck::new(packet_id)),
                };
                network.write(packet).await?;
                wrote = true;
            }
            if wrote { network.flush().await } else { Ok(()) }
        });
        written
            .await
            .map_err(|_| Lost::Silent)?
            .map_err(Lost::broken)?;
        if self.unacked.is_full() {
            self.parts.intake.urge();
        }
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), Lost> {
        let asked = self.subscriptions.ask(Instant::now());
        let filters = asked.iter().map(|(filter, level)| {
            let qos =
                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].get(usize::from(*level));
            SubscribeFilter::new(filter.clone(), qos.copied().unwrap_or(QoS::AtLeastOnce))
        });
        let request = Request::Subscribe(Subscribe::new_many(filters));
        let packet = self
            .eventloop
            .state
            .handle_outgoing_packet(request)
            .map_err(Lost::broken)?;
        self.write(packet.ok_or(Lost::Silent)?).await?;
        self.flush().await
    }

    /// Sends a ping; an earlier one without an answer means that the connection has stalled.
    fn ping(&mut self) -> Result<(), Lost> {
        if self.pinged.is_some() {
            return Err(Lost::Silent);
        }
        self.pinged = Some(Instant::now());
        let network = self.eventloop.network.as_mut().ok_or(Lost::Silent)?;
        let sent = async {
            network.write(rumqttc::Packet::PingReq).await?;
            network.flush().await
        };
        sent.now_or_never().unwrap_or(Ok(())).map_err(Lost::broken)
    }

    async fn write(&mut self, packet: rumqttc::Packet) -> Result<(), Lost> {
        let network = self.eventloop.network.as_mut().ok_or(Lost::Silent)?;
        timeout(PATIENCE, network.write(packet))
            .await
            .map_err(|_| Lost::Silent)?
            .map_err(Lost::broken)
    }

    async fn flush(&mut self) -> Result<(), Lost> {
        let network = self.eventloop.network.as_mut().ok_or(Lost::Silent)?;
        timeout(PATIENCE, network.flush())
            .await
            .map_err(|_| Lost::Silent)?
            .map_err(Lost::broken)
    }
}
