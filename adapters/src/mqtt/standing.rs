//! How each filter stands with the broker, over connections: a change is told, not each answer.

use std::collections::HashMap;

use super::reason::{FAILURE, not_granted};
use super::subscriptions::Filter;
use crate::SourceStats;

/// The code of a SUBACK that was told last, by filter; those that were granted as asked are not in it.
#[derive(Debug, Default)]
pub(super) struct Standing(HashMap<String, u8>);

/// What is to be logged of a filter.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Refused,
    /// A lower QoS was granted than was asked for.
    Lowered,
    /// It is granted as asked, after one of the others.
    Granted,
}

impl Standing {
    fn news(&mut self, (filter, wanted): &Filter, code: u8) -> Option<News> {
        if (*wanted..FAILURE).contains(&code) {
            return self.0.remove(filter).map(|_| News::Granted);
        }
        let before = self.0.insert(filter.clone(), code);
        (before != Some(code)).then_some(if code >= FAILURE {
            News::Refused
        } else {
            News::Lowered
        })
    }

    /// The broker answered for a filter.
    pub(super) fn tell(&mut self, source: &str, filter: &Filter, code: u8, stats: &SourceStats) {
        let (name, wanted) = filter;
        if code >= FAILURE {
            stats.error(&format!(
                "the broker refused the subscription to {name}: {}",
                not_granted(code)
            ));
        }
        match self.news(filter, code) {
            Some(News::Refused) => {
                let reason = not_granted(code);
                tracing::error!(source, filter = %name, reason, "the broker refused the subscription, and is asked again every minute; nothing of it comes until then; give this user the right to read it, or right the filter");
            }
            Some(News::Lowered) if code == 0 => {
                tracing::warn!(source, filter = %name, wanted, granted = code, "the broker granted QoS 0 only: it does not wait for our acknowledgement, so that messages are lost while the gateway is away or its buffer cannot keep up; let the broker grant QoS 1");
            }
            Some(News::Lowered) => {
                tracing::warn!(source, filter = %name, wanted, granted = code, "the broker granted a lower QoS: nothing is lost by it, and a repeat has the id of the first; `qos = 1` says the same");
            }
            Some(News::Granted) => {
                tracing::info!(source, filter = %name, granted = code, "the broker grants the subscription as asked now");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_what_is_granted_is_told_and_nothing_twice() {
        let mut standing = Standing::default();
        let filter = ("plant/#".to_owned(), 1);
        for (code, expected) in [
            (1, None),
            (0x87, Some(News::Refused)),
            (0x87, None),
            (0x97, Some(News::Refused)),
            (0, Some(News::Lowered)),
            (0, None),
            (2, Some(News::Granted)),
            (1, None),
            (0, Some(News::Lowered)),
        ] {
            assert_eq!(standing.news(&filter, code), expected, "{code}");
        }
    }
}
