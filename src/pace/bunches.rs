//! Records leave in bunches, and few bunches of a lane are under way at once.
//!
//! A request costs as much CPU and as many bytes with one record in it as with hundreds. So a lane lingers: what is new is
//! handed over once the oldest of it has waited for `linger`, once it makes a whole request, or at once where a source waits
//! for receipts.
//!
//! And librdkafka has five requests under way for each partition at most. With more to send it waits for an answer in a busy
//! loop (2.12, `rd_kafka_msgq_allow_wakeup_at`). So what would be a sixth stays in the lane, where it gathers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::room::Room;

/// Bunches under way, each a request at most for a partition (librdkafka's `RD_KAFKA_IDEMP_MAX_INFLIGHT`).
const MOST: usize = 5;
/// The same of bunches that are no whole requests: meanwhile the next one grows.
const SMALL: usize = 2;
/// What is handed over within this time is one request: librdkafka's own linger on connections that are not urgent.
pub(crate) const TOGETHER: Duration = Duration::from_millis(2);
/// A bunch that takes longer holds back nothing: one partition may hang while others go on.
const SLOW: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Bunches {
    /// None for a lane that is urgent.
    linger: Option<Duration>,
    /// What is before this sequence has lingered.
    released: u64,
    under_way: VecDeque<Bunch>,
}

#[derive(Debug)]
struct Bunch {
    begun: Instant,
    /// The token after its last record.
    end: u64,
    /// Records that were not delivered yet, and bytes of all.
    left: usize,
    bytes: usize,
}

/// What a lane has in memory and has not handed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gathered {
    /// Of the next record.
    pub sequence: u64,
    pub arrived: Instant,
    pub replay: bool,
    /// Of all of them: their bytes, and the sequence after the last.
    pub bytes: usize,
    pub end: u64,
}

impl Bunches {
    pub(crate) fn new(urgent: bool, linger: Duration) -> Bunches {
        Bunches {
            linger: (!urgent).then_some(linger),
            released: 0,
            under_way: VecDeque::new(),
        }
    }

    /// What may leave of what has gathered, in requests of `most` bytes.
    pub(crate) fn room(&mut self, gathered: Gathered, most: usize, now: Instant) -> Room {
        let Some(linger) = self.linger else {
            return Room::Now(usize::MAX);
        };
        if !gathered.replay && gathered.sequence >= self.released {
            let due = gathered.arrived + linger;
            if now < due && gathered.bytes < most {
                return Room::Until(due);
            }
            self.released = gathered.end;
        }
        if let Some(bunch) = self.open(most, now) {
            return Room::Now(most - bunch.bytes);
        }
        let is_whole = gathered.bytes >= most;
        let may_be = if is_whole { MOST } else { SMALL };
        if self.fresh(now) < may_be {
            Room::Now(most)
        } else {
            Room::WhenDelivered
        }
    }

    /// The bunch that is being handed over has room.
    pub(crate) fn takes_more(&self, most: usize, now: Instant) -> bool {
        self.linger.is_none() || self.open(most, now).is_some()
    }

    /// What is before `end` lingers no longer.
    pub(crate) fn release(&mut self, end: u64) {
        self.released = self.released.max(end);
    }

    fn open(&self, most: usize, now: Instant) -> Option<&Bunch> {
        let last = self.under_way.back()?;
        (now < last.begun + TOGETHER && last.bytes < most).then_some(last)
    }

    fn fresh(&self, now: Instant) -> usize {
        let fresh = self.under_way.iter();
        fresh.filter(|bunch| now < bunch.begun + SLOW).count()
    }

    pub(crate) fn handed_over(&mut self, token: u64, bytes: usize, most: usize, now: Instant) {
        if self.linger.is_none() {
            return;
        }
        if self.open(most, now).is_none() {
            self.under_way.push_back(Bunch {
                begun: now,
                end: token,
                left: 0,
                bytes: 0,
            });
        }
        if let Some(bunch) = self.under_way.back_mut() {
            bunch.end = token + 1;
            bunch.left += 1;
            bunch.bytes += bytes;
        }
    }

    /// It was delivered, or came back.
    pub(crate) fn landed(&mut self, token: u64) {
        let index = self.under_way.partition_point(|bunch| bunch.end <= token);
        if let Some(bunch) = self.under_way.get_mut(index) {
            bunch.left = bunch.left.saturating_sub(1);
            if bunch.left == 0 {
                self.under_way.remove(index);
            }
        }
    }

    /// What was under way is forgotten.
    pub(crate) fn forget(&mut self) {
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: usize = 1000;

    fn gathered(sequence: u64, arrived: Instant, records: u64) -> Gathered {
        Gathered {
            sequence,
            arrived,
            replay: false,
            bytes: usize::try_from(records).unwrap() * 100,
            end: sequence + records,
        }
    }

    #[test]
    fn what_is_new_leaves_together_after_its_linger_or_as_a_whole_request_or_when_a_source_waits() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let linger = Duration::from_millis(500);
        let mut bunches = Bunches::new(false, linger);
        let due = Room::Until(at(500));
        assert_eq!(bunches.room(gathered(0, begun, 3), REQUEST, at(499)), due);
        let all = Room::Now(REQUEST);
        assert_eq!(bunches.room(gathered(0, begun, 3), REQUEST, at(500)), all);
        // Those that came with it go with it, whenever they came.
        assert_eq!(bunches.room(gathered(1, at(499), 2), REQUEST, at(500)), all);
        let next = Room::Until(at(999));
        assert_eq!(
            bunches.room(gathered(3, at(499), 1), REQUEST, at(500)),
            next
        );
        assert_eq!(
            bunches.room(gathered(3, at(499), 10), REQUEST, at(500)),
            all
        );
        let later = gathered(13, at(510), 2);
        assert_eq!(bunches.room(later, REQUEST, at(520)), Room::Until(at(1010)));
        bunches.release(15);
        assert_eq!(bunches.room(later, REQUEST, at(520)), all);
        let read_back = Gathered {
            replay: true,
            ..gathered(15, at(520), 1)
        };
        assert_eq!(bunches.room(read_back, REQUEST, at(520)), all);
        let mut urgent = Bunches::new(true, linger);
        let alarm = urgent.room(gathered(0, begun, 1), REQUEST, begun);
        assert_eq!(alarm, Room::Now(usize::MAX));
    }

    #[test]
    fn no_more_than_five_requests_are_under_way_and_one_that_hangs_holds_nothing_back() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut bunches = Bunches::new(false, Duration::ZERO);
        let room = |bunches: &mut Bunches, records, ms| {
            bunches.room(gathered(0, begun, records), REQUEST, at(ms))
        };
        for token in 0..4 {
            assert_ne!(room(&mut bunches, 1, token / 2 * 10), Room::WhenDelivered);
            bunches.handed_over(token, 100, REQUEST, at(token / 2 * 10));
        }
        assert_eq!(bunches.under_way.len(), SMALL, "two records each");
        let left = Room::Now(REQUEST - 200);
        assert_eq!(room(&mut bunches, 1, 11), left, "with the last");
        assert_eq!(room(&mut bunches, 9, 12), Room::WhenDelivered, "it grows");
        for token in 4..7 {
            assert_eq!(room(&mut bunches, 10, 12), Room::Now(REQUEST));
            bunches.handed_over(token, REQUEST, REQUEST, at(12));
        }
        assert_eq!(room(&mut bunches, 10, 12), Room::WhenDelivered);
        bunches.landed(3);
        assert_eq!(room(&mut bunches, 10, 12), Room::WhenDelivered);
        bunches.landed(2);
        assert_eq!(room(&mut bunches, 10, 12), Room::Now(REQUEST));
        assert_eq!(room(&mut bunches, 1, 12), Room::WhenDelivered);
        assert_eq!(room(&mut bunches, 1, 2012), Room::Now(REQUEST), "all hang");
        bunches.forget();
        assert_eq!(room(&mut bunches, 1, 12), Room::Now(REQUEST));
    }
}
