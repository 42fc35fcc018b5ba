//! What several texts say, put together. Pure.
//!
//! A later text wins: tables are merged, and lists of tables with a `name` by that; any other list takes the place of the one before it.
//! An element that ends up with `enabled = false` is left out.

use serde_json::Value;

use super::place::{self, Step, TakenOut};

/// The key that leaves an element with a `name` out.
pub(super) const ENABLED: &str = "enabled";

/// Puts what `over` says over `base`.
pub(super) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(here) => merge(here, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (Value::Array(base), Value::Array(over)) if are_named(base) && are_named(&over) => {
            for element in over {
                match base.iter_mut().find(|one| name(one) == name(&element)) {
                    Some(here) => merge(here, element),
                    None => base.push(element),
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn name(element: &Value) -> Option<&str> {
    element.get("name")?.as_str()
}

/// An empty list is one of nothing.
fn are_named(list: &[Value]) -> bool {
    list.iter().all(|one| name(one).is_some()) && !list.is_empty()
}

/// Leaves out the elements of the lists of sections that say `enabled = false`, and takes a note of where they stood.
pub(super) fn mask(merged: &mut Value, taken: &mut TakenOut) {
    let Value::Object(sections) = merged else {
        return;
    };
    for (section, value) in sections {
        let Value::Array(list) = value else { continue };
        let mut index = 0;
        list.retain_mut(|element| {
            let said = element.get(ENABLED).and_then(Value::as_bool);
            if said.is_some()
                && name(element).is_some()
                && let Value::Object(table) = element
            {
                table.remove(ENABLED);
            }
            let is_kept = said != Some(false) || name(element).is_none();
            if is_kept {
                index += 1;
            } else {
                taken.leave_out(&format!("{section}[{index}]"));
            }
            is_kept
        });
    }
}

/// Where what stands at `path` in `merged` is written in one text of which that was made, if it says anything of it: the deepest part of
/// the way that it has, and whether that is all of it.
pub(super) fn place_in(part: &Value, merged: &Value, path: &str) -> Option<(String, bool)> {
    let steps = place::steps(path);
    let (mut here, mut there) = (Some(merged), part);
    let mut found: Vec<Step> = Vec::new();
    let mut left = steps.as_slice();
    while let Some(step) = left.first() {
        match (step, there) {
            (Step::Key(_), Value::Object(table)) => {
                let Some((key, taken)) = place::key(left, |key| table.contains_key(key)) else {
                    break;
                };
                there = table.get(&key)?;
                here = here.and_then(|here| here.get(&key));
                found.push(Step::Key(key));
                left = left.get(taken..)?;
            }
            (Step::Index(index), Value::Array(list)) => {
                here = here.and_then(|here| here.get(*index));
                let index = match here.and_then(name) {
                    Some(wanted) if are_named(list) => {
                        list.iter().position(|one| name(one) == Some(wanted))
                    }
                    Some(_) | None => (*index < list.len()).then_some(*index),
                };
                let Some(index) = index else { break };
                there = list.get(index)?;
                found.push(Step::Index(index));
                left = left.get(1..)?;
            }
            _ => break,
        }
    }
    (!found.is_empty()).then(|| (place::path(&found), left.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(parts: &[&Value]) -> Value {
        let mut base = json!({});
        for part in parts {
            merge(&mut base, (*part).clone());
        }
        base
    }

    #[test]
    fn tables_and_named_lists_are_merged_and_other_lists_and_values_are_replaced() {
        let fleet = json!({ "gateway": { "id": "x", "tags": { "a": 1 } }, "uplink": { "brokers": ["a:1", "b:1"] },
            "mqtt": [{ "name": "plant", "host": "h", "subscribe": [{ "topic": "a" }, { "topic": "b" }] }, { "name": "hall" }] });
        let site = json!({ "gateway": { "id": "gw-7", "tags": { "b": 2 } }, "uplink": { "brokers": ["c:1"] },
            "mqtt": [{ "name": "own", "host": "o" }, { "name": "plant", "port": 1884, "subscribe": [{ "topic": "c" }] }] });
        assert_eq!(
            merged(&[&fleet, &site]),
            json!({ "gateway": { "id": "gw-7", "tags": { "a": 1, "b": 2 } }, "uplink": { "brokers": ["c:1"] },
                "mqtt": [{ "name": "plant", "host": "h", "port": 1884, "subscribe": [{ "topic": "c" }] }, { "name": "hall" },
                    { "name": "own", "host": "o" }] })
        );
        let none = json!({ "mqtt": [] });
        assert_eq!(merged(&[&fleet, &none])["mqtt"], json!([]));
        assert_eq!(merged(&[&none, &site])["mqtt"], site["mqtt"]);
        assert_eq!(merged(&[&fleet, &json!({ "mqtt": 5 })])["mqtt"], json!(5));
    }

    #[test]
    fn an_element_that_is_not_enabled_is_left_out_and_the_others_keep_their_numbers() {
        let mut all = json!({ "mqtt": [{ "name": "a", "enabled": false }, { "name": "b", "enabled": true },
            { "name": "c", "enabled": "no" }, { "enabled": false }] });
        let mut taken = TakenOut::default();
        mask(&mut all, &mut taken);
        assert_eq!(
            all,
            json!({ "mqtt": [{ "name": "b" }, { "name": "c", "enabled": "no" }, { "enabled": false }] })
        );
        assert_eq!(taken.written("mqtt[0].host"), "mqtt[1].host");
        assert!(!taken.is_of("mqtt"), "nothing is wrong with it");
    }

    #[test]
    fn what_stands_in_the_whole_is_found_in_the_text_that_says_it() {
        let fleet =
            json!({ "mqtt": [{ "name": "plant", "host": "h" }, { "name": "hall", "host": "k" }] });
        let site = json!({ "gateway": { "id": "x" }, "mqtt": [{ "name": "hall", "port": 0 }] });
        let all = merged(&[&fleet, &site]);
        let at = |part, path| place_in(part, &all, path);
        let some = |path: &str, whole| Some((path.to_owned(), whole));
        assert_eq!(at(&site, "mqtt[1].port"), some("mqtt[0].port", true));
        assert_eq!(at(&fleet, "mqtt[1].port"), some("mqtt[1]", false));
        assert_eq!(at(&site, "mqtt[0].host"), some("mqtt", false));
        assert_eq!(at(&fleet, "gateway.id"), None);
    }
}
