//! How a slave has been lately: a circuit breaker. Pure: time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which a slave is only asked now and then, once and without trying again.
const FAILURES_MAX: u32 = 3;
/// How long it is then left alone at first, and at most.
const REST_FIRST: Duration = Duration::from_secs(2);
const REST_MOST: Duration = Duration::from_mins(1);
/// And at least so many times what asking it in vain takes: with what it took to find out, the others lose a twentieth of
/// the line's time to it in a minute, and half of that later.
const REST_TIMES: u32 = 40;

#[derive(Debug)]
pub(super) struct Standing {
    failures: u32,
    /// The last read got no answer at all.
    timed_out: bool,
    rest: Duration,
    asked_again: Instant,
}

impl Standing {
    pub(super) fn new(now: Instant) -> Standing {
        Standing {
            failures: 0,
            timed_out: false,
            rest: REST_FIRST,
            asked_again: now,
        }
    }

    pub(super) fn may_be_asked(&self, now: Instant) -> bool {
        self.asked_again <= now
    }

    /// The line is another: it may be back.
    pub(super) fn look_again(&mut self, now: Instant) {
        (self.asked_again, self.rest) = (now, REST_FIRST);
    }

    /// It has failed so often that the next read only looks whether it is back.
    pub(super) fn is_silent(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// Whether another try is worth its time: not where the last read already waited in vain.
    pub(super) fn may_be_retried(&self) -> bool {
        !self.is_silent() && !self.timed_out
    }

    /// Returns whether it was silent before.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        let was_silent = self.is_silent();
        *self = Standing::new(now);
        was_silent
    }

    /// A read in vain took the line for `cost`. Returns whether it is silent from now on.
    pub(super) fn failed(&mut self, timed_out: bool, cost: Duration, now: Instant) -> bool {
        let was_silent = self.is_silent();
        self.timed_out = timed_out;
        self.failures = self.failures.saturating_add(1);
        if self.is_silent() {
            self.asked_again = now + self.rest.max(cost * REST_TIMES);
            self.rest = (self.rest * 2).min(REST_MOST);
        }
        self.is_silent() && !was_silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dead_slave_takes_a_twentieth_of_the_line_and_is_found_within_one_rest() {
        for timeout_ms in [20, 300, 5_000] {
            let timeout = Duration::from_millis(timeout_ms);
            let begun = Instant::now();
            let (mut now, mut standing, mut lost) = (begun, Standing::new(begun), Duration::ZERO);
            let mut told = 0;
            let mut longest = Duration::ZERO;
            let mut last = now;
            while now < begun + Duration::from_hours(1) {
                if standing.may_be_asked(now) {
                    longest = longest.max(now - last);
                    now += timeout;
                    last = now;
                    lost += timeout;
                    told += u32::from(standing.failed(true, timeout, now));
                }
                now += Duration::from_millis(100);
            }
            let before_silent = timeout * FAILURES_MAX;
            assert!(
                lost < Duration::from_hours(1) / 40 + before_silent,
                "{timeout:?}: {lost:?}"
            );
            assert_eq!(told, 1, "it is told once");
            let most = REST_MOST.max(timeout * REST_TIMES);
            assert!(longest <= most + Duration::from_millis(100), "{longest:?}");
            assert!(standing.answered(now) && !standing.is_silent());
            assert!(standing.may_be_asked(now) && !standing.answered(now));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_now_and_then_is_asked_all_the_time() {
        let now = Instant::now();
        let mut standing = Standing::new(now);
        for round in 0..100 {
            if round % 3 == 0 {
                assert!(!standing.answered(now));
            } else {
                assert!(!standing.failed(true, Duration::from_millis(300), now));
            }
            assert!(standing.may_be_asked(now));
        }
    }
}
