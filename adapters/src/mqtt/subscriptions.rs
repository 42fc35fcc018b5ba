//! Which subscriptions the broker has granted, and when the others are asked for again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::SourceStats;

/// A SUBACK that takes longer is asked for again (MQTT 3.1.1 section 3.8.4 sets no time).
const ANSWER: Duration = Duration::from_secs(10);
/// A subscription that was refused is asked for again after this: rights may have been given meanwhile.
const RETRY: Duration = Duration::from_mins(1);

/// Filter and quality of service.
pub(super) type Filter = (String, u8);

#[derive(Debug)]
pub(super) struct Subscriptions {
    /// Asked for last, in the order of the SUBSCRIBE, or to be asked for.
    open: Vec<Filter>,
    due: Option<Instant>,
    answered: bool,
}

impl Subscriptions {
    #[must_use]
    pub(super) fn new(filters: &[Filter]) -> Subscriptions {
        Subscriptions {
            open: filters.to_vec(),
            due: None,
            answered: false,
        }
    }

    /// What a SUBSCRIBE sent now is to ask for.
    pub(super) fn ask(&mut self, now: Instant) -> &[Filter] {
        self.due = Some(now + ANSWER);
        &self.open
    }

    /// When to ask again; `None` when everything is granted or nothing was asked for yet.
    #[must_use]
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes in a SUBACK: whether each filter was granted, in the order of the SUBSCRIBE. Returns
    /// whether it is the first of this connection. One that came late, after what it answers was asked
    /// for again and granted, has another number of codes and says nothing about what is open now.
    pub(super) fn answer(
        &mut self,
        mut granted: impl ExactSizeIterator<Item = bool>,
        now: Instant,
    ) -> bool {
        if granted.len() != self.open.len() {
            return false;
        }
        self.open.retain(|_| !granted.next().unwrap_or(false));
        self.due = (!self.open.is_empty()).then_some(now + RETRY);
        !std::mem::replace(&mut self.answered, true)
    }

    /// Tells of each filter that the broker refused; the others go on.
    pub(super) fn tell_refused(&self, source: &str, stats: &SourceStats) {
        for (filter, _) in &self.open {
            tracing::error!(
                source,
                filter,
                "the broker refused the subscription, and is asked again every minute; give this user the right to read it"
            );
            stats.error(&format!("the broker refused the subscription to {filter}"));
        }
    }
}

/// Waits until `due`, for ever if there is nothing to wait for.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_or_not_answered_is_asked_for_again_and_nothing_else() {
        let filters = ["a", "b", "c"].map(|filter| (filter.to_owned(), 1));
        let (mut all, start) = (Subscriptions::new(&filters), Instant::now());
        assert_eq!(all.due(), None);
        assert_eq!(all.ask(start).len(), 3);
        assert_eq!(all.due(), Some(start + ANSWER));
        assert_eq!(all.ask(start + ANSWER).len(), 3, "no answer came");
        assert!(all.answer([true, false, true].into_iter(), start));
        assert_eq!(all.due(), Some(start + RETRY));
        assert_eq!(all.ask(start + RETRY), [("b".to_owned(), 1)]);
        let late = [true, true, true];
        assert!(!all.answer(late.into_iter(), start), "of the first asking");
        assert_eq!(all.due(), Some(start + RETRY + ANSWER), "still open");
        assert!(!all.answer([true].into_iter(), start), "not the first");
        assert_eq!(all.due(), None);
    }
}
