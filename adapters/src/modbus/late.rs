//! Which answers may still come. Pure: time comes in as an argument.
//!
//! An RTU answer does not say what it answers, but for its slave, its function and its length. So while a request is
//! unanswered, an answer of the same three may be the late one to it, with the values of other registers. A request of
//! another length tells them apart: a slave answers in order, so once that is answered nothing earlier will come.

use tokio::time::Instant;

use super::frame::{BITS_MAX, REGISTERS_MAX, Request};

#[derive(Debug, Default)]
pub(super) struct Late {
    expected: Vec<Expected>,
}

#[derive(Debug)]
struct Expected {
    slave: u8,
    function: u8,
    length: usize,
    /// No slave is later than that.
    until: Instant,
}

impl Late {
    /// `request` had no answer that could be used; one may come `until` then.
    pub(super) fn unanswered(&mut self, slave: u8, request: Request, until: Instant) {
        let (function, length) = (request.function, request.data_length());
        self.expected
            .retain(|one| (one.slave, one.function, one.length) != (slave, function, length));
        self.expected.push(Expected {
            slave,
            function,
            length,
            until,
        });
    }

    /// A request that no late answer can be taken for an answer to was answered.
    pub(super) fn answered(&mut self, slave: u8) {
        self.expected.retain(|one| one.slave != slave);
    }

    /// Whether a late answer would pass for one to `request`.
    pub(super) fn passes(&mut self, slave: u8, request: Request, now: Instant) -> bool {
        self.expected.retain(|one| one.until > now);
        self.is_expected(slave, request)
    }

    fn is_expected(&self, slave: u8, request: Request) -> bool {
        let is_like = |one: &Expected| {
            (one.slave, one.function, one.length)
                == (slave, request.function, request.data_length())
        };
        self.expected.iter().any(is_like)
    }

    /// A request of registers that `request` reads, with one more at most, which no late answer passes for.
    pub(super) fn distinct(&self, slave: u8, request: Request) -> Option<Request> {
        let (step, most) = if request.function <= 2 {
            (8, BITS_MAX)
        } else {
            (1, REGISTERS_MAX)
        };
        let shorter = (1..request.count).rev().step_by(usize::from(step));
        let longer = request.count.checked_add(step);
        let counts = shorter.chain(
            longer.filter(|count| *count <= most && request.address.checked_add(*count).is_some()),
        );
        counts
            .map(|count| Request { count, ..request })
            .find(|one| !self.is_expected(slave, *one))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(address: u16, count: u16) -> Request {
        Request {
            function: 3,
            address,
            count,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_looks_like_a_late_answer_is_told_apart_by_its_length() {
        let (now, mut late) = (Instant::now(), Late::default());
        late.unanswered(5, read(0, 2), now + SECOND);
        assert!(late.passes(5, read(40, 2), now));
        assert!(!late.passes(6, read(40, 2), now));
        assert!(!late.passes(5, read(40, 3), now));
        assert_eq!(late.distinct(5, read(40, 2)), Some(read(40, 1)));
        late.unanswered(5, read(40, 1), now + SECOND);
        assert_eq!(late.distinct(5, read(40, 2)), Some(read(40, 3)));
        late.answered(5);
        assert!(!late.passes(5, read(40, 2), now));
        late.unanswered(5, read(0, 2), now + SECOND);
        assert!(!late.passes(5, read(40, 2), now + SECOND));
    }

    proptest! {
        #[test]
        fn what_is_told_apart_is_a_legal_read_that_nothing_passes_for(
            function in 1u8..=4, address in 0u16..=65_400, count in 1u16..=125, earlier in prop::collection::vec(1u16..=125, 0..20),
        ) {
            let now = Instant::now();
            let mut late = Late::default();
            let of = |count| Request { function, address, count };
            for count in earlier {
                late.unanswered(1, of(count), now + SECOND);
            }
            if let Some(distinct) = late.distinct(1, of(count)) {
                prop_assert!(!late.passes(1, distinct, now));
                let most = if function <= 2 { BITS_MAX } else { REGISTERS_MAX };
                prop_assert!((1..=most).contains(&distinct.count));
                prop_assert_eq!(distinct.address, address);
            }
        }
    }
}
