//! Records leave in bunches, and few bunches of a lane are under way at once.
//!
//! A request costs as much CPU and as many bytes with one record in it as with hundreds. So a lane lingers: what is new is
//! handed over once the oldest of it has waited for `linger`, once it makes a whole request, or at once where a source waits
//! for receipts.
//!
//! And with five *messages* of a partition under way, librdkafka sends it no other request, and waits for the answer in a busy
//! loop if it has more for it (2.12, `rd_kafka_toppar_producer_serve`). So the next bunch gathers in the lane until the one before
//! has landed, and bunches grow as long as a link of many milliseconds takes no longer for them. Only where the link itself sets
//! the pace as many are under way as it carries (`flow.rs`), which keeps it busy at the cost of that loop.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::room::Room;

/// Messages of a partition under way with which librdkafka sends no other request (`RD_KAFKA_IDEMP_MAX_INFLIGHT`).
const FEW: usize = 5;
/// A link that a whole bunch keeps for less than this does not set the pace.
const SHORT: Duration = Duration::from_millis(80);
/// Bytes of a whole bunch: at first, and at least, as smaller ones compress too badly to gain anything.
const FIRST: usize = 56 * 1024;
const LEAST: usize = 16 * 1024;
/// Several that take longer than this are too large: the link has become slower.
const TOO_LONG: Duration = Duration::from_secs(5);
/// What is handed over within this time is one request: librdkafka's own linger on connections that are not urgent.
pub(crate) const TOGETHER: Duration = Duration::from_millis(1);
/// A bunch that takes longer holds back nothing: one partition may hang while others go on.
const SLOW: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Bunches {
    /// None for a lane that is urgent.
    linger: Option<Duration>,
    /// What is before this sequence has lingered.
    released: u64,
    under_way: VecDeque<Bunch>,
    way: Way,
}

/// What bunches that landed say of the way to the cluster.
#[derive(Debug)]
struct Way {
    /// Bytes of a whole bunch.
    size: usize,
    /// How long the last whole one kept the link, besides the round trip.
    kept: Duration,
    round_trip: Duration,
}

#[derive(Debug)]
struct Bunch {
    begun: Instant,
    /// The token after its last record.
    end: u64,
    /// Records that were not delivered yet, and bytes of all.
    left: usize,
    bytes: usize,
    is_whole: bool,
    was_alone: bool,
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
            way: Way {
                size: FIRST,
                kept: Duration::ZERO,
                round_trip: Duration::ZERO,
            },
        }
    }

    /// Another time to wait for others, where the lane waits at all.
    pub(crate) fn linger(&mut self, linger: Duration) {
        self.linger = self.linger.map(|_| linger);
    }

    /// What may leave of what has gathered, in requests of at most `most` bytes.
    pub(crate) fn room(&mut self, gathered: Gathered, most: usize, now: Instant) -> Room {
        let Some(linger) = self.linger else {
            return Room::Now(usize::MAX);
        };
        let size = self.way.size.min(most);
        let is_whole = gathered.bytes >= size;
        if !gathered.replay && gathered.sequence >= self.released {
            let due = gathered.arrived + linger;
            if now < due && !is_whole {
                return Room::Until(due);
            }
            self.released = gathered.end;
        }
        if let Some(bunch) = self.open(most, now) {
            return Room::Now(size - bunch.bytes);
        }
        // One that hangs holds back nothing.
        let fresh = self.under_way.iter().filter(|one| now < one.begun + SLOW);
        let few = fresh.map(|one| one.left).sum::<usize>() < FEW;
        if few || (is_whole && self.way.sets_the_pace(size >= most)) {
            Room::Now(size)
        } else {
            Room::WhenDelivered
        }
    }

    /// More has gathered than may be under way.
    pub(crate) fn is_behind(&self, gathered: Gathered, most: usize) -> bool {
        self.linger.is_some() && gathered.bytes >= self.way.size.min(most)
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
        let size = self.way.size.min(most);
        (now < last.begun + TOGETHER && last.bytes < size).then_some(last)
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
                is_whole: false,
                was_alone: self.under_way.is_empty(),
            });
        }
        let whole = self.way.size.min(most) / 4 * 3;
        if let Some(bunch) = self.under_way.back_mut() {
            bunch.end = token + 1;
            bunch.left += 1;
            bunch.bytes += bytes;
            bunch.is_whole = bunch.bytes >= whole;
        }
    }

    /// It was delivered, or came back. `round_trip` is the least of a request, if it is known.
    pub(crate) fn landed(&mut self, token: u64, round_trip: Option<Duration>, now: Instant) {
        let index = self.under_way.partition_point(|bunch| bunch.end <= token);
        if let Some(bunch) = self.under_way.get_mut(index) {
            bunch.left = bunch.left.saturating_sub(1);
            if bunch.left == 0
                && let Some(bunch) = self.under_way.remove(index)
            {
                round_trip.inspect(|round_trip| self.way.took(&bunch, *round_trip, now));
            }
        }
    }

    /// What was under way is forgotten.
    pub(crate) fn forget(&mut self) {
        self.under_way.clear();
    }
}

impl Way {
    /// Only a bunch that was alone says how long it kept the link: of several, librdkafka makes one request for each partition. That
    /// it is long says little: a new connection, or a lost packet, takes round trips more.
    fn took(&mut self, bunch: &Bunch, round_trip: Duration, now: Instant) {
        let took = now.saturating_duration_since(bunch.begun);
        if bunch.was_alone && bunch.is_whole {
            (self.round_trip, self.kept) = (round_trip, took.saturating_sub(round_trip));
            if self.kept < SHORT {
                self.size = self.size.max(bunch.bytes * 2);
            }
        } else if took > TOO_LONG && bunch.bytes < self.size * 2 {
            self.size = (self.size / 2).max(LEAST);
        }
    }

    /// The link sets the pace, or a bunch cannot grow.
    fn sets_the_pace(&self, is_largest: bool) -> bool {
        self.kept >= SHORT || (is_largest && self.round_trip >= SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::number;

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

    /// Hands over what may leave of a large backlog, in some records; returns the bytes.
    fn hand_over(bunches: &mut Bunches, token: &mut u64, now: Instant) -> usize {
        let gathered = Gathered {
            bytes: 4 * REQUEST_MAX,
            ..gathered(*token, now, 0)
        };
        let Room::Now(room) = bunches.room(gathered, REQUEST_MAX, now) else {
            return 0;
        };
        for _ in 0..RECORDS {
            bunches.handed_over(*token, room.div_ceil(RECORDS), REQUEST_MAX, now);
            *token += 1;
        }
        room.div_ceil(RECORDS) * RECORDS
    }

    const RECORDS: usize = 28;
    const REQUEST_MAX: usize = 256 * 1024;

    #[test]
    fn few_records_leave_at_once_and_of_more_the_next_bunch_waits_for_the_one_before() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut bunches = Bunches::new(false, Duration::ZERO);
        for token in 0..4 {
            let room = bunches.room(gathered(token, begun, 1), REQUEST, at(token * 10));
            assert_eq!(room, Room::Now(REQUEST), "few");
            bunches.handed_over(token, 100, REQUEST, at(token * 10));
        }
        bunches.handed_over(4, 100, REQUEST, at(30));
        let mut room = |records, ms| bunches.room(gathered(5, begun, records), REQUEST, at(ms));
        assert_eq!(room(1, 30), Room::Now(REQUEST - 200), "with the last");
        assert_eq!(room(9, 33), Room::WhenDelivered);
        assert_eq!(room(10, 33), Room::WhenDelivered, "nor a whole one");
        assert_eq!(
            room(1, 2030),
            Room::Now(REQUEST),
            "all before the last hang"
        );
        bunches.landed(3, None, at(34));
        let room = bunches.room(gathered(5, begun, 1), REQUEST, at(34));
        assert_eq!(room, Room::Now(REQUEST), "four are few");
        bunches.forget();
        assert!(bunches.under_way.is_empty());
    }

    /// Their tokens and bytes.
    type Records = Vec<(u64, usize)>;

    /// Drains a large backlog to some partitions for a minute; the link carries `carries` bytes a millisecond. As in librdkafka, a
    /// partition has one request under way, which takes all that waits for it; the bytes under way are bounded as by a flow.
    /// Returns the largest bunch, the most bunches under way at once, and bytes a second, of the last 20 s.
    fn drains(round_trip: u64, carries: usize, partitions: usize) -> (usize, usize, usize) {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut bunches = Bunches::new(false, Duration::ZERO);
        let mut waiting = vec![Records::new(); partitions];
        let mut asked: Vec<Option<(u64, Records)>> = vec![None; partitions];
        let (mut token, mut free, least) = (0, 0, Duration::from_millis(round_trip));
        let (mut largest, mut most, mut late) = (0, 0, 0);
        for ms in 0..60_000 {
            for (wait, request) in waiting.iter_mut().zip(&mut asked) {
                if let Some((_, landed)) = request.take_if(|(at, _)| *at <= ms) {
                    for (token, bytes) in landed {
                        bunches.landed(token, Some(least), at(ms));
                        late += if ms >= 40_000 { bytes } else { 0 };
                    }
                }
                if request.is_none() && !wait.is_empty() {
                    let bytes: usize = wait.iter().map(|(_, bytes)| bytes).sum();
                    free = free.max(ms) + u64::try_from(bytes / carries).unwrap();
                    *request = Some((free + round_trip, std::mem::take(wait)));
                }
            }
            let under_way: usize = bunches.under_way.iter().map(|one| one.bytes).sum();
            let first = token;
            let sent = if under_way < carries * 1200 {
                hand_over(&mut bunches, &mut token, at(ms))
            } else {
                0
            };
            for one in first..token {
                let partition = usize::try_from(one).unwrap() % partitions;
                waiting[partition].push((one, sent / RECORDS));
            }
            if ms >= 40_000 {
                (largest, most) = (largest.max(sent), most.max(bunches.under_way.len()));
            }
        }
        (largest, most, late / 20)
    }

    #[test]
    fn bunches_grow_over_a_long_way_and_fit_a_slow_one_which_several_keep_busy() {
        // Round trip in ms, bytes a ms, partitions; the largest bunch, those under way, and the share of the link, of each at least and
        // at most.
        for (way, size, under_way, share) in [
            ((2, 100_000, 4), 250_000..=263_000, 1..=1, 0.3..=1.0),
            ((300, 100_000, 1), 250_000..=263_000, 9..=500, 0.3..=1.0),
            ((300, 250, 1), 40_000..=120_000, 3..=7, 0.6..=1.05),
            ((300, 250, 4), 40_000..=120_000, 3..=7, 0.9..=1.05),
            ((50, 20, 4), 40_000..=60_000, 1..=2, 0.9..=1.05),
        ] {
            let (round_trip, carries, partitions) = way;
            let (largest, most, rate) = drains(round_trip, carries, partitions);
            let share_of = number::float(rate as u64) / number::float(carries as u64 * 1000);
            let case = format!("{way:?}: {largest}, {most}, {share_of}");
            assert!(size.contains(&largest), "{case}");
            assert!(under_way.contains(&most), "{case}");
            assert!(share.contains(&share_of), "{case}");
        }
    }
}
