//! MQTT 5, by rumqttc's own loop: the broker learns our window (`receive_maximum`) from us.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;

use futures_util::FutureExt;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Filter, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::section::Settings;
use super::session::SessionFile;
use super::source::Source;
use super::subscriptions::Subscriptions;
use super::unacked::Unacked;
use super::{Ended, LAST_RECEIPTS, Lost, Parts};
use crate::{Intake, Receipts, Stop, stopped};

/// The broker drops larger messages instead of sending them (MQTT 5 section 3.1.2.11.4).
const PACKET_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Requests besides acknowledgements that may wait in rumqttc's channel.
const SPARE_REQUESTS: usize = 64;

pub(super) async fn session(parts: &mut Parts<'_>, stop: &mut Stop) -> Ended {
    let settings = parts.settings;
    let (client, mut eventloop) = AsyncClient::new(
        options(settings),
        usize::from(settings.window) + SPARE_REQUESTS,
    );
    if let Some(around) = *parts.unknown_release {
        expect_releases(&mut eventloop, around, settings.window)?;
    }
    let unacked = RefCell::new(Unacked::new(settings.window));
    let subscriptions = RefCell::new(Subscriptions::new(&settings.filters));
    let mut incoming = Incoming {
        eventloop,
        client: &client,
        settings,
        source: parts.source,
        session: parts.session,
        intake: parts.intake,
        unacked: &unacked,
        subscriptions: &subscriptions,
        up: parts.up,
        session_present: false,
    };
    // Neither side is cancelled before the connection's end: rumqttc's `poll` must not be.
    let outcome = tokio::select! {
        ended = incoming.run() => ended,
        ended = acknowledge(&client, parts.receipts, parts.intake, &unacked) => ended,
        ended = finish(stop, &unacked) => ended,
        ended = connect_anew(&unacked) => ended,
        ended = subscribe_again(&client, &subscriptions) => ended,
    };
    if matches!(outcome, Err(Lost::Stopped)) {
        // Lets the last acknowledgements out; the broker repeats what is not acknowledged.
        let flushed = timeout(std::time::Duration::from_millis(200), async {
            loop {
                if incoming.eventloop.poll().await.is_err() {
                    return;
                }
            }
        });
        if client.try_disconnect().is_ok() && flushed.await.is_err() {
            tracing::debug!(source = %settings.name, "the broker did not close the connection in time");
        }
    }
    if let Err(Lost::Unknown(id)) = outcome {
        *parts.unknown_release = Some(id);
    }
    outcome
}

fn options(settings: &Settings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_clean_start(false);
    options.set_manual_acks(true);
    options.set_keep_alive(settings.keep_alive);
    options.set_outgoing_inflight_upper_limit(100);
    options.set_connect_properties(ConnectProperties {
        session_expiry_interval: Some(settings.session_expiry),
        receive_maximum: Some(settings.window),
        max_packet_size: Some(PACKET_BYTES_MAX),
        ..ConnectProperties::new()
    });
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

struct Incoming<'a> {
    eventloop: EventLoop,
    client: &'a AsyncClient,
    settings: &'a Settings,
    source: &'a mut Source,
    session: &'a mut SessionFile,
    intake: &'a Intake,
    unacked: &'a RefCell<Unacked>,
    subscriptions: &'a RefCell<Subscriptions>,
    up: &'a dyn Fn(bool),
    session_present: bool,
}

impl Incoming<'_> {
    async fn run(&mut self) -> Ended {
        let mut batch = 0;
        loop {
            self.room().await;
            let event = next_event(&mut self.eventloop, &mut batch).await;
            match event.map_err(lost)? {
                // Not from the broker, see `expect_releases`.
                Event::Incoming(Packet::Publish(publish)) if publish.topic.is_empty() => {}
                Event::Incoming(Packet::Publish(publish)) => {
                    batch += 1;
                    self.publish(&publish).await;
                }
                Event::Incoming(Packet::ConnAck(connack)) => {
                    self.session_present = connack.session_present;
                    if !connack.session_present {
                        self.session.begin();
                    }
                    subscribe(self.client, self.subscriptions)?;
                }
                Event::Incoming(Packet::SubAck(answer)) => self.subscribed(&answer.return_codes),
                Event::Incoming(Packet::Disconnect(bye)) => {
                    return Err(Lost::Broken(format!(
                        "the broker said DISCONNECT: {:?}",
                        bye.reason_code
                    )));
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    }

    /// mosquitto sends more than the window where acknowledgements come late (seen with 2.0.11). What is beyond it stays in the
    /// socket until there are receipts, but not for so long that a ping comes late.
    async fn room(&self) {
        let window = usize::from(self.settings.window);
        let until = Instant::now() + self.settings.keep_alive / 4;
        while self.unacked.borrow().len() > window && Instant::now() < until {
            sleep(Unacked::GATHER).await;
        }
    }

    async fn publish(&mut self, publish: &Publish) {
        let mark = (publish.qos != QoS::AtMostOnce).then(|| self.session.mark(publish.pkid));
        let event = self
            .source
            .event(&publish.topic, &publish.payload, mark, self.intake.now());
        self.unacked
            .borrow_mut()
            .push(publish.pkid, publish.qos as u8);
        self.intake.submit(event).await;
        if self.unacked.borrow().is_full() {
            self.intake.urge();
        }
    }

    fn subscribed(&self, codes: &[SubscribeReasonCode]) {
        let granted = codes
            .iter()
            .map(|code| matches!(code, SubscribeReasonCode::Success(_)));
        let mut subscriptions = self.subscriptions.borrow_mut();
        if subscriptions.answer(granted, Instant::now()) {
            (self.up)(self.session_present);
        }
        subscriptions.tell_refused(&self.settings.name, &self.intake.stats);
    }
}

/// rumqttc's next event; `batch` counts messages since the last pause.
async fn next_event(
    eventloop: &mut EventLoop,
    batch: &mut usize,
) -> Result<Event, ConnectionError> {
    let mut poll = pin!(eventloop.poll());
    if let Some(event) = poll.as_mut().now_or_never() {
        return event;
    }
    // A broker wakes us for each message; under load a pause lets some gather.
    if *batch > 1 {
        sleep(Unacked::GATHER).await;
    }
    *batch = 0;
    poll.await
}

/// Makes rumqttc expect the release of QoS 2 messages that we took before we were killed; it ends
/// every connection on one that it does not know (rumqttc issue 664).
fn expect_releases(eventloop: &mut EventLoop, around: u16, window: u16) -> Result<(), Lost> {
    for distance in 0..=window.saturating_mul(2) {
        let pkid = around.wrapping_sub(window).wrapping_add(distance).max(1);
        let taken = Publish {
            pkid,
            qos: QoS::ExactlyOnce,
            ..Publish::default()
        };
        eventloop
            .state
            .handle_incoming_packet(Packet::Publish(taken))
            .map_err(Lost::broken)?;
    }
    Ok(())
}

async fn acknowledge(
    client: &AsyncClient,
    receipts: &mut Receipts,
    intake: &Intake,
    unacked: &RefCell<Unacked>,
) -> Ended {
    // Receipts are heard also while rumqttc is busy with what the broker sends and takes no acknowledgements.
    let mut settled = VecDeque::new();
    loop {
        tokio::select! {
            outcome = receipts.next() => {
                let message = unacked.borrow_mut().settle(outcome, &intake.stats);
                settled.extend(message.map(taken));
            }
            () = sleep(Unacked::GATHER), if !settled.is_empty() => {}
        }
        // One that fails otherwise ends the connection elsewhere.
        while settled
            .front()
            .is_some_and(|message| client.try_ack(message).is_ok())
        {
            settled.pop_front();
        }
    }
}

/// As much of a message as its acknowledgement needs.
fn taken((pkid, qos): (u16, u8)) -> Publish {
    let qos = if qos == 2 {
        QoS::ExactlyOnce
    } else {
        QoS::AtLeastOnce
    };
    Publish {
        pkid,
        qos,
        ..Publish::default()
    }
}

/// After a stop: waits for the receipts that are still to come.
async fn finish(stop: &mut Stop, unacked: &RefCell<Unacked>) -> Ended {
    stopped(stop).await;
    let stop_by = Instant::now() + LAST_RECEIPTS;
    while !unacked.borrow().is_empty() && Instant::now() < stop_by {
        sleep(Unacked::GATHER).await;
    }
    Err(Lost::Stopped)
}

fn subscribe(client: &AsyncClient, subscriptions: &RefCell<Subscriptions>) -> Result<(), Lost> {
    let mut subscriptions = subscriptions.borrow_mut();
    let filters = subscriptions.ask(Instant::now()).iter();
    let filters = filters.map(|(filter, level)| {
        let qos = rumqttc::v5::mqttbytes::qos(*level).unwrap_or(QoS::AtLeastOnce);
        Filter::new(filter.clone(), qos)
    });
    client.try_subscribe_many(filters).map_err(Lost::broken)
}

/// Asks again for what was refused or not answered.
async fn subscribe_again(client: &AsyncClient, subscriptions: &RefCell<Subscriptions>) -> Ended {
    loop {
        when_due(|| subscriptions.borrow().due()).await;
        subscribe(client, subscriptions)?;
    }
}

async fn connect_anew(unacked: &RefCell<Unacked>) -> Ended {
    when_due(|| Some(unacked.borrow().retry_at())).await;
    Err(Lost::Again)
}

/// Waits until `due`, which is looked at now and then, for what sets it comes later.
async fn when_due(due: impl Fn() -> Option<Instant>) {
    const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
    while due().is_none_or(|due| due > Instant::now()) {
        let look = Instant::now() + LOOK;
        sleep_until(due().unwrap_or(look).min(look)).await;
    }
}

fn lost(error: ConnectionError) -> Lost {
    if let ConnectionError::MqttState(StateError::Unsolicited(id)) = error {
        return Lost::Unknown(id);
    }
    Lost::broken(error)
}
