//! What `[link]` allows: when a lane may send, and how many bytes. Pure: time, on the wall and not, comes in as an argument.
//!
//! Windows and budgets go by the calendar, hence by the wall clock: the only place where anything does. While that is
//! known to be wrong no window is open and no budget begins anew.

mod budget;

mod cron;

mod section;

use std::time::{Duration, Instant};

use buffer::LaneId;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use self::budget::{Budget, Noted};
pub(crate) use self::cron::Cron;
use self::section::BudgetSection;
pub(crate) use self::section::{LinkSection, Period};
use super::lane::LanePace;
use super::room::{Room, Wait};
use crate::pace::number::{self, float, whole};

/// Bytes on the wire for each byte that is handed over, until that is measured: nothing is compressed away.
pub(crate) const WIRE: f64 = 1.2;
/// What is under way is counted within this.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);
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
struct Closed {
    until: Instant,
    why: Wait,
}

/// A budget, for the status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BudgetUse {
    pub per: Period,
    pub bytes: u64,
    pub used: u64,
    pub is_used_up: bool,
}

/// `[link]`, as meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinkSettings {
    zone: TimeZone,
    /// Names of intents, or none for all that are not urgent, and when they may send.
    windows: Vec<(Vec<String>, Cron)>,
    budgets: Vec<BudgetSection>,
    /// Paid for by the byte.
    pub(crate) metered: bool,
}

impl LinkSettings {
    /// The section was checked.
    pub(crate) fn new(section: &LinkSection) -> LinkSettings {
        let windows = section.window.iter().map(|window| {
            let cron = window.open.parse().expect("a checked window has its time");
            (window.intents.clone(), cron)
        });
        LinkSettings {
            zone: zone(section).expect("a checked time zone is one"),
            windows: windows.collect(),
            budgets: section.budget.clone(),
            metered: section.is_metered(),
        }
    }
}

impl Allowance {
    pub(crate) fn new(settings: &LinkSettings, lanes: &[LanePace], delay: Duration) -> Allowance {
        let windows = |lane: &LanePace| {
            let of = settings.windows.iter().filter(|(names, _)| {
                let named = names.contains(&lane.name);
                named || (names.is_empty() && !lane.urgent)
            });
            of.map(|(_, cron)| cron.clone()).collect()
        };
        let budgets = settings.budgets.iter();
        Allowance {
            zone: settings.zone.clone(),
            names: lanes.iter().map(|lane| lane.name.clone()).collect(),
            budgets: budgets.map(|one| Budget::new(one, lanes)).collect(),
            lanes: lanes
                .iter()
                .map(|lane| Lane {
                    urgent: lane.urgent,
                    windows: windows(lane),
                    closed: None,
                    handed: 0.0,
                })
                .collect(),
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

    /// Goes on from what another was used and measured.
    pub(crate) fn goes_on_from(&mut self, old: &mut Allowance) {
        let recalled = old.note(true).map(|note| self.recall(&note));
        if let Some(Err(error)) = recalled {
            tracing::debug!(%error, "the link's budgets begin anew");
        }
        (self.wire, self.landed) = (old.wire, old.landed);
        for (lane, old) in self.lanes.iter_mut().zip(&old.lanes) {
            lane.handed = old.handed;
        }
    }

    /// Looks at the calendar, every second or so; `wall` is none while the clock is wrong. Returns the budgets that
    /// have just been used up, and when they begin anew.
    pub(crate) fn follow_calendar(
        &mut self,
        wall: Option<Timestamp>,
        now: Instant,
    ) -> Vec<(Period, Zoned)> {
        let wall = wall.map(|wall| wall.to_zoned(self.zone.clone()));
        let mut told = Vec::new();
        for budget in &mut self.budgets {
            if let Some(wall) = &wall {
                budget.roll_over(wall);
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
            return Some(Closed {
                until: now + Duration::from_secs(1),
                why: Wait::ClockUnknown,
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
            why: Wait::Window(left),
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
            why: Wait::Budget(budget.per, left),
        })
    }

    /// What a lane may hand over now, `uncounted` bytes having been handed over that are not counted on the wire yet.
    pub(crate) fn ask(&self, lane: LaneId, uncounted: usize, now: Instant) -> Room {
        let Some(known) = self.lanes.get(lane.index()).filter(|lane| !lane.urgent) else {
            return Room::Now(usize::MAX);
        };
        if let Some(Closed { until, why }) = known.closed.clone() {
            return Room::Closed { until, why };
        }
        let under_way = float(uncounted as u64) * self.ratio();
        let left = self.budgets.iter().map(|one| one.left(lane, under_way));
        let left = left.fold(f64::INFINITY, f64::min) / self.ratio();
        match number::bytes(left) {
            0 => Room::Until(now + COUNTED_WITHIN),
            bytes => Room::Now(bytes),
        }
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

#[cfg(test)]
mod tests;
