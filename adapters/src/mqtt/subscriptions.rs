//! Which subscriptions the broker has granted, and when the others are asked for again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::reason::FAILURE;

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

    /// Takes in a SUBACK: for each filter, in the order of the SUBSCRIBE, the QoS that was granted or a code of failure; each is
    /// told with its filter. Returns whether it is the first of this connection. One that came late, after what it answers was
    /// asked for again and granted, has another number of codes and says nothing about what is open now.
    pub(super) fn answer(
        &mut self,
        codes: &[u8],
        now: Instant,
        mut tell: impl FnMut(&Filter, u8),
    ) -> bool {
        if codes.len() != self.open.len() {
            return false;
        }
        let mut codes = codes.iter().copied();
        self.open.retain(|filter| {
            let code = codes.next().unwrap_or(FAILURE);
            tell(filter, code);
            code >= FAILURE
        });
        self.due = (!self.open.is_empty()).then_some(now + RETRY);
        !std::mem::replace(&mut self.answered, true)
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
        let mut told = Vec::new();
        let tell = |filter: &Filter, code| told.push((filter.0.clone(), code));
        assert!(all.answer(&[1, 0x87, 0], start, tell));
        let expected = [("a", 1), ("b", 0x87), ("c", 0)];
        assert_eq!(told, expected.map(|(name, code)| (name.to_owned(), code)));
        assert_eq!(all.due(), Some(start + RETRY));
        assert_eq!(all.ask(start + RETRY), [("b".to_owned(), 1)]);
        let late = [1, 1, 1];
        let nothing = |_: &Filter, _| panic!("it is told of nothing");
        assert!(!all.answer(&late, start, nothing), "of the first asking");
        assert_eq!(all.due(), Some(start + RETRY + ANSWER), "still open");
        assert!(!all.answer(&[1], start, |_, _| {}), "not the first");
        assert_eq!(all.due(), None);
    }
}
