//! Places in a configuration, as messages name them: `mqtt[0].subscribe[1].topic`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One step from a table or a list to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        if !key.is_empty() {
            steps.push(Step::Key(key.into()));
        }
        steps.extend(
            indices
                .split(['[', ']'])
                .filter_map(|number| number.parse().ok())
                .map(Step::Index),
        );
    }
    steps
}

pub(super) fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.extend([".", key]),
            Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
        }
    }
    path
}

/// The key at the beginning of `steps`, and over how many steps it goes: one with dots in it, as librdkafka's have, over several.
pub(super) fn key(steps: &[Step], is_there: impl Fn(&str) -> bool) -> Option<(String, usize)> {
    let mut key = String::new();
    for (index, step) in steps.iter().enumerate() {
        let Step::Key(part) = step else { break };
        if index > 0 {
            key.push('.');
        }
        key.push_str(part);
        if is_there(&key) {
            return Some((key, index + 1));
        }
    }
    None
}

/// What stands at `path`.
pub(super) fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let steps = steps(path);
    let (mut here, mut left) = (root, steps.as_slice());
    while let Some(step) = left.first() {
        let taken = match (step, here) {
            (Step::Key(_), Value::Object(table)) => {
                let (key, taken) = key(left, |key| table.contains_key(key))?;
                here = table.get(&key)?;
                taken
            }
            (Step::Index(index), Value::Array(list)) => {
                here = list.get(*index)?;
                1
            }
            _ => return None,
        };
        left = left.get(taken..)?;
    }
    Some(here)
}

/// Removes what stands at `path`.
pub(super) fn remove(root: &mut Value, path: &str) -> bool {
    let steps = steps(path);
    let (mut here, mut left) = (root, steps.as_slice());
    while let Some(step) = left.first() {
        match (step, here) {
            (Step::Key(_), Value::Object(table)) => {
                let Some((key, taken)) = key(left, |key| table.contains_key(key)) else {
                    return false;
                };
                left = left.get(taken..).unwrap_or_default();
                if left.is_empty() {
                    return table.remove(&key).is_some();
                }
                match table.get_mut(&key) {
                    Some(next) => here = next,
                    None => return false,
                }
            }
            (Step::Index(index), Value::Array(list)) if *index < list.len() => {
                left = left.get(1..).unwrap_or_default();
                if left.is_empty() {
                    list.remove(*index);
                    return true;
                }
                match list.get_mut(*index) {
                    Some(next) => here = next,
                    None => return false,
                }
            }
            _ => return false,
        }
    }
    false
}

/// Puts `value` at a place, with the tables around it. What is on the way and is no table or list is replaced.
pub(super) fn put(root: &mut Value, steps: &[Step], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *root = value;
        return;
    };
    match step {
        Step::Key(key) => {
            if !root.is_object() {
                *root = Value::Object(serde_json::Map::new());
            }
            if let Value::Object(table) = root {
                put(table.entry(key).or_insert(Value::Null), rest, value);
            }
        }
        Step::Index(index) => {
            if let Some(next) = root.get_mut(*index) {
                put(next, rest, value);
            }
        }
    }
}

/// Whether `path` is `whole`, or in it.
pub(super) fn is_in(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What was taken out because it cannot be read, by its place in the file.
#[derive(Debug, Default)]
pub(super) struct TakenOut {
    places: BTreeSet<String>,
    /// By list, which of its elements.
    elements: BTreeMap<String, BTreeSet<usize>>,
}

impl TakenOut {
    /// Takes a note of what is no longer there, by its place among what was left. Returns whether it is new.
    pub(super) fn add(&mut self, left: &str) -> bool {
        let written = self.written(left);
        self.leave_out(left);
        self.places.insert(written)
    }

    /// Takes a note of what is left out, by its place among what was left: nothing is wrong with it.
    pub(super) fn leave_out(&mut self, left: &str) {
        let mut steps = steps(&self.written(left));
        if let Some(Step::Index(index)) = steps.pop() {
            self.elements.entry(path(&steps)).or_default().insert(index);
        }
    }

    pub(super) fn has(&self, place: &str) -> bool {
        self.places.contains(place)
    }

    /// Whether something was taken out of it, or all of it.
    pub(super) fn is_of(&self, place: &str) -> bool {
        self.places.iter().any(|taken| is_in(taken, place))
    }

    /// The place in the file of what stands at `left` among what is left.
    pub(super) fn written(&self, left: &str) -> String {
        if self.elements.is_empty() {
            return left.to_owned();
        }
        let mut written: Vec<Step> = Vec::new();
        for step in steps(left) {
            let step = match step {
                Step::Key(_) => step,
                Step::Index(index) => {
                    let gone = self.elements.get(&path(&written)).into_iter().flatten();
                    let index = gone.fold(index, |index, gone| index + usize::from(*gone <= index));
                    Step::Index(index)
                }
            };
            written.push(step);
        }
        path(&written)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_found_replaced_and_removed_also_behind_a_key_with_dots() {
        let mut root = json!({ "a": [{ "b": 1 }, { "c.d": { "e": 2 } }] });
        assert_eq!(find(&root, "a[0].b"), Some(&json!(1)));
        assert_eq!(find(&root, "a[1].c.d.e"), Some(&json!(2)));
        for nowhere in ["a[2]", "a.b", "x", "a[0].b.c", "a[1].c"] {
            assert_eq!(find(&root, nowhere), None, "{nowhere}");
            assert!(!remove(&mut root, nowhere), "{nowhere}");
        }
        put(&mut root, &steps("a[0].new.one"), json!(3));
        assert_eq!(find(&root, "a[0].new.one"), Some(&json!(3)));
        assert!(remove(&mut root, "a[1].c.d.e") && remove(&mut root, "a[0]"));
        assert_eq!(root, json!({ "a": [{ "c.d": {} }] }));
    }

    #[test]
    fn elements_keep_their_numbers_after_others_were_taken_out() {
        let mut taken = TakenOut::default();
        assert!(
            taken.add("mqtt[0]") && taken.add("mqtt[0]"),
            "the second is another one"
        );
        assert!(taken.has("mqtt[0]") && taken.has("mqtt[1]"));
        assert_eq!(
            taken.written("mqtt[0].subscribe[0].topic"),
            "mqtt[2].subscribe[0].topic"
        );
        assert!(taken.add("mqtt[0].subscribe[1]"));
        assert_eq!(
            taken.written("mqtt[0].subscribe[1]"),
            "mqtt[2].subscribe[2]"
        );
        assert_eq!(
            taken.written("mqtt[1].subscribe[1]"),
            "mqtt[3].subscribe[1]"
        );
        assert_eq!(taken.written("modbus[0]"), "modbus[0]");
        assert!(taken.is_of("mqtt") && taken.is_of("mqtt[2].subscribe") && !taken.is_of("mqtt[3]"));
    }
}
