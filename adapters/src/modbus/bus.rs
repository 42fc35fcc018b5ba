//! An open line and the groups that are read over it, until it is lost.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::blocks::Refusal;
use super::exchange::{ExchangeError, LineError};
use super::frame::Request;
use super::line::Line;
use super::plan::Group;
use super::report::{self, Answer, SlaveChange};
use super::schedule::{self, Next};
use super::section::ModbusSection;
use super::standing::Standing;
use super::talk::Talk;
use crate::retry::Works;
use crate::{Intake, Outcome, Patience, Receipts, Stop, parted, stopped};

/// A slave that is busy is asked again after this, and others meanwhile.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Bus<'a> {
    pub(super) section: &'a ModbusSection,
    pub(super) groups: &'a mut [Group],
    pub(super) health: &'static str,
    pub(super) intake: &'a Intake,
    standings: HashMap<u8, Standing>,
    /// What became known of the slave that was read last.
    changes: Vec<SlaveChange>,
    pub(super) told: u64,
    /// Why the line is gone, until somebody answers again.
    pub(super) lost: Option<String>,
    /// Slaves for which another unit answered; each is told once.
    strange: HashSet<u8>,
}

impl<'a> Bus<'a> {
    pub(super) fn new(
        section: &'a ModbusSection,
        groups: &'a mut [Group],
        health: &'static str,
        intake: &'a Intake,
    ) -> Bus<'a> {
        schedule::begin(groups, Instant::now());
        Bus {
            section,
            groups,
            health,
            intake,
            standings: HashMap::new(),
            changes: Vec::new(),
            told: 0,
            lost: None,
            strange: HashSet::new(),
        }
    }

    /// Until the line is lost, or until stopped (`None`): between two reads, or in one that a stop has waited for.
    pub(super) async fn poll(
        &mut self,
        line: Line,
        works: &Works<'_>,
        receipts: &mut Receipts,
        stop: &mut Stop,
    ) -> Option<LineError> {
        let mut talk = Talk::new(line, &self.section.line);
        self.look_again();
        let mut works = Some(works);
        while !*stop.borrow() {
            let now = Instant::now();
            match schedule::next(self.groups, now) {
                None => return Some(LineError::NothingToRead),
                Some(Next::Wait(until)) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = stopped(stop) => {}
                },
                Some(Next::Read(index)) => {
                    let visited = tokio::select! {
                        biased;
                        visited = self.visit(&mut talk, index, now) => visited,
                        // An answer that comes now is heard by nobody: whoever opens the line waits for silence first.
                        () = parted(stop) => return None,
                    };
                    if let Err(error) = visited {
                        return Some(error);
                    }
                    if talk.is_answered() {
                        works.take().inspect(|works| works.now());
                        self.regain().await;
                    }
                    count_refused(receipts, self.intake);
                }
            }
        }
        None
    }

    /// Reads a group, and makes of it what it makes.
    async fn visit(
        &mut self,
        talk: &mut Talk<'_>,
        index: usize,
        now: Instant,
    ) -> Result<(), LineError> {
        let Some(group) = self.groups.get_mut(index) else {
            return Ok(());
        };
        let again = schedule::take_turn(group, now);
        let standing = self.standings.entry(group.slave);
        let standing = standing.or_insert_with(|| Standing::new(now));
        if !standing.may_be_asked(now) {
            return Ok(());
        }
        let retries = if standing.may_be_retried() {
            self.section.retries
        } else {
            0
        };
        // A group whose every block is left out says nothing of its slave.
        let was_asked = group.blocks.is_asked(now);
        let outcome = self.read(talk, index, retries, now).await;
        if let Err(ExchangeError::Line(error)) = outcome {
            self.miss(index, &error.to_string(), now).await;
            return Err(error);
        }
        let left = again.unwrap_or(self.section.retries);
        let is_busy = outcome.as_ref().is_err_and(ExchangeError::is_busy);
        if is_busy && left > 0 {
            self.ask_again(index, left - 1);
        } else {
            if was_asked {
                self.judge(index, outcome.as_ref().err(), now.elapsed());
            }
            self.submit(index, outcome, now).await;
        }
        self.tell(index).await;
        self.look_at(talk, index).await
    }

    /// What a read has said of the line. One that is deaf is opened again.
    async fn look_at(&mut self, talk: &mut Talk<'_>, index: usize) -> Result<(), LineError> {
        let skipped = talk.line().take_skipped();
        self.intake.stats.skipped.fetch_add(skipped, Relaxed);
        let slave = self.groups.get(index).map_or(0, |group| group.slave);
        if let Some(unit) = talk.line().take_stranger()
            && self.strange.insert(slave)
        {
            warn!(source = %self.section.name, slave, unit, "another modbus unit answers than the one that was asked; its answers are taken, as their transaction numbers are right; is `address` right?");
        }
        let anybody = self.standings.values().any(|one| !one.is_silent());
        self.intake.stats.connected.fetch_and(anybody, Relaxed);
        if !talk.is_deaf(Instant::now()) {
            return Ok(());
        }
        info!(source = %self.section.name, port = %self.section.line.name(), "nobody answers on the modbus connection; it is made again");
        talk.open_again().await?;
        self.look_again();
        Ok(())
    }

    /// On another connection a slave may be back.
    fn look_again(&mut self) {
        let now = Instant::now();
        let standings = self.standings.values_mut();
        standings.for_each(|standing| standing.look_again(now));
    }

    fn ask_again(&mut self, index: usize, left: u8) {
        if let Some(group) = self.groups.get_mut(index) {
            group.again = Some((Instant::now() + BUSY_PAUSE, left));
        }
    }

    /// Reads all blocks of a group, each with so many further attempts.
    async fn read(
        &mut self,
        talk: &mut Talk<'_>,
        index: usize,
        retries: u8,
        now: Instant,
    ) -> Result<Vec<Answer>, ExchangeError> {
        let Some(group) = self.groups.get_mut(index) else {
            return Ok(Vec::new());
        };
        let mut answers: Vec<Answer> = Vec::new();
        while let Some(block) = group.blocks.get(answers.len()) {
            if let Some(code) = block.refused(now) {
                answers.push(Err(code));
                continue;
            }
            let place = answers.len();
            match attempt(talk, group, block.request, retries).await {
                Ok(data) => {
                    group.blocks.answered(place);
                    answers.push(Ok(data));
                }
                Err(ExchangeError::Exception(code @ 1..=3)) => {
                    let refusal = group.blocks.refused(place, code, &group.fields, now);
                    if refusal == Refusal::Quarantined {
                        self.changes.push(SlaveChange::Refuses {
                            first: block.request.address,
                            count: block.request.count,
                            code,
                        });
                        answers.push(Err(code));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        match answers.first() {
            Some(Err(code)) if answers.iter().all(Result::is_err) => {
                Err(ExchangeError::Exception(*code))
            }
            _ => Ok(answers),
        }
    }

    /// What a read says of its slave; `cost` is how long it kept the line.
    fn judge(&mut self, index: usize, error: Option<&ExchangeError>, cost: Duration) {
        let (Some(group), now) = (self.groups.get(index), Instant::now()) else {
            return;
        };
        let slave = group.slave;
        let Some(standing) = self.standings.get_mut(&slave) else {
            return;
        };
        match error.filter(|error| !error.is_from_slave()) {
            None => {
                self.intake.stats.up();
                self.intake.stats.slave_answered(slave);
                if standing.answered(now) {
                    self.changes.push(SlaveChange::Answers);
                    let its = self.groups.iter_mut().filter(|group| group.slave == slave);
                    its.for_each(|group| group.blocks.forget());
                }
            }
            Some(error) => {
                self.intake.stats.error(&format!("slave {slave}: {error}"));
                let timed_out = matches!(error, ExchangeError::Silent);
                if standing.failed(timed_out, cost, now) {
                    let error = error.to_string();
                    self.changes.push(SlaveChange::Silent { error });
                }
                let stats = &self.intake.stats;
                stats.slave_failed(slave, standing.is_silent());
            }
        }
    }

    pub(super) async fn submit(
        &mut self,
        index: usize,
        outcome: Result<Vec<Answer>, ExchangeError>,
        begun: Instant,
    ) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let ended = Instant::now();
        let stamp = report::middle(self.intake.now(), ended.saturating_duration_since(begun));
        let event = match outcome {
            Ok(answers) => {
                let readings = report::readings(group, &answers);
                let taken = group
                    .track
                    .take(&group.fields, group.function, readings, ended);
                if let Some(field) = taken.restarted {
                    group.blocks.forget();
                    self.changes.push(SlaveChange::Restarted { field });
                }
                taken
                    .values
                    .map(|values| report::good(group, values, stamp))
            }
            Err(error) => group
                .track
                .failed(error.reason(), ended)
                .then(|| report::bad(group, &self.section.name, &error, stamp)),
        };
        if let Some(event) = event {
            self.intake.submit(event, Patience::CannotWait).await;
        }
    }

    /// Says what became known of the slave of a group.
    async fn tell(&mut self, index: usize) {
        let Some(group) = self.groups.get(index) else {
            return;
        };
        let source = self.section.name.as_str();
        for change in self.changes.drain(..) {
            tell(source, group.slave, group.function, &change);
            self.told += 1;
            let stamp = self.intake.now();
            let event = report::health(&change, group, source, self.health, stamp, self.told);
            self.intake.submit(event, Patience::CannotWait).await;
        }
    }
}

async fn attempt(
    talk: &mut Talk<'_>,
    group: &Group,
    request: Request,
    retries: u8,
) -> Result<Vec<u8>, ExchangeError> {
    let mut tries = 0;
    loop {
        match talk.exchange(group.slave, request, group.manners).await {
            Err(ExchangeError::Silent | ExchangeError::Broken(_)) if tries < retries => tries += 1,
            outcome => return outcome,
        }
    }
}

fn tell(source: &str, slave: u8, function: u8, change: &SlaveChange) {
    match change {
        SlaveChange::Silent { error } => {
            warn!(source, slave, %error, "modbus slave does not answer; it is asked seldom until it does; look at its power, wiring and address");
        }
        SlaveChange::Answers => info!(source, slave, "modbus slave answers again"),
        SlaveChange::Refuses { first, count, code } => {
            warn!(
                source,
                slave,
                first,
                registers = count,
                exception = code,
                advice = report::advice(*code, function),
                "modbus slave refuses these registers; they are left out for ten minutes, the others are read"
            );
        }
        SlaveChange::Restarted { field } => {
            info!(source, slave, counter = %field, "a counter of the modbus slave fell; it has restarted, or was set");
        }
    }
}

fn count_refused(receipts: &mut Receipts, intake: &Intake) {
    while let Some(outcome) = receipts.ready() {
        if let Outcome::Refused(_) = outcome {
            intake.stats.refused.fetch_add(1, Relaxed);
        }
    }
}
