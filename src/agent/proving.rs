//! Whether the configuration that runs delivers: what the agent sees of that and reports, and the way back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use buffer::DropReason;
use serde_json::json;

use super::{Agent, End, Orders, TICK};
use crate::config::Loaded;
use crate::process::memory;
use crate::rollout::{self, Dropped, Rollout, Seen, State, Step, Waiting};
use crate::status::{ConfigStatus, Order};
use crate::uplink::{Signal, Uplink, UplinkError};

/// How long the uplink of the configuration before may take to connect.
const OLD_PATIENCE: Duration = Duration::from_secs(20);
/// How much longer the new one may take: librdkafka waits up to 10 s between two attempts.
const NEW_PATIENCE: Duration = Duration::from_secs(25);
const OLD_CONNECTS: &str = "the uplink does not connect, and that of the configuration before does";

pub(super) struct Proving {
    next: Instant,
    /// The uplink of the configuration before, which is being tried until then.
    asking: Option<(Uplink, Instant)>,
    /// It connected: the new one has until then to do so as well, since a link may come back for both.
    decide_at: Option<Instant>,
    /// Records that were delivered before the agent ran with this configuration.
    delivered_before: u64,
    told: Option<(State, Option<String>)>,
    /// What somebody asked for, and who.
    pub(super) order: Option<(Order, String)>,
    pub(super) status: ConfigStatus,
}

impl Proving {
    pub(super) fn new(now: Instant) -> Proving {
        Proving {
            next: now,
            asking: None,
            decide_at: None,
            delivered_before: 0,
            told: None,
            order: None,
            status: ConfigStatus::default(),
        }
    }

    /// It connects or not, with a client id of its own; nothing is sent through it.
    fn ask(&mut self, before: &Loaded, now: Instant) -> Result<(), UplinkError> {
        let mut cluster = before.settings.cluster().clone();
        cluster.client_id += "-before";
        let mut sendings = before.settings.intents.sendings();
        sendings.truncate(1);
        self.asking = Some((Uplink::new(&cluster, &sendings)?, now + OLD_PATIENCE));
        Ok(())
    }

    /// Looks whether it connects.
    fn listen(&mut self, now: Instant) {
        let Some((uplink, until)) = &mut self.asking else {
            return;
        };
        let (mut reports, mut signals) = (Vec::new(), Vec::new());
        uplink.take(&mut reports, &mut signals, now);
        let connected = signals.contains(&Signal::Connected(true));
        if connected {
            self.decide_at = Some(now + NEW_PATIENCE);
        }
        if connected || now >= *until {
            self.asking = None;
        }
    }

    /// It connected, and the new one, which `stands` or not, has had its time since.
    fn only_old_connects(&mut self, stands: bool, now: Instant) -> bool {
        if stands {
            self.decide_at = None;
        }
        self.decide_at.take_if(|at| *at <= now).is_some()
    }
}

impl Agent {
    /// Looks whether the configuration delivers; to be called as often as anything happens. Returns the way back if it does not.
    pub(super) fn prove(&mut self, orders: &mut Orders, now: Instant) -> Option<End> {
        if now < self.proving.next {
            return None;
        }
        self.proving.next = now + TICK;
        self.proving.listen(now);
        let stands = self.drain.uplink.stands();
        let step = if let Some((order, by)) = self.proving.order.take() {
            if order == Order::Return {
                return orders.go_back(&by);
            }
            orders.rollout.tries_again(order.name(), &by);
            if order == Order::Force {
                orders.force();
            }
            Some(Step::TryAgain)
        } else if self.proving.only_old_connects(stands, now) {
            orders.rollout.returns(OLD_CONNECTS);
            Some(Step::Return)
        } else {
            let topics = orders.rollout.topics();
            self.drain.uplink.ask_about(&topics, now);
            let seen = self.seen(stands, topics, orders.rollout.is_on_trial());
            orders.rollout.look(&seen, now)
        };
        match step {
            None => {}
            Some(Step::AskOld) => self.ask_old(orders, now),
            Some(Step::Return) => match orders.before() {
                Some(end) => return Some(end),
                None => orders.rollout.stays(),
            },
            Some(Step::TryAgain) => {
                self.show_backlogs(&mut orders.rollout);
                let reason = "the configuration that was delivered is tried";
                if let Some(end) = orders.reloaded(reason) {
                    return Some(end);
                }
            }
        }
        self.tell_acts(&mut orders.rollout, now);
        self.tell_configuration(&orders.rollout, orders.pull.failure(), now);
        None
    }

    fn seen(&self, connected: bool, topics: Vec<String>, on_trial: bool) -> Seen<'_> {
        let topics = topics.into_iter().filter_map(|topic| {
            let takes = self.drain.takes(&topic)?;
            Some((topic, takes))
        });
        let sources = self.sources.iter().map(|one| {
            let is_well = one.down.is_none() && one.stats.connected.load(Ordering::Relaxed);
            (one.name, is_well)
        });
        Seen {
            connected,
            link_up: self.link_is_up(),
            delivered: self.delivered() > self.proving.delivered_before
                && self.drain.uplink.delivers(),
            sources: sources.collect(),
            topics: topics.collect(),
            used: self.used().collect(),
            drops: self.drops().collect(),
            waiting: self.waiting(Instant::now()).collect(),
            memory: if on_trial {
                memory::used_of_limit()
            } else {
                None
            },
        }
    }

    fn used(&self) -> impl Iterator<Item = &str> {
        let used = self.intents.iter();
        let used = used.filter(|(lane, _)| self.lanes.counts(*lane).delivered > 0);
        used.map(|(_, intent)| intent.name.as_str())
    }

    /// What lanes have dropped; what a newer record takes the place of is meant so, and damage is the disk's.
    fn drops(&self) -> impl Iterator<Item = Dropped<'_>> {
        let lanes = self.intents.iter().flat_map(|(lane, intent)| {
            let counts = self.lanes.counts(lane).dropped;
            let counts = DropReason::ALL.into_iter().zip(counts);
            counts.map(|(reason, count)| (intent.name.as_str(), reason, count))
        });
        let is_meant = |reason| matches!(reason, DropReason::Coalesced | DropReason::Damage);
        let drops = lanes.filter(move |(_, reason, count)| *count > 0 && !is_meant(*reason));
        drops.map(|(lane, reason, count)| {
            let reason = reason.name();
            Dropped {
                lane,
                reason,
                count,
            }
        })
    }

    /// What waits to be sent; of the bytes on disk those that are not there for a replay on demand.
    fn waiting(&self, now: Instant) -> impl Iterator<Item = Waiting<'_>> {
        let lanes = self.intents.iter().map(move |(lane, intent)| {
            let (counts, events) = (self.lanes.counts(lane), self.lanes.waiting(lane));
            let each = counts.stored_bytes.checked_div(counts.stored);
            let undelivered = each.map_or(u64::MAX, |each| each.saturating_mul(events));
            let oldest = self.lanes.oldest(lane);
            Waiting {
                lane: &intent.name,
                events,
                bytes: self.lanes.bytes(lane).0.min(undelivered),
                age: oldest.map_or(Duration::ZERO, |oldest| {
                    now.saturating_duration_since(oldest)
                }),
            }
        });
        lanes.filter(|one| one.events > 0)
    }

    /// What waits at this moment: whether another configuration has a place for it is about to be decided.
    pub(super) fn show_backlogs(&self, rollout: &mut Rollout) {
        rollout.look_at_backlogs(self.waiting(Instant::now()), self.link_is_up());
    }

    /// All connections stand, and the cluster answers.
    fn link_is_up(&self) -> bool {
        self.drain.uplink.stands() && self.drain.link.is_up()
    }

    /// Records of all lanes, since the agent began.
    fn delivered(&self) -> u64 {
        let lanes = self.intents.iter();
        lanes
            .map(|(lane, _)| self.lanes.counts(lane).delivered)
            .sum()
    }

    /// Another configuration runs from now on: what was seen of the one before says nothing of it.
    pub(super) fn proves_anew(&mut self) {
        let delivered_before = self.delivered();
        let proving = &mut self.proving;
        (proving.asking, proving.decide_at) = (None, None);
        proving.delivered_before = delivered_before;
        // One that follows another on trial is told of as well: the notice is what it has to deliver.
        proving.told.take_if(|(state, _)| *state == State::Proving);
    }

    fn ask_old(&mut self, orders: &Orders, now: Instant) {
        let Some(before) = orders.rollout.proved() else {
            return;
        };
        if let Err(error) = self.proving.ask(before, now) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "the uplink of the configuration before cannot be tried; the new one goes on"
            );
        }
    }

    /// Tells the fleet what somebody here did by hand.
    fn tell_acts(&mut self, rollout: &mut Rollout, now: Instant) {
        for act in rollout.take_acts() {
            if act.what == rollout::REPAIR {
                let (by, result) = (&act.by, &act.why);
                tracing::info!(
                    by,
                    result,
                    at = act.at,
                    "`tidegate buffer repair` was done here"
                );
            }
            self.notice("act", &json!(act), now);
        }
    }

    /// Says a change of what became of the configuration; that one is kept as before is none.
    fn tell_configuration(&mut self, rollout: &Rollout, pull_error: Option<String>, now: Instant) {
        let (record, open) = (rollout.record(), rollout.open());
        let before = rollout.back().map(|one| one.version().sha256.clone());
        self.proving.status = ConfigStatus {
            state: record.state.name().to_owned(),
            why: record.why.clone(),
            attempted: record.attempted.sha256.clone(),
            attempted_serial: record.attempted.serial,
            attempted_signer: record.attempted.signer.clone(),
            effective: record.effective.sha256.clone(),
            attempted_layers: record.attempted.layers.clone(),
            before,
            effective_serial: record.effective.serial,
            effective_signer: record.effective.signer.clone(),
            open,
            by: record.by.name().to_owned(),
            file: record.last.file.clone(),
            pull_error,
        };
        let is = (record.state, record.why.clone());
        let was = self.proving.told.replace(is.clone());
        if was.as_ref() == Some(&is) || (was.is_none() && record.state == State::Kept) {
            return;
        }
        let (attempted, effective) = (record.attempted.short(), record.effective.short());
        let (why, open) = (record.why.as_deref(), self.proving.status.open.join(", "));
        match record.state {
            State::Received if why.is_none() => return,
            State::Received => tracing::info!(
                sha256 = attempted,
                by = record.by.name(),
                why,
                "a new configuration was received, and is not tried yet"
            ),
            State::Proving => tracing::info!(
                sha256 = attempted,
                to_prove = open,
                "a new configuration runs; it is kept once it delivers"
            ),
            State::Kept => tracing::info!(
                sha256 = attempted,
                "the configuration delivers, and is kept: the gateway comes back to it where a later one does not"
            ),
            State::Unproven => tracing::warn!(
                sha256 = attempted,
                why,
                "the new configuration had no chance to prove itself yet; it goes on running, and nothing is lost"
            ),
            State::Returned => tracing::error!(
                sha256 = attempted,
                runs = effective,
                why,
                "the configuration in the file does not deliver; the one before runs again, and nothing is lost; put the file right: it is tried again once it, or a file that it refers to, is another"
            ),
            // Each problem was said when it was found.
            State::Rejected => {}
        }
        let notice = json!({ "state": record.state, "why": why, "by": record.by, "attempted": record.attempted.sha256,
            "serial": record.attempted.serial, "signer": record.attempted.signer, "effective": record.effective.sha256 });
        self.notice("config", &notice, now);
    }
}
