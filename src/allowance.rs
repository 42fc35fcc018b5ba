//! What `[link]` allows: when a lane may send, and how many bytes. Pure: time, on the wall and not, comes in as an argument.
//!
//! Windows and budgets go by the calendar, hence by the wall clock: the only place where anything does. While that is
//! known to be wrong no window is open and no budget begins anew.

mod budget;

mod cron;

use std::time::{Duration, Instant};

use buffer::LaneId;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use self::budget::{Budget, Noted};
pub(crate) use self::cron::Cron;
use crate::config::{LinkSection, Period};
use crate::intent::Intents;
use crate::number::{self, float, whole};

/// Bytes on the wire for each byte that is handed over, until that is measured: nothing is compressed away.
pub(crate) const WIRE: f64 = 1.2;
/// Measured over so many bytes handed over, roughly.
const RATIO_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

#[derive(Debug)]
pub(crate) struct Allowance {
    zone: TimeZone,
    names: Vec<String>,
    lanes: Vec<Lane>,
    budgets: Vec<Budget>,
    /// This gateway's share of `replay.spread`: a window opens for a whole fleet at once.
    delay: Duration,
    /// Bytes on the wire, and those that were delivered by them, of late.
    wire: f64,
    landed: f64,
}

#[derive(Debug)]
struct Lane {
    urgent: bool,
    windows: Vec<Cron>,
    closed: Option<Closed>,
    /// Bytes handed over of late.
    handed: f64,
}

/// Why a lane may not send, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    pub until: Instant,
    pub why: String,
}

/// A budget, for the status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BudgetUse {
    pub per: Period,
    pub bytes: u64,
    pub used: u64,
    pub is_used_up: bool,
}

impl Allowance {
    /// The section was checked.
    pub(crate) fn new(section: &LinkSection, intents: &Intents, delay: Duration) -> Allowance {
        let windows = |name: &str, urgent: bool| {
            let of = section.window.iter().filter(|window| {
                let named = window.intents.iter().any(|one| one == name);
                named || (window.intents.is_empty() && !urgent)
            });
            of.filter_map(|window| window.open.parse().ok()).collect()
        };
        let lanes = intents.iter().map(|(_, intent)| Lane {
            urgent: intent.urgent,
            windows: windows(&intent.name, intent.urgent),
            closed: None,
            handed: 0.0,
        });
        let budgets = section.budget.iter();
        Allowance {
            zone: zone(section).unwrap_or(TimeZone::UTC),
            names: intents.iter().map(|(_, one)| one.name.clone()).collect(),
            lanes: lanes.collect(),
            budgets: budgets.map(|one| Budget::new(one, intents)).collect(),
            delay,
            wire: 0.0,
            landed: 0.0,
        }
    }

    /// Goes on from a note of an earlier start.
    pub(crate) fn recall(&mut self, note: &str) -> Result<(), serde_json::Error> {
        let noted: Vec<Noted> = serde_json::from_str(note)?;
        for budget in &mut self.budgets {
            budget.recall(&noted, &self.names);
        }
        Ok(())
    }

    /// Looks at the calendar, every second or so; `wall` is none while the clock is wrong. Returns the budgets that
    /// have just been used up, and when they begin anew.
    pub(crate) fn look(&mut self, wall: Option<Timestamp>, now: Instant) -> Vec<(Period, Zoned)> {
        let wall = wall.map(|wall| wall.to_zoned(self.zone.clone()));
        let mut told = Vec::new();
        for budget in &mut self.budgets {
            if let Some(wall) = &wall {
                budget.look(wall);
            }
            if budget.is_used_up() && !budget.told {
                budget.told = true;
                told.push((budget.per, budget.ends.to_zoned(self.zone.clone())));
            }
        }
        for index in 0..self.lanes.len() {
            let closed = self.closed(index, wall.as_ref(), now);
            self.lanes[index].closed = closed;
        }
        told
    }

    fn closed(&self, index: usize, wall: Option<&Zoned>, now: Instant) -> Option<Closed> {
        let lane = &self.lanes[index];
        if lane.urgent {
            return None;
        }
        self.window_closed(lane, wall, now)
            .or_else(|| self.budget_closed(index, wall, now))
    }

    fn window_closed(&self, lane: &Lane, wall: Option<&Zoned>, now: Instant) -> Option<Closed> {
        if lane.windows.is_empty() {
            return None;
        }
        let Some(wall) = wall else {
            let why = "the clock is not set, so that no window is known to be open (link.window)";
            return Some(Closed {
                until: now + Duration::from_secs(1),
                why: why.into(),
            });
        };
        // As if it were earlier by this gateway's delay: it opens later here, and closes on time.
        let earlier = wall
            .checked_sub(self.delay)
            .unwrap_or_else(|_| wall.clone());
        let is_open = |cron: &Cron| cron.is_open(wall) && cron.is_open(&earlier);
        if lane.windows.iter().any(is_open) {
            return None;
        }
        let opens = lane.windows.iter().filter_map(|cron| {
            let opened = cron.is_open(wall).then(|| wall.clone());
            opened.or_else(|| cron.opens_after(wall))
        });
        let left = opens
            .min()
            .map_or(Duration::ZERO, |opens| until(wall, &opens) + self.delay);
        Some(Closed {
            until: now + left.clamp(Duration::from_secs(1), Duration::from_hours(1)),
            why: format!("its window opens in {} (link.window)", words(left)),
        })
    }

    fn budget_closed(&self, index: usize, wall: Option<&Zoned>, now: Instant) -> Option<Closed> {
        let lane = LaneId(u8::try_from(index).ok()?);
        let budget = self
            .budgets
            .iter()
            .find(|budget| budget.left(lane, 0.0) <= 0.0)?;
        let left = wall.map_or(Duration::from_secs(1), |wall| {
            until(wall, &budget.ends.to_zoned(self.zone.clone())) + self.delay
        });
        Some(Closed {
            until: now + left.clamp(Duration::from_secs(1), Duration::from_hours(1)),
            why: format!(
                "its share of the {}'s bytes is used up; it goes on in {} (link.budget)",
                budget.per.name(),
                words(left)
            ),
        })
    }

    /// Bytes that a lane may hand over now, `uncounted` having been handed over that are not counted on the wire yet;
    /// or none, until a moment.
    pub(crate) fn ask(&self, lane: LaneId, uncounted: usize) -> Result<usize, Instant> {
        let Some(known) = self.lanes.get(lane.index()).filter(|lane| !lane.urgent) else {
            return Ok(usize::MAX);
        };
        if let Some(closed) = &known.closed {
            return Err(closed.until);
        }
        let under_way = float(uncounted as u64) * self.ratio();
        let left = self.budgets.iter().map(|one| one.left(lane, under_way));
        let left = left.fold(f64::INFINITY, f64::min) / self.ratio();
        Ok(number::bytes(left))
    }

    pub(crate) fn closed_for(&self, lane: LaneId) -> Option<&Closed> {
        self.lanes.get(lane.index())?.closed.as_ref()
    }

    /// `bytes` were handed over.
    pub(crate) fn sent(&mut self, lane: LaneId, bytes: usize) {
        if let Some(known) = self.lanes.get_mut(lane.index()) {
            known.handed += float(bytes as u64);
        }
    }

    /// `wire` bytes went over a connection, which carries `lanes`, while `landed` of those handed over were delivered.
    pub(crate) fn carried(&mut self, lanes: &[LaneId], wire: u64, landed: usize) {
        let wire = float(wire);
        let of_late = |lane: &LaneId| self.lanes.get(lane.index()).map_or(0.0, |lane| lane.handed);
        let handed: Vec<f64> = lanes.iter().map(of_late).collect();
        let sum: f64 = handed.iter().sum();
        for (lane, handed) in lanes.iter().zip(handed) {
            let bytes = wire * handed / sum;
            for budget in self.budgets.iter_mut().filter(|_| sum > 0.0) {
                budget.count(Some(*lane), bytes);
            }
            if let Some(known) = self.lanes.get_mut(lane.index()) {
                known.handed /= 2.0; // some of it may be on the wire only in the next second
            }
        }
        for budget in self.budgets.iter_mut().filter(|_| sum <= 0.0) {
            budget.count(None, wire);
        }
        if landed > 0 {
            let kept = if self.landed > RATIO_BYTES { 0.5 } else { 1.0 };
            self.landed = self.landed * kept + float(landed as u64);
            self.wire = self.wire * kept + wire;
        }
    }

    fn ratio(&self) -> f64 {
        if self.landed > RATIO_BYTES / 16.0 {
            self.wire / self.landed
        } else {
            WIRE
        }
    }

    pub(crate) fn budgets(&self) -> impl Iterator<Item = BudgetUse> {
        self.budgets.iter().map(|budget| BudgetUse {
            per: budget.per,
            bytes: whole(budget.bytes),
            used: whole(budget.used()),
            is_used_up: budget.is_used_up(),
        })
    }

    /// What is to be on disk, if it is time to write that; `exactly` at the end.
    pub(crate) fn note(&mut self, exactly: bool) -> Option<String> {
        let due = exactly || self.budgets.iter().any(Budget::is_to_be_noted);
        if self.budgets.is_empty() || !due {
            return None;
        }
        let names = &self.names;
        let notes = self.budgets.iter_mut().map(|one| one.note(exactly, names));
        serde_json::to_string(&notes.collect::<Vec<_>>()).ok()
    }
}

/// The time zone of `[link]`, or what is wrong with it.
pub(crate) fn zone(section: &LinkSection) -> Result<TimeZone, jiff::Error> {
    let Some(name) = &section.time_zone else {
        return Ok(TimeZone::system());
    };
    TimeZone::get(name).or_else(|error| TimeZone::posix(name).map_err(|_| error))
}

fn until(now: &Zoned, then: &Zoned) -> Duration {
    Duration::try_from(now.duration_until(then)).unwrap_or_default()
}

fn words(left: Duration) -> String {
    crate::status::age(left.as_secs_f64())
}

#[cfg(test)]
mod tests;
