//! On which line of a file a key stands.

use toml::de::{DeArray, DeTable, DeValue};

use super::place::{self, Step};

/// The line on which the deepest known part of `key` stands.
pub(super) fn line(text: &str, root: &DeTable, key: &str) -> Option<usize> {
    let mut found = None;
    let mut table = Some(root);
    let mut list: Option<&DeArray> = None;
    let steps = place::steps(key);
    let mut left = steps.as_slice();
    while let Some(step) = left.first() {
        let (place, value, taken) = match step {
            Step::Key(_) => {
                let Some(table) = table else { return found };
                let entry = |name: &str| table.iter().find(|(key, _)| key.get_ref() == name);
                let known = place::key(left, |name| entry(name).is_some());
                let known = known.and_then(|(name, taken)| Some((entry(&name)?, taken)));
                let Some(((key, value), taken)) = known else {
                    return found;
                };
                (key.span().start, value, taken)
            }
            Step::Index(index) => {
                let Some(value) = list.and_then(|list| list.get(*index)) else {
                    return found;
                };
                (value.span().start, value, 1)
            }
        };
        found = Some(line_of(text, place));
        (table, list) = children(value.get_ref());
        left = left.get(taken..).unwrap_or_default();
    }
    found
}

fn children<'a, 'i>(value: &'a DeValue<'i>) -> (Option<&'a DeTable<'i>>, Option<&'a DeArray<'i>>) {
    (value.as_table(), value.as_array())
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset)
        .map_or(1, |before| before.matches('\n').count() + 1)
}
