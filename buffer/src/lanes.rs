//! All lanes in memory, and what they ask of the disk.

mod figures;

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::block::Placed;
use crate::lane::{Lane, UNREPORTED_MAX};
use crate::marks::LaneMark;
use crate::settings::{DropReason, Dropped, LaneSettings, Next, Refusal};
use crate::values::{LaneOpened, LaneWrite, Marked, ReadBack, Tidied, Written};
use crate::{Claim, LaneId, Record};

/// After a write failed the lane goes on from memory and tries again this much later.
const WRITE_RETRY: Duration = Duration::from_secs(2);
/// A read that failed is tried again this much later, so that a disk that fails is not asked all the time.
const READ_RETRY: Duration = Duration::from_secs(1);
/// Marks are written this long after the last ones, never for each batch; a lost one is a repeat.
const MARK_EVERY: Duration = Duration::from_secs(2);

/// A read that the disk is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAsk {
    pub lane: LaneId,
    pub sequences: Range<u64>,
}

pub struct Lanes<R, T> {
    all: Vec<Lane<R, T>>,
    /// A group commit is under way.
    writing: bool,
    marking: bool,
    marked_at: Option<Instant>,
    /// How much longer than usual bulk lanes wait for their commits, to spare the flash.
    spare: f64,
}

/// What a lane's commits go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) outage: bool,
    pub(crate) spare: f64,
}

impl<R: Record, T: Claim> Lanes<R, T> {
    /// `settings` and `opened` are in the order of [`LaneId`]s.
    #[must_use]
    pub fn new(epoch: u32, settings: Vec<LaneSettings>, opened: Vec<LaneOpened>) -> Self {
        let all = settings
            .into_iter()
            .zip(opened)
            .map(|(s, o)| Lane::new(s, epoch, o))
            .collect();
        Lanes {
            all,
            writing: false,
            marking: false,
            marked_at: None,
            spare: 1.0,
        }
    }

    fn pace(&self, outage: bool) -> Pace {
        Pace {
            outage,
            spare: self.spare,
        }
    }

    /// Bulk lanes wait so many times as long for their commits, from 1 on.
    pub fn spare_flash(&mut self, factor: f64) {
        self.spare = factor.max(1.0);
    }

    fn lane(&self, lane: LaneId) -> &Lane<R, T> {
        self.all
            .get(lane.index())
            .expect("lane ids are made from the list of lanes")
    }

    fn lane_mut(&mut self, lane: LaneId) -> &mut Lane<R, T> {
        self.all
            .get_mut(lane.index())
            .expect("lane ids are made from the list of lanes")
    }

    pub fn ids(&self) -> impl Iterator<Item = LaneId> + use<R, T> {
        (0..self.all.len())
            .filter_map(|index| u8::try_from(index).ok())
            .map(LaneId)
    }

    /// Whether a record whose source can wait has to wait until the lane's disk has made room in memory: the bytes that it waits
    /// for. Else, [`Lanes::append`] takes it, or does with it what the lane's policy says.
    pub fn must_wait(&mut self, lane: LaneId, record: &R) -> Option<usize> {
        self.lane_mut(lane).must_wait_with(record)
    }

    /// The same of one that waits already.
    pub fn still_waits(&mut self, lane: LaneId, bytes: usize) -> bool {
        self.lane_mut(lane).must_wait(bytes)
    }

    /// Takes a record. On an error the lane does not have it, and the claim is the caller's again.
    pub fn append(
        &mut self,
        lane: LaneId,
        record: R,
        claim: T,
        now: Instant,
    ) -> Result<(), Refusal<T>> {
        self.lane_mut(lane).append(record, claim, now)
    }

    /// The record that is to be sent next, if it is in memory.
    #[must_use]
    pub fn peek(&self, lane: LaneId) -> Option<Next<'_, R>> {
        self.lane(lane).peek()
    }

    /// Bytes in memory that were not handed over.
    #[must_use]
    pub fn held(&self, lane: LaneId) -> usize {
        self.lane(lane).held()
    }

    /// The sequence after the last.
    #[must_use]
    pub fn end(&self, lane: LaneId) -> u64 {
        self.lane(lane).end()
    }

    /// What [`Lanes::peek`] showed was handed to the uplink and is in flight from here on.
    pub fn hand_over(&mut self, lane: LaneId, now: Instant) {
        self.lane_mut(lane).hand_over(now);
    }

    /// The cluster has it. Call [`Lanes::settle`] after a batch of these.
    pub fn delivered(&mut self, lane: LaneId, token: u64, now: Instant) {
        self.lane_mut(lane).delivered(token, now);
    }

    /// The cluster will never take it, or it is of no use any more; it is dropped and returned.
    pub fn give_up(&mut self, lane: LaneId, token: u64, why: DropReason) -> Option<Placed<R>> {
        self.lane_mut(lane).give_up(token, why)
    }

    /// It cannot be delivered for now, and must not hold up what follows.
    pub fn defer(&mut self, lane: LaneId, token: u64) {
        self.lane_mut(lane).defer(token);
    }

    /// As [`Lanes::defer`], and what follows in an ordered lane waits for it.
    pub fn put_back(&mut self, lane: LaneId, token: u64) {
        self.lane_mut(lane).put_back(token);
    }

    /// What is in flight may come back, and what follows in an ordered lane waits for that.
    pub fn hold(&mut self, lane: LaneId) {
        self.lane_mut(lane).hold();
    }

    /// Deferred records are to be tried again.
    pub fn retry_deferred(&mut self) {
        self.all.iter_mut().for_each(Lane::retry_deferred);
    }

    #[must_use]
    pub fn has_deferred(&self) -> bool {
        self.all.iter().any(Lane::has_deferred)
    }

    /// Everything of this lane that is in flight is to be sent again, in order.
    pub fn resend(&mut self, lane: LaneId) {
        self.lane_mut(lane).resend();
    }

    pub fn settle(&mut self) {
        self.all.iter_mut().for_each(Lane::settle);
    }

    /// Sources wait for receipts: the commit of each lane that has to give some is due now.
    pub fn urge(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.urge(false));
    }

    /// The commit of every lane is due now.
    pub fn urge_all(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.urge(true));
    }

    /// Sources wait, or did, for receipts of records of this lane before this sequence.
    #[must_use]
    pub fn awaited_to(&self, lane: LaneId) -> u64 {
        self.lane(lane).awaited_to()
    }

    /// What is to be written now, as one group commit. The answer goes to [`Lanes::written`].
    pub fn commit(&mut self, now: Instant, outage: bool) -> Vec<LaneWrite<R>> {
        if self.writing {
            return Vec::new();
        }
        let (mut writes, pace) = (Vec::new(), self.pace(outage));
        for (index, lane) in self.all.iter_mut().enumerate() {
            let due = lane.due(&pace).is_some_and(|due| due <= now);
            if let (true, Ok(index)) = (due, u8::try_from(index)) {
                if lane.is_awaited() {
                    lane.missed();
                }
                writes.push(LaneWrite {
                    lane: LaneId(index),
                    records: lane.unstored(),
                });
            }
        }
        writes.retain(|write| !write.records.is_empty());
        self.writing = !writes.is_empty();
        writes
    }

    /// The moment at which [`Lanes::commit`] or [`Lanes::marks`] will have something to do.
    #[must_use]
    pub fn next_due(&self, outage: bool) -> Option<Instant> {
        let writes = self
            .all
            .iter()
            .filter(|_| !self.writing)
            .filter_map(|lane| lane.due(&self.pace(outage)));
        let marks = self
            .marks_wanted()
            .then_some(())
            .and_then(|()| self.marked_at.map(|at| at + self.mark_pause()));
        writes.chain(marks).min()
    }

    /// What became of a group commit. `outage` as for [`Lanes::commit`].
    pub fn written(&mut self, written: &[Written], now: Instant, outage: bool) {
        self.writing = false;
        for outcome in written {
            self.lane_mut(outcome.lane)
                .written(outcome, now + WRITE_RETRY, outage);
        }
    }

    /// Reads that are to be done now. The answers go to [`Lanes::read_back`].
    pub fn reads(&mut self, now: Instant) -> Vec<ReadAsk> {
        let asks = self
            .ids()
            .map(|lane| (lane, self.lane_mut(lane).begin_read(now)));
        asks.collect::<Vec<_>>()
            .into_iter()
            .filter_map(|(lane, sequences)| {
                Some(ReadAsk {
                    lane,
                    sequences: sequences?,
                })
            })
            .collect()
    }

    pub fn read_back(&mut self, back: ReadBack<R>, now: Instant) {
        let lane = self.lane_mut(back.lane);
        lane.read_back(back, now);
        lane.retry_once_landed();
    }

    /// The moment at which [`Lanes::reads`] will ask again for a read that failed.
    #[must_use]
    pub fn reads_due(&self) -> Option<Instant> {
        self.all.iter().filter_map(Lane::read_due).min()
    }

    /// A read failed; it is asked for again by [`Lanes::reads`], a second later.
    pub fn read_failed(&mut self, lane: LaneId, now: Instant) {
        let lane = self.lane_mut(lane);
        lane.read_failed(now + READ_RETRY);
        lane.retry_once_landed();
    }

    fn marks_wanted(&self) -> bool {
        let wants = |lane: &Lane<R, T>| {
            let told = lane.drops.is_empty() && lane.telling.is_empty();
            (lane.moved && (lane.on_disk() > 0 || !told)) || lane.wants_numbers()
        };
        !self.marking && self.all.iter().any(wants)
    }

    fn mark_pause(&self) -> Duration {
        if self.all.iter().any(Lane::gives_back) {
            MARK_EVERY / 4
        } else {
            MARK_EVERY
        }
    }

    /// Marks that are to be written now. The answer goes to [`Lanes::marked`].
    pub fn marks(&mut self, now: Instant) -> Option<Vec<LaneMark>> {
        let at = *self.marked_at.get_or_insert(now);
        if !self.marks_wanted() || at + self.mark_pause() > now {
            return None;
        }
        self.marked_at = Some(now);
        Some(self.marks_at_once())
    }

    /// Marks of all lanes for the end of the agent: no record is taken after it. The next start goes on with the sequence after
    /// the last.
    pub fn last_marks(&mut self) -> Vec<LaneMark> {
        let mut marks = self.marks_at_once();
        for mark in &mut marks {
            mark.ends = true;
        }
        marks
    }

    /// Marks of all lanes, wanted or not.
    pub fn marks_at_once(&mut self) -> Vec<LaneMark> {
        self.marking = true;
        self.forget_told();
        self.all
            .iter_mut()
            .map(|lane| {
                lane.moved = false;
                lane.mark()
            })
            .collect()
    }

    /// The marks were written, and left so many bytes on disk; `None` if they could not be.
    pub fn marked(&mut self, marked: Option<&Marked>) {
        self.marking = false;
        for (index, lane) in self.all.iter_mut().enumerate() {
            match marked.and_then(|marked| marked.lanes.get(index)) {
                Some(on_disk) => {
                    lane.set_on_disk(on_disk.bytes);
                    lane.set_marked(on_disk);
                }
                None => lane.moved = true,
            }
        }
    }

    /// Nothing is waiting to be written or being written.
    #[must_use]
    pub fn all_stored(&self) -> bool {
        !self.writing && self.all.iter().all(|lane| lane.oldest_unstored().is_none())
    }

    /// Of each lane, in order, the records that are neither delivered nor on disk.
    #[must_use]
    pub fn into_unstored(self) -> Vec<Vec<R>> {
        self.all.into_iter().map(Lane::into_unstored).collect()
    }

    /// Room was made without a write.
    pub fn tidied(&mut self, tidied: &[Tidied]) {
        for one in tidied {
            let lane = self.lane_mut(one.lane);
            lane.set_on_disk(one.bytes);
            one.cleared.iter().for_each(|cleared| lane.cleared(cleared));
        }
    }

    /// What was dropped since this was last asked, or before a restart and not told. Each is to be reported;
    /// [`Lanes::told`] says that it was.
    pub fn take_drops(&mut self, lane: LaneId) -> Vec<Dropped> {
        let lane = self.lane_mut(lane);
        let drops = std::mem::take(&mut lane.drops);
        lane.telling
            .extend(drops.iter().map(|drop| (drop.clone(), None)));
        lane.telling.truncate(UNREPORTED_MAX);
        drops
    }

    /// What was taken of `lane` is in the record that was last appended to the lane `by`; it is remembered until
    /// that record is stored or delivered.
    pub fn told(&mut self, lane: LaneId, by: LaneId) {
        let report = (by, self.lane(by).last_sequence());
        for (_, told) in &mut self.lane_mut(lane).telling {
            told.get_or_insert(report);
        }
    }

    /// What is told for good need not be remembered.
    fn forget_told(&mut self) {
        for lane in self.ids() {
            let mut telling = std::mem::take(&mut self.lane_mut(lane).telling);
            telling.retain(|(_, report)| {
                report.is_none_or(|(by, sequence)| self.lane(by).is_only_in_memory(sequence))
            });
            self.lane_mut(lane).telling = telling;
        }
    }
}
