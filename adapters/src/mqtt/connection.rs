//! One connection to a broker, until it is lost.
//!
//! PUBREL is always answered (MQTT 3.1.1 section 4.3.3): also for a QoS 2 message that was in flight when we were killed.

use futures_util::FutureExt;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::packet::{Message, Received, Sent};
use super::reason::{FAILURE, not_granted};
use super::repeats::Repeats;
use super::retained::Retained;
use super::section::Version;
use super::subscriptions::{AT_ONCE, Subscriptions, until};
use super::unacked::{Unacked, Unacknowledged, WaitsFor};
use super::wire::Wire;
use super::{Ended, LAST_RECEIPTS, Lost, PATIENCE, Parts};
use crate::{Outcome, Patience, Stamp, Stop, parted, stopped};

/// Packets taken in before acknowledgements are looked at again.
const BATCH: u16 = 128;
/// A broker wakes us for each message. Where more than one would come in so long, they gather for it and are read together.
const GATHER: Duration = Duration::from_millis(4);
/// The same as it is: tokio's timers are of whole milliseconds, and not early.
const GATHERED: Duration = Duration::from_millis(5);
/// Messages that may wait for their receipt where the broker sets the window, as with 3.1.1: bounds memory.
const UNACKED_MAX: usize = 4096;

pub(super) async fn session(parts: &mut Parts<'_>, stop: &mut Stop) -> Ended {
    let (wire, session_present, keep_alive) = tokio::select! {
        opened = timeout(PATIENCE, open(parts)) => opened.map_err(|_| Lost::Silent)??,
        () = stopped(stop) => return Err(Lost::Stopped),
    };
    if !session_present {
        tokio::select! {
            () = parts.session.begin() => {}
            () = stopped(stop) => return Err(Lost::Stopped),
        }
    }
    parts.session.retained.connected(session_present);
    let others = tokio::select! {
        others = parts.session.subscribing(&parts.settings.filters) => others,
        () = stopped(stop) => return Err(Lost::Stopped),
    };
    let window = parts.settings.window;
    let most = match parts.settings.version {
        Version::V311 => UNACKED_MAX,
        Version::V5 => usize::from(window),
    };
    let mut connection = Connection {
        wire,
        // What a broker sends beyond its window stays in its socket (mosquitto 2.0.11 sends up to a window for each
        // acknowledgement while it has messages queued).
        unacked: Unacked::new(window, most, parts.settings.unacked_bytes),
        subscriptions: Subscriptions::new(&parts.settings.filters),
        asked: 0,
        others,
        unsubscribing: None,
        keeps_others: false,
        session_present,
        keep_alive,
        heard: Instant::now(),
        pinged: None,
        parts,
        stop: stop.clone(),
    };
    let ended = connection.run(stop).await;
    connection.forget_unkept();
    ended
}

/// Whether the broker knows our session, and how often it wants to hear of us.
async fn open(parts: &Parts<'_>) -> Result<(Wire, bool, Duration), Lost> {
    let mut wire = Wire::open(parts.settings, parts.login).await?;
    wire.write(&Sent::Connect(parts.settings, parts.login))?;
    wire.flush().await?;
    let first = wire.read().await?;
    let Received::ConnAck {
        session_present,
        keep_alive,
    } = first
    else {
        return Err(Lost::unexpected());
    };
    let theirs = keep_alive.map(|seconds| Duration::from_secs(seconds.into()));
    let keep_alive = theirs.unwrap_or(parts.settings.keep_alive);
    Ok((wire, session_present, keep_alive))
}

struct Connection<'a, 'b> {
    wire: Wire,
    parts: &'a mut Parts<'b>,
    unacked: Unacked,
    subscriptions: Subscriptions,
    /// Packet identifier of the last SUBSCRIBE or UNSUBSCRIBE.
    asked: u16,
    /// Filters that the broker's session may have and that are no longer wanted.
    others: Vec<String>,
    /// Packet identifier with which the broker was asked to let go of the first of them, up to [`AT_ONCE`].
    unsubscribing: Option<u16>,
    /// It has refused to let go of some.
    keeps_others: bool,
    session_present: bool,
    keep_alive: Duration,
    /// When the last packets were taken in.
    heard: Instant,
    /// Bytes that had come when the last ping was sent.
    pinged: Option<u64>,
    /// For what is sent: see [`Connection::flush`].
    stop: Stop,
}

impl Connection<'_, '_> {
    async fn run(&mut self, stop: &mut Stop) -> Ended {
        self.subscribe().await?;
        let mut ping_at = Instant::now() + self.keep_alive;
        let mut stop_by: Option<Instant> = None;
        loop {
            let open = stop_by.is_none() && self.has_room();
            let held_up = !self.parts.intake.has_room();
            let mut gather = None;
            tokio::select! {
                biased;
                () = stopped(stop), if stop_by.is_none() => stop_by = Some(Instant::now() + LAST_RECEIPTS),
                () = self.parts.receipts.changed() => {}
                packet = self.wire.read(), if open => gather = self.take(packet?).await?,
                () = self.parts.intake.room(), if held_up => {}
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + self.keep_alive;
                    self.ping(open)?;
                }
                () = until(self.subscriptions.due()), if open => self.subscribe().await?,
                () = sleep_until(self.unacked.retry_at()) => return self.end(Lost::Again).await,
                () = sleep_until(stop_by.unwrap_or(ping_at)), if stop_by.is_some() => return Err(Lost::Stopped),
            }
            if gather.is_some_and(|more| self.unacked.has_room_for(more)) {
                self.gather().await?;
            }
            self.acknowledge().await?;
            if stop_by.is_some() && self.unacked.is_empty() {
                return self.end(Lost::Stopped).await;
            }
            self.wire.confirm();
        }
    }

    /// Whether a message may be read: one that could not be handed over at once would hold up acknowledgements and pings.
    fn has_room(&self) -> bool {
        self.unacked.has_room() && self.parts.intake.has_room()
    }

    /// Waits while messages gather, then takes in what has come: the kernel confirms at once only where nothing is left unread.
    async fn gather(&mut self) -> Result<(), Lost> {
        sleep(GATHER).await;
        if self.has_room()
            && let Some(packet) = self.wire.read().now_or_never()
        {
            self.take(packet?).await?;
        }
        Ok(())
    }

    /// Takes in `packet` and all that is already here, up to a batch; says whether that was all, and how many will follow soon.
    async fn take(&mut self, packet: Received) -> Result<Option<usize>, Lost> {
        let now = Instant::now();
        let since = now - std::mem::replace(&mut self.heard, now);
        let stamp = self.parts.intake.now();
        let mut next = Some(packet);
        let mut taken: u16 = 0;
        while let Some(packet) = next {
            match packet {
                Received::Publish(message) => self.publish(&message, stamp).await,
                Received::PubRel(packet_id) => self.wire.write(&Sent::PubComp(packet_id))?,
                Received::SubAck(id, codes) => self.granted(id, &codes)?,
                Received::UnsubAck(id, codes) => self.unsubscribed(id, &codes).await?,
                Received::PingResp => {}
                Received::ConnAck { .. } => return Err(Lost::Broken("a second CONNACK".into())),
            }
            taken += 1;
            if taken >= BATCH || !self.has_room() {
                return Ok(None);
            }
            next = self.wire.read().now_or_never().transpose()?;
        }
        let is_load = since < GATHERED * u32::from(taken);
        Ok(is_load.then(|| usize::from(taken) + 1))
    }

    async fn publish(&mut self, message: &Message, stamp: Stamp) {
        let is_offered_again = message.qos > 0;
        let (content, patience) = if is_offered_again {
            (Repeats::content(message), Patience::Waits)
        } else {
            (0, Patience::CannotWait)
        };
        let waits_for = match self.parts.session.retained.take(message) {
            Retained::No => WaitsFor::Receipt,
            Retained::New(place) => WaitsFor::ReceiptOfRetained(place),
            is @ (Retained::Repeated | Retained::Old) => {
                self.parts.source.leave_out(message, is);
                WaitsFor::Turn
            }
        };
        let bytes = message.topic.len() + message.properties.len() + message.payload.len();
        self.unacked.push(Unacknowledged {
            packet_id: message.packet_id,
            qos: message.qos,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            content,
            waits_for,
        });
        if waits_for == WaitsFor::Turn {
            return;
        }
        let mark = is_offered_again.then(|| self.parts.session.mark(message, content));
        let is_retained = waits_for != WaitsFor::Receipt;
        let stats = &self.parts.intake.stats;
        let source = &mut *self.parts.source;
        let event = source.event(message, is_retained, mark, stamp, stats);
        self.parts.intake.submit(event, patience).await;
    }

    fn granted(&mut self, id: u16, codes: &[u8]) -> Result<(), Lost> {
        let (settings, stats) = (self.parts.settings, &self.parts.intake.stats);
        let standing = &mut *self.parts.standing;
        let tell = |filter: &_, code| standing.tell(&settings.name, filter, code, stats);
        if !self.subscriptions.answer(id, codes, Instant::now(), tell) {
            return Ok(());
        }
        self.parts.works.now();
        tracing::info!(source = %settings.name, broker = %settings.address(), session_present = self.session_present, "mqtt source connected");
        self.unsubscribe()
    }

    /// Asks the broker's session to let go of the next filters that are no longer wanted.
    fn unsubscribe(&mut self) -> Result<(), Lost> {
        let next = self.others.chunks(AT_ONCE).next().unwrap_or_default();
        if next.is_empty() {
            return Ok(());
        }
        self.asked = following(self.asked);
        self.unsubscribing = Some(self.asked);
        self.wire.write(&Sent::Unsubscribe(self.asked, next))
    }

    /// The broker's session has let go of the filters that are no longer wanted, or says why not.
    async fn unsubscribed(&mut self, id: u16, codes: &[u8]) -> Result<(), Lost> {
        if self.unsubscribing.take_if(|asked| *asked == id).is_none() {
            return Ok(());
        }
        let settings = self.parts.settings;
        let left = self.others.split_off(AT_ONCE.min(self.others.len()));
        let others = std::mem::replace(&mut self.others, left);
        if let Some(code) = codes.iter().find(|code| **code >= FAILURE) {
            self.keeps_others = true;
            let reason = not_granted(*code);
            tracing::warn!(source = %settings.name, filters = ?others, reason, "the broker keeps subscriptions that are no longer configured, so that their messages still come; it is asked again at the next connection; remove them there");
        } else {
            tracing::info!(source = %settings.name, filters = ?others, "unsubscribed from what is no longer configured; what the broker has queued for it may still come");
        }
        if !self.others.is_empty() {
            return self.unsubscribe();
        }
        if self.keeps_others {
            return Ok(());
        }
        tokio::select! {
            () = self.parts.session.has_only(&settings.filters) => {}
            () = parted(&mut self.stop) => {}
        }
        Ok(())
    }

    /// Retained messages whose receipt never came are new when they come again.
    fn forget_unkept(&mut self) {
        for place in self.unacked.retained().flatten() {
            self.parts.session.retained.forget(place);
        }
    }

    /// Acknowledges all that has its receipt, as one write with what else is to be sent.
    async fn acknowledge(&mut self) -> Result<(), Lost> {
        loop {
            let message = if let Some(message) = self.unacked.left_out() {
                (message.qos > 0).then_some(message)
            } else if let Some(outcome) = self.parts.receipts.ready() {
                self.settle(outcome)
            } else {
                break;
            };
            if let Some(message) = message {
                self.wire.write(&match message.qos {
                    2 => Sent::PubRec(message.packet_id),
                    _ => Sent::PubAck(message.packet_id),
                })?;
                self.parts.session.acknowledged(message.content);
            }
        }
        self.flush().await?;
        if self.unacked.is_full() {
            self.parts.intake.urge();
        }
        Ok(())
    }

    /// The oldest message has its receipt. Returns what is to be acknowledged.
    fn settle(&mut self, outcome: Outcome) -> Option<Unacknowledged> {
        let retained = self.unacked.retained().next().flatten();
        if let (Outcome::Refused(_), Some(place)) = (outcome, retained) {
            self.parts.session.retained.forget(place);
        }
        self.unacked.settle(outcome, &self.parts.intake.stats)
    }

    async fn subscribe(&mut self) -> Result<(), Lost> {
        self.asked = following(self.asked);
        let filters = self.subscriptions.ask(self.asked, Instant::now());
        self.wire.write(&Sent::Subscribe(self.asked, filters))?;
        self.flush().await
    }

    /// Sends what was written. A broker that does not read holds up no stop: what it gets no acknowledgement for it offers again.
    async fn flush(&mut self) -> Result<(), Lost> {
        tokio::select! {
            biased;
            sent = self.wire.flush() => sent,
            () = parted(&mut self.stop) => Err(Lost::Stopped),
        }
    }

    /// Ends the connection in order, for this reason.
    async fn end(&mut self, why: Lost) -> Ended {
        tokio::select! {
            ended = self.wire.end() => ended?,
            () = parted(&mut self.stop) => {}
        }
        Err(why)
    }

    /// Sends a ping; nothing heard since an earlier one means that the connection has stalled, unless we did not listen.
    fn ping(&mut self, listening: bool) -> Result<(), Lost> {
        let heard = self.wire.heard();
        if listening && self.pinged == Some(heard) {
            return Err(Lost::Silent);
        }
        self.pinged = Some(heard);
        self.wire.write(&Sent::PingReq)
    }
}

/// The next packet identifier; 0 is none (MQTT 5 section 2.2.1).
fn following(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}
