//! A pause of a source: when it began, when it ended, and what is logged of it. Pure: time is an argument.

use std::time::{Duration, Instant};

/// A pause that lasts longer is logged.
const LONG: Duration = Duration::from_secs(10);
/// A source that is paused again within this was never really free: it is the same pause.
const APART: Duration = Duration::from_secs(1);

/// What keeps a source paused, and since when.
#[derive(Debug)]
pub(crate) struct Pause<W> {
    pub(crate) waits_for: W,
    since: Instant,
    /// When something was last taken from the source again; `None` while nothing is.
    freed: Option<Instant>,
    /// Up to when its time is counted.
    counted: Instant,
    told: bool,
}

impl<W> Pause<W> {
    pub(crate) fn new(waits_for: W, now: Instant) -> Pause<W> {
        Pause {
            waits_for,
            since: now,
            freed: None,
            counted: now,
            told: false,
        }
    }

    /// Nothing is taken from the source.
    pub(crate) fn holds(&self) -> bool {
        self.freed.is_none()
    }

    /// Its lane has room: the source has its turn.
    pub(crate) fn free(&mut self, now: Instant) {
        self.freed = Some(now);
    }

    /// The lane has no room again. It is the same pause.
    pub(crate) fn again(&mut self, waits_for: W, now: Instant) {
        self.waits_for = waits_for;
        if self.freed.take().is_some() {
            self.counted = now;
        }
    }

    /// Whether the source has been free for so long that the pause is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.freed
            .is_some_and(|freed| now.saturating_duration_since(freed) >= APART)
    }

    /// The time in which nothing was taken since this was last asked. Ask before [`Pause::free`].
    pub(crate) fn count(&mut self, now: Instant) -> Duration {
        let end = self.freed.unwrap_or(now);
        let more = end.saturating_duration_since(self.counted);
        self.counted = self.counted.max(end);
        more
    }

    /// How long it has lasted, once, when that is longer than `LONG`.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<Duration> {
        let lasted = now.saturating_duration_since(self.since);
        (lasted > LONG && !std::mem::replace(&mut self.told, lasted > LONG)).then_some(lasted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn short_turns_between_do_not_end_a_pause_and_it_is_told_once() {
        let begun = Instant::now();
        let mut pause = Pause::new(0, begun);
        let (mut counted, mut told) = (Duration::ZERO, Vec::new());
        // Every 100 ms it has a turn of 10 ms.
        for step in 1..=300 {
            let now = begun + ms(100 * step);
            counted += pause.count(now);
            pause.free(now);
            told.extend(pause.tell(now));
            assert!(!pause.is_over(now + ms(10)) && !pause.holds());
            pause.again(step, now + ms(10));
            assert!(pause.holds());
        }
        assert_eq!(counted, ms(100 + 299 * 90));
        assert_eq!(told, [ms(10_100)]);
        assert_eq!(pause.waits_for, 300);
    }

    #[test]
    fn a_pause_is_over_when_the_source_has_been_free_for_a_second() {
        let begun = Instant::now();
        let mut pause = Pause::new((), begun);
        assert!(!pause.is_over(begun + ms(60_000)), "nothing is taken");
        assert_eq!(pause.count(begun + ms(400)), ms(400));
        pause.free(begun + ms(400));
        assert!(!pause.is_over(begun + ms(1_399)));
        assert!(pause.is_over(begun + ms(1_400)));
        assert_eq!(
            pause.count(begun + ms(5_000)),
            ms(0),
            "free time is not counted"
        );
    }
}
