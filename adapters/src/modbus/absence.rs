//! A line that is gone: its groups make bad events when they are due, so that nobody takes their last values for new ones.

use std::future::pending;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::bus::Bus;
use super::exchange::{ExchangeError, LineError};
use super::report;
use super::schedule::{self, Next};
use crate::Patience;

impl Bus<'_> {
    /// The line is gone; the first time that is told.
    pub(super) async fn lose(&mut self, error: &LineError) {
        let why = error.to_string();
        if self.lost.replace(why.clone()).is_none() {
            self.tell_line("gone", Some(&why)).await;
        }
    }

    /// Somebody answers.
    pub(super) async fn regain(&mut self) {
        if self.lost.take().is_some() {
            info!(source = %self.section.name, port = %self.section.line.name(), "modbus line answers again");
            self.tell_line("back", None).await;
        }
    }

    /// For as long as the line is gone, groups that are due are reported. Never ends; safe to cancel.
    pub(super) async fn without_line(&mut self) {
        let Some(why) = self.lost.clone() else {
            return pending().await;
        };
        loop {
            let now = Instant::now();
            match schedule::next(self.groups, now) {
                Some(Next::Read(index)) => {
                    if let Some(group) = self.groups.get_mut(index) {
                        group.again = None;
                        schedule::take_turn(group, now);
                    }
                    self.miss(index, &why, now).await;
                }
                Some(Next::Wait(until)) => sleep_until(until).await,
                None => return pending().await,
            }
        }
    }

    /// A group that cannot be read, since the line is gone.
    pub(super) async fn miss(&mut self, index: usize, why: &str, begun: Instant) {
        let error = ExchangeError::Line(LineError::Lost(why.to_owned()));
        if let Some(group) = self.groups.get(index) {
            self.intake.stats.slave_failed(group.slave, true);
        }
        self.submit(index, Err(error), begun).await;
    }

    async fn tell_line(&mut self, state: &str, why: Option<&str>) {
        self.told += 1;
        let (source, stamp) = (self.section.name.as_str(), self.intake.now());
        let event = report::line(state, why, source, self.health, stamp, self.told);
        self.intake.submit(event, Patience::CannotWait).await;
    }
}
