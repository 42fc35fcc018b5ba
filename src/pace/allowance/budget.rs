//! Bytes of an hour, a day or a month, and what of them is used. Pure: time comes in as an argument.

use buffer::LaneId;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use super::section::{BudgetSection, Period};
use crate::pace::lane::LanePace;
use crate::pace::number::float;

/// Of what may be used up between two notes on disk; a kill costs at most this share of a budget.
const AHEAD: f64 = 0.01;
/// Periods whose use is remembered besides the one that it is: a clock that was wrong may come back to them.
const OTHERS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Budget {
    pub(super) per: Period,
    pub(super) bytes: f64,
    /// Kept for urgent lanes.
    reserve: f64,
    /// Of each lane: whether it is urgent, and the most that it may use.
    lanes: Vec<(bool, f64)>,
    began: Timestamp,
    pub(super) ends: Timestamp,
    /// Of each lane, and what belongs to none of them.
    used: Vec<f64>,
    other: f64,
    /// The same when the clock came to this period.
    before: (Vec<f64>, f64),
    /// What was used in periods that the clock has left, the last one first.
    left: Vec<Left>,
    /// What is on disk as used.
    noted: f64,
    pub(super) told: bool,
}

/// What was used in a period that the clock has left.
#[derive(Debug, Clone, PartialEq)]
struct Left {
    began: Timestamp,
    used: Vec<f64>,
    other: f64,
}

/// A budget as it is noted on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Noted {
    per: Period,
    began: Timestamp,
    used: Vec<(String, f64)>,
    other: f64,
    /// Earlier versions had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left: Vec<Noted>,
}

impl Budget {
    pub(super) fn new(section: &BudgetSection, lanes: &[LanePace]) -> Budget {
        let bytes = float(section.bytes.0);
        let most = |name: &str| {
            section
                .shares
                .get(name)
                .map_or(bytes, |share| share * bytes)
        };
        let lanes: Vec<_> = lanes
            .iter()
            .map(|lane| (lane.urgent, most(&lane.name)))
            .collect();
        Budget {
            per: section.per,
            bytes,
            reserve: section.reserve * bytes,
            used: vec![0.0; lanes.len()],
            before: (vec![0.0; lanes.len()], 0.0),
            lanes,
            began: Timestamp::MIN,
            ends: Timestamp::MIN,
            other: 0.0,
            left: Vec::new(),
            noted: 0.0,
            told: false,
        }
    }

    /// Goes on from what was noted. A gateway that was killed may have used a little less.
    pub(super) fn recall(&mut self, noted: &[Noted], names: &[String]) {
        let Some(noted) = noted.iter().find(|noted| noted.per == self.per) else {
            return;
        };
        let mut read = |noted: &Noted| {
            let (mut used, mut other) = (vec![0.0; self.used.len()], noted.other);
            for (name, bytes) in &noted.used {
                match names.iter().position(|known| known == name) {
                    Some(index) => used[index] = *bytes,
                    None => other += bytes,
                }
            }
            let began = noted.began;
            Left { began, used, other }
        };
        let left = noted.left.iter().take(OTHERS_MAX).map(&mut read).collect();
        let Left { began, used, other } = read(noted);
        (self.began, self.used, self.other, self.left) = (began, used, other, left);
        self.noted = self.used();
    }

    /// Goes over to the period of `now` if that is another: what was used in it before counts again.
    ///
    /// A clock that was ahead has left the period that it really is: what it used meanwhile counts for that too.
    pub(super) fn roll_over(&mut self, now: &Zoned) {
        let Some((began, ends)) = period(self.per, now) else {
            return;
        };
        self.ends = ends;
        if began == self.began {
            return;
        }
        let was_ahead = began < self.began;
        let here = self.left.iter().position(|left| left.began == began);
        let here = here.map(|index| self.left.remove(index));
        let none = || (vec![0.0; self.used.len()], 0.0);
        let (used, other) = here.map_or_else(none, |here| (here.used, here.other));
        let left = Left {
            began: self.began,
            used: std::mem::replace(&mut self.used, used),
            other: std::mem::replace(&mut self.other, other),
        };
        if was_ahead {
            let meanwhile = left.used.iter().zip(&self.before.0);
            for (used, (now, before)) in self.used.iter_mut().zip(meanwhile) {
                *used += now - before;
            }
            self.other += left.other - self.before.1;
        }
        self.before = (self.used.clone(), self.other);
        if left.began != Timestamp::MIN {
            self.left.insert(0, left);
            self.left.truncate(OTHERS_MAX);
        }
        (self.began, self.noted, self.told) = (began, 0.0, false);
    }

    pub(super) fn count(&mut self, lane: Option<LaneId>, bytes: f64) {
        match lane.and_then(|lane| self.used.get_mut(lane.index())) {
            Some(used) => *used += bytes,
            None => self.other += bytes,
        }
    }

    pub(super) fn used(&self) -> f64 {
        self.used.iter().sum::<f64>() + self.other
    }

    /// What a lane may still use, `under_way` bytes being on their way in all lanes that are not urgent; urgent lanes
    /// are not asked.
    pub(super) fn left(&self, lane: LaneId, under_way: f64) -> f64 {
        let of_all = self.bulk_left() - under_way;
        let most = self.lanes.get(lane.index()).map_or(0.0, |(_, most)| *most);
        let used = self.used.get(lane.index()).copied().unwrap_or(0.0);
        of_all.min(most - used - under_way)
    }

    /// What all lanes that are not urgent may still use.
    fn bulk_left(&self) -> f64 {
        let urgent = self.lanes.iter().zip(&self.used);
        let urgent: f64 = urgent
            .filter_map(|((urgent, _), used)| urgent.then_some(used))
            .sum();
        self.bytes - (self.used() - urgent) - urgent.max(self.reserve)
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.bulk_left() <= 0.0
    }

    /// More than half of what was noted ahead is used.
    pub(super) fn is_to_be_noted(&self) -> bool {
        self.used() + self.bytes * AHEAD / 2.0 > self.noted && self.used() > 0.0
    }

    /// What is to be on disk: with a little that is not used yet, so that a kill makes nothing of it unseen; or
    /// exactly.
    pub(super) fn note(&mut self, exactly: bool, names: &[String]) -> Noted {
        let ahead = if exactly { 0.0 } else { self.bytes * AHEAD };
        self.noted = self.used() + ahead;
        let note = |began, used: &[f64], other, left| Noted {
            per: self.per,
            began,
            used: names.iter().cloned().zip(used.iter().copied()).collect(),
            other,
            left,
        };
        let left = self.left.iter();
        let left = left.map(|one| note(one.began, &one.used, one.other, Vec::new()));
        note(self.began, &self.used, self.other + ahead, left.collect())
    }
}

/// When the period of `now` began and ends.
fn period(per: Period, now: &Zoned) -> Option<(Timestamp, Timestamp)> {
    let (began, ends) = match per {
        Period::Hour => {
            let hour = now.with().minute(0).second(0).subsec_nanosecond(0);
            let hour = hour.build().ok()?;
            let ends = hour.checked_add(1.hour()).ok()?;
            (hour, ends)
        }
        Period::Day => {
            let day = now.start_of_day().ok()?;
            (day, now.tomorrow().ok()?.start_of_day().ok()?)
        }
        Period::Month => {
            let month = now.first_of_month().ok()?.start_of_day().ok()?;
            let ends = month.checked_add(1.month()).ok()?;
            (month, ends)
        }
    };
    Some((began.timestamp(), ends.timestamp()))
}
