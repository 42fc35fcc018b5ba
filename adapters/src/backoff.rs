//! Waiting before trying again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential back-off with full jitter: a random wait between nothing and a ceiling that doubles.
///
/// Full jitter spreads a thousand gateways that lost the same broker over the whole interval.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff {
            first,
            most,
            failures: 0,
        }
    }

    /// It worked: the next failure waits little again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure; `random` is any number.
    pub fn next(&mut self, random: u64) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(1 << self.failures.min(20))
            .min(self.most);
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random % nanos.max(1))
    }

    /// Waits after one more failure.
    pub async fn wait(&mut self) {
        let random = RandomState::new().hash_one(self.failures);
        tokio::time::sleep(self.next(random)).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_is_below_its_ceiling_and_the_ceiling_doubles_up_to_the_most(randoms in prop::collection::vec(any::<u64>(), 1..40)) {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
            for (failures, random) in randoms.into_iter().enumerate() {
                let ceiling = Duration::from_millis(100 << failures.min(9)).min(Duration::from_secs(30));
                prop_assert!(backoff.next(random) < ceiling);
            }
        }
    }
}
