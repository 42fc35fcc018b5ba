//! Which subscriptions the broker has granted, and when the others are asked for again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::reason::FAILURE;

/// A SUBACK that takes longer is asked for again (MQTT 3.1.1 section 3.8.4 sets no time).
const ANSWER: Duration = Duration::from_secs(10);
/// A subscription that was refused is asked for again after this: rights may have been given meanwhile.
const RETRY: Duration = Duration::from_mins(1);

/// Filter and quality of service.
pub(super) type Filter = (String, u8);

/// Filters in one SUBSCRIBE or UNSUBSCRIBE: some brokers close the connection on more (the one of AWS).
pub(super) const AT_ONCE: usize = 8;

#[derive(Debug)]
pub(super) struct Subscriptions {
    /// Asked for last, in the order of the SUBSCRIBE, and the packet identifiers of the first and the last that asked so.
    asked: Vec<Filter>,
    ids: (u16, u16),
    /// To be asked for, the next first.
    open: VecDeque<Filter>,
    /// Refused, to be asked for again.
    refused: Vec<Filter>,
    due: Option<Instant>,
    /// Each was answered once.
    answered: bool,
}

impl Subscriptions {
    #[must_use]
    pub(super) fn new(filters: &[Filter]) -> Subscriptions {
        Subscriptions {
            asked: Vec::new(),
            ids: (0, 0),
            open: filters.iter().cloned().collect(),
            refused: Vec::new(),
            due: None,
            answered: false,
        }
    }

    /// What a SUBSCRIBE with this packet identifier, sent now, is to ask for.
    pub(super) fn ask(&mut self, id: u16, now: Instant) -> &[Filter] {
        if self.asked.is_empty() {
            if self.open.is_empty() {
                self.open.extend(self.refused.drain(..));
            }
            let count = self.open.len().min(AT_ONCE);
            self.asked.extend(self.open.drain(..count));
            self.ids.0 = id;
        }
        (self.ids.1, self.due) = (id, Some(now + ANSWER));
        &self.asked
    }

    /// When to ask again; `None` when everything is granted or nothing was asked for yet.
    #[must_use]
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes in the SUBACK with this packet identifier: for each filter, in the order of the SUBSCRIBE, the QoS that was granted or
    /// a code of failure; each goes to `tell` with its filter. Returns whether all are answered for the first time in this connection.
    /// One that comes late, after the same was asked for again, counts; one of what was answered before does not.
    pub(super) fn answer(
        &mut self,
        id: u16,
        codes: &[u8],
        now: Instant,
        mut tell: impl FnMut(&Filter, u8),
    ) -> bool {
        let (first, last) = self.ids;
        let is_ours = id.wrapping_sub(first) <= last.wrapping_sub(first);
        if !is_ours || self.asked.is_empty() || codes.len() != self.asked.len() {
            return false;
        }
        for (filter, code) in self.asked.drain(..).zip(codes) {
            tell(&filter, *code);
            if *code >= FAILURE {
                self.refused.push(filter);
            }
        }
        if !self.open.is_empty() {
            self.due = Some(now);
            return false;
        }
        self.due = (!self.refused.is_empty()).then_some(now + RETRY);
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
        assert_eq!(all.ask(1, start).len(), 3);
        assert_eq!(all.due(), Some(start + ANSWER));
        assert_eq!(all.ask(2, start + ANSWER).len(), 3, "no answer came");
        let mut told = Vec::new();
        let tell = |filter: &Filter, code| told.push((filter.0.clone(), code));
        assert!(all.answer(1, &[1, 0x87, 0], start, tell), "it came late");
        let expected = [("a", 1), ("b", 0x87), ("c", 0)];
        assert_eq!(told, expected.map(|(name, code)| (name.to_owned(), code)));
        assert_eq!(all.due(), Some(start + RETRY));
        assert_eq!(all.ask(3, start + RETRY), [("b".to_owned(), 1)]);
        let nothing = |_: &Filter, _| panic!("it is told of nothing");
        for (id, late) in [(1, &[1, 1, 1][..]), (2, &[1]), (3, &[1, 1])] {
            assert!(!all.answer(id, late, start, nothing), "of another asking");
        }
        assert_eq!(all.due(), Some(start + RETRY + ANSWER), "still open");
        assert!(!all.answer(3, &[1], start, |_, _| {}), "not the first");
        assert_eq!(all.due(), None);
    }

    #[test]
    fn more_filters_than_brokers_take_at_once_are_asked_for_one_after_the_other() {
        let filters: Vec<Filter> = (0..20).map(|n| (n.to_string(), 1)).collect();
        let (mut all, now) = (Subscriptions::new(&filters), Instant::now());
        for (id, (count, is_last)) in (1..).zip([(8, false), (8, false), (4, true)]) {
            assert_eq!(all.ask(id, now).len(), count);
            let refused = vec![0x80; count];
            assert_eq!(all.answer(id, &refused, now, |_, _| {}), is_last);
            assert_eq!(all.due(), Some(if is_last { now + RETRY } else { now }));
        }
        for (id, count) in (4..).zip([8, 8, 4]) {
            let asked = all.ask(id, now).to_vec();
            assert_eq!(asked.len(), count, "again");
            assert!(!all.answer(id, &vec![1; count], now, |_, _| {}));
        }
        assert_eq!(all.due(), None);
    }
}
