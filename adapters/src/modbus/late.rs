//! Which answers may still come. Pure: time comes in as an argument.
//!
//! An RTU answer does not say what it answers, but for its slave, its function and its length: its kind. So while a
//! request is unanswered, an answer of its kind may be the late one to it, with the values of other registers. A request of
//! another kind tells: a slave answers in order, so an answer of that kind means that nothing from before it will come.

use tokio::time::Instant;

use super::frame::Request;

/// Requests after each of which the line was silent for a while: what cannot come any more goes before there are so many.
const EXPECTED_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Late {
    /// In the order of the requests.
    expected: Vec<Expected>,
}

/// A request whose answer may still come.
#[derive(Debug)]
struct Expected {
    slave: u8,
    function: u8,
    length: usize,
    /// No slave is later than that.
    until: Instant,
}

impl Expected {
    fn is_of(&self, slave: u8, request: Request) -> bool {
        (self.slave, self.function, self.length) == (slave, request.function, request.data_length())
    }
}

impl Late {
    /// The request had no answer that could be used; one may come `until` then.
    pub(super) fn unanswered(&mut self, slave: u8, request: Request, until: Instant) {
        if self.expected.len() == EXPECTED_MAX {
            self.expected.remove(0);
        }
        self.expected.push(Expected {
            slave,
            function: request.function,
            length: request.data_length(),
            until,
        });
    }

    /// The request had an answer. It may be the one to the first of its kind, and its own may still come `until` then.
    pub(super) fn answered(&mut self, slave: u8, request: Request, until: Instant) {
        let answers = |one: &Expected| one.is_of(slave, request);
        self.told(slave, request, until, answers, 1);
    }

    /// The request was refused, which says nothing of the length: that may be meant for any of the function.
    pub(super) fn refused(&mut self, slave: u8, request: Request, until: Instant) {
        let answers = |one: &Expected| (one.slave, one.function) == (slave, request.function);
        self.told(slave, request, until, answers, 0);
    }

    /// What was asked before the first that it `answers` will not come any more, nor will so many from that one on.
    fn told(
        &mut self,
        slave: u8,
        request: Request,
        until: Instant,
        answers: impl Fn(&Expected) -> bool,
        done: usize,
    ) {
        let first = self.expected.iter().position(answers);
        let gone = first.map_or(self.expected.len(), |first| first + done);
        let mut number = 0;
        self.expected.retain(|one| {
            number += 1;
            one.slave != slave || number > gone
        });
        if first.is_some() {
            self.unanswered(slave, request, until);
        }
    }

    /// Whether a late answer would pass for one to `request`.
    pub(super) fn passes(&mut self, slave: u8, request: Request, now: Instant) -> bool {
        self.expected.retain(|one| one.until > now);
        self.is_expected(slave, request)
    }

    fn is_expected(&self, slave: u8, request: Request) -> bool {
        self.expected.iter().any(|one| one.is_of(slave, request))
    }

    /// A request of another kind that reads nothing but what `request` reads: fewer of them, or what a slave has under the
    /// same addresses for the other function.
    pub(super) fn distinct(&self, slave: u8, request: Request) -> Request {
        let other = match request.function {
            1 => 2,
            2 => 1,
            3 => 4,
            _ => 3,
        };
        let step = if request.function <= 2 { 8 } else { 1 };
        let fewer = (1..request.count).rev().step_by(step);
        let fewer = fewer.map(|count| Request { count, ..request });
        let swapped = Request {
            function: other,
            ..request
        };
        fewer
            .filter(|one| one.data_length() != request.data_length())
            .chain([swapped])
            .find(|one| !self.is_expected(slave, *one))
            .unwrap_or(swapped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(function: u8, count: u16) -> Request {
        Request {
            function,
            address: 40,
            count,
        }
    }

    /// Sends requests that are not answered.
    fn unanswered(late: &mut Late, requests: &[Request], now: Instant) {
        for request in requests {
            late.unanswered(5, *request, now + SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_looks_like_a_late_answer_is_told_apart_by_its_kind() {
        let (now, mut late) = (Instant::now(), Late::default());
        unanswered(&mut late, &[read(3, 2)], now);
        assert!(late.passes(5, read(3, 2), now));
        assert!(!late.passes(6, read(3, 2), now));
        assert!(!late.passes(5, read(3, 3), now));
        assert_eq!(late.distinct(5, read(3, 2)), read(3, 1));
        late.answered(5, read(3, 1), now + SECOND);
        assert!(!late.passes(5, read(3, 2), now));
        unanswered(&mut late, &[read(3, 2)], now);
        assert!(!late.passes(5, read(3, 2), now + SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn one_register_is_told_by_the_other_function_also_if_that_is_refused() {
        let (now, mut late) = (Instant::now(), Late::default());
        unanswered(&mut late, &[read(3, 1)], now);
        assert_eq!(late.distinct(5, read(3, 1)), read(4, 1));
        late.refused(5, read(4, 1), now + SECOND);
        assert!(!late.passes(5, read(3, 1), now));
    }

    #[tokio::test(start_paused = true)]
    async fn what_tells_may_itself_be_late_and_then_tells_only_of_what_was_before_it() {
        let (now, mut late) = (Instant::now(), Late::default());
        unanswered(&mut late, &[read(3, 1), read(4, 1), read(3, 9)], now);
        // It may answer the first of its kind, which was asked before the nine registers.
        late.answered(5, read(4, 1), now + SECOND);
        assert!(!late.passes(5, read(3, 1), now));
        assert!(late.passes(5, read(3, 9), now));
        assert!(late.passes(5, read(4, 1), now), "its own may still come");
        late.answered(5, read(3, 2), now + SECOND);
        assert!(!late.passes(5, read(3, 9), now) && !late.passes(5, read(4, 1), now));
    }

    #[tokio::test(start_paused = true)]
    async fn an_exception_may_answer_any_length() {
        let (now, mut late) = (Instant::now(), Late::default());
        unanswered(&mut late, &[read(3, 2)], now);
        late.refused(5, read(3, 1), now + SECOND);
        assert!(late.passes(5, read(3, 2), now));
        assert!(late.passes(5, read(3, 1), now));
    }

    proptest! {
        /// A slave that answers everything in order, each at any time, and a master that asks as `Master` does: what is taken
        /// for an answer is one.
        #[test]
        fn no_late_answer_is_taken_for_another(
            steps in prop::collection::vec((1u8..=4, 1u16..=3, 0u16..40, any::<bool>()), 1..60),
        ) {
            let now = Instant::now();
            let mut late = Late::default();
            // Answers that are still to come, and whether each is one to what is asked now.
            let mut coming: std::collections::VecDeque<(u64, Request)> = std::collections::VecDeque::new();
            let mut number = 0;
            for (function, count, address, comes) in steps {
                let wanted = Request { function, address, count };
                let mut asked = wanted;
                loop {
                    if asked == wanted && late.passes(5, wanted, now) {
                        asked = late.distinct(5, wanted);
                    }
                    number += 1;
                    coming.push_back((number, asked));
                    // Answers come, in order, until one is of the right kind; the others are thrown away.
                    let of_kind = |one: &(u64, Request)| one.1.function == asked.function && one.1.data_length() == asked.data_length();
                    let got = if comes { coming.iter().position(of_kind) } else { None };
                    let Some(place) = got else {
                        late.unanswered(5, asked, now + SECOND);
                        break;
                    };
                    let (answers, _) = coming.drain(..=place).next_back().unwrap();
                    late.answered(5, asked, now + SECOND);
                    if asked == wanted {
                        prop_assert_eq!(answers, number, "{:?}", wanted);
                        break;
                    }
                    asked = wanted;
                    if late.passes(5, wanted, now) {
                        break;
                    }
                }
            }
        }

        #[test]
        fn what_tells_reads_nothing_that_was_not_to_be_read(function in 1u8..=4, count in 1u16..=125, earlier in prop::collection::vec(1u16..=125, 0..20)) {
            let now = Instant::now();
            let mut late = Late::default();
            let earlier: Vec<Request> = earlier.into_iter().map(|count| read(function, count)).collect();
            unanswered(&mut late, &earlier, now);
            let distinct = late.distinct(5, read(function, count));
            prop_assert!(distinct.count <= count && distinct.address == 40);
            prop_assert!((distinct.function, distinct.data_length()) != (function, read(function, count).data_length()));
        }
    }
}
