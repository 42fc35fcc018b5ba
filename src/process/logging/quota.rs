//! How many lines of one kind the log takes: whoever sends decides how often something is to be said, and a log fills a disk. Pure.

use std::time::{Duration, Instant};

/// Lines of a kind that are let pass at once: a site's sources may all be lost in one second.
const BURST: u32 = 200;
/// One more is let pass each time this has passed.
const EVERY: Duration = Duration::from_secs(10);

/// The lines of one kind: those that one place in the code logs.
#[derive(Debug)]
pub(super) struct Quota {
    left: u32,
    /// Until when what is left was counted.
    counted: Instant,
    left_out: u64,
}

impl Quota {
    pub(super) fn new(now: Instant) -> Quota {
        Quota {
            left: BURST,
            counted: now,
            left_out: 0,
        }
    }

    /// Whether one more line is let pass, and how many before it were left out.
    pub(super) fn admits(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.counted);
        let earned = u32::try_from(passed.as_millis() / EVERY.as_millis()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(BURST);
        self.counted = if self.left == BURST {
            now
        } else {
            self.counted + EVERY * earned
        };
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// The line that was let pass last is the last for a while.
    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_becomes_a_few_that_say_how_many_were_left_out() {
        let begun = Instant::now();
        let mut quota = Quota::new(begun);
        let (mut passed, mut left_out) = (0, 0);
        for ms in 0..3_600_000_u64 {
            if let Some(before) = quota.admits(begun + Duration::from_millis(ms)) {
                (passed, left_out) = (passed + 1, left_out + before);
            }
        }
        assert_eq!(passed, 200 + 359, "an hour of a thousand a second");
        assert_eq!(left_out + quota.left_out + passed, 3_600_000);
        let later = begun + Duration::from_secs(3_600 + 2_000);
        let all = (0..1000).filter(|_| quota.admits(later).is_some()).count();
        assert_eq!(all, 200, "quiet for long enough");
    }
}
