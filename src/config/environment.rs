//! Overrides from the environment: `TIDEGATE__SECTION__KEY`. What a variable's text becomes is said by what may stand at its key, so
//! that `0412` stays a text where a text is needed.

mod name;

mod text;

use std::ffi::OsString;

use serde_json::Value;

use super::expected::Schema;
use super::place::{self, Step};
use super::problem::Problem;
use name::resolve;
use text::value;

/// What the name of each begins with, in capitals or not.
const PREFIX: &str = "TIDEGATE__";

/// A variable that is for us.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: OsString,
}

impl Variable {
    /// The key that it names, as far as that can be said without the file.
    pub(super) fn key(&self) -> String {
        let name = self.name.get(PREFIX.len()..).unwrap_or_default();
        name.to_ascii_lowercase().replace("__", ".")
    }
}

/// Those of this process, each after those that it may be a part of.
pub(super) fn variables() -> Vec<Variable> {
    let all = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let begin = name.get(..PREFIX.len())?;
        begin
            .eq_ignore_ascii_case(PREFIX)
            .then_some(Variable { name, value })
    });
    let mut all: Vec<Variable> = all.collect();
    all.sort();
    all
}

/// Which key each variable has set, and what is wrong with the others.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    set: Vec<(String, String)>,
    pub(super) problems: Vec<Problem>,
}

impl Overrides {
    /// How what is at `key` is named where a variable has set it; the nearest of them.
    pub(super) fn name(&self, key: &str) -> Option<String> {
        let set = self.set.iter().filter(|(path, _)| place::is_in(key, path));
        let (path, variable) = set.max_by_key(|(path, _)| path.len())?;
        Some(if path == key {
            format!("environment {variable}")
        } else {
            format!("environment {variable} ({key})")
        })
    }
}

/// Puts what the variables say into `merged`.
pub(super) fn apply(merged: &mut Value, schema: &Schema, variables: &[Variable]) -> Overrides {
    let mut overrides = Overrides::default();
    for variable in variables {
        match read(merged, schema, variable) {
            Ok((steps, value)) => {
                place::put(merged, &steps, value);
                let set = (place::path(&steps), variable.name.clone());
                overrides.set.push(set);
            }
            Err(message) => {
                let key = format!("environment {}", variable.name);
                overrides.problems.push(Problem::whole(&key, message));
            }
        }
    }
    overrides
}

/// Where it is to be put, and what.
fn read(
    merged: &Value,
    schema: &Schema,
    variable: &Variable,
) -> Result<(Vec<Step>, Value), String> {
    let name = variable.name.get(PREFIX.len()..).unwrap_or_default();
    let (steps, expected) = resolve(merged, schema, name)?;
    let text = variable.value.to_str();
    let text = text.ok_or("its value is no UTF-8 text")?;
    Ok((steps, value(text, &expected)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file() -> Value {
        json!({
            "uplink": { "brokers": ["a:1", "b:2"], "kafka": { "socket.timeout.ms": "10000" } },
            "gateway": { "tags": { "Customer": "x" } },
            "mqtt": [{ "name": "plant", "subscribe": [{ "topic": "a" }] }, { "name": "pack-2__b" }],
        })
    }

    fn variable(name: &str, value: &str) -> Variable {
        Variable {
            name: format!("TIDEGATE__{name}"),
            value: value.into(),
        }
    }

    /// Name and text of a variable, the key that it sets, and to what, as JSON.
    const SET: [(&str, &str, &str, &str); 27] = [
        ("GATEWAY__SITE", "0412", "gateway.site", r#""0412""#),
        ("GATEWAY__ID", "1e5", "gateway.id", r#""1e5""#),
        ("GATEWAY__ID", "true", "gateway.id", r#""true""#),
        ("gateway__region", "", "gateway.region", r#""""#),
        ("GATEWAY__STOP_GRACE", "5s", "gateway.stop_grace", r#""5s""#),
        (
            "GATEWAY__FREE_FLOOR",
            "8192",
            "gateway.free_floor",
            r#""8192""#,
        ),
        ("STATUS__HTTP", "FALSE", "status.http", "false"),
        (
            "UPLINK__BROKERS",
            "a:1, b:2",
            "uplink.brokers",
            r#"["a:1","b:2"]"#,
        ),
        (
            "UPLINK__BROKERS",
            r#"["a:1","b:2"]"#,
            "uplink.brokers",
            r#"["a:1","b:2"]"#,
        ),
        (
            "UPLINK__BROKERS",
            "[::1]:1,[::2]:2",
            "uplink.brokers",
            r#"["[::1]:1","[::2]:2"]"#,
        ),
        ("UPLINK__BROKERS", "", "uplink.brokers", "[]"),
        ("UPLINK__BROKERS__1", "c:3", "uplink.brokers[1]", r#""c:3""#),
        ("MQTT__0__HOST", "x", "mqtt[0].host", r#""x""#),
        ("MQTT__PLANT__PORT", "1884", "mqtt[0].port", "1884"),
        ("MQTT__PACK_2__B__PORT", "1", "mqtt[1].port", "1"),
        (
            "MQTT__PLANT__SUBSCRIBE__0__QOS",
            "2",
            "mqtt[0].subscribe[0].qos",
            "2",
        ),
        (
            "MQTT__PLANT__PASSWORD__FILE",
            "/p",
            "mqtt[0].password.file",
            r#""/p""#,
        ),
        (
            "MQTT__PLANT__PASSWORD",
            "{ file = \"/p\" }",
            "mqtt[0].password",
            r#"{"file":"/p"}"#,
        ),
        ("MQTT__PLANT__VERSION", "5", "mqtt[0].version", r#""5""#),
        ("MQTT", "[{ name = \"m\" }]", "mqtt", r#"[{"name":"m"}]"#),
        ("REPLAY__CATCH_UP", "0.5", "replay.catch_up", "0.5"),
        (
            "GATEWAY__TAGS__CUSTOMER",
            "7",
            "gateway.tags.Customer",
            r#""7""#,
        ),
        (
            "GATEWAY__TAGS__LINE__A",
            "7",
            "gateway.tags.line__a",
            r#""7""#,
        ),
        (
            "UPLINK__KAFKA__SOCKET_TIMEOUT_MS",
            "9",
            "uplink.kafka.socket.timeout.ms",
            r#""9""#,
        ),
        (
            "UPLINK__KAFKA__SOCKET.TIMEOUT.MS",
            "9",
            "uplink.kafka.socket.timeout.ms",
            r#""9""#,
        ),
        (
            "UPLINK__KAFKA__LOG_LEVEL",
            "3",
            "uplink.kafka.log_level",
            r#""3""#,
        ),
        (
            "UPLINK__KAFKA__RETRY_BACKOFF_MS",
            "30",
            "uplink.kafka.retry.backoff.ms",
            r#""30""#,
        ),
    ];

    #[test]
    fn a_variable_sets_the_key_that_it_names_to_what_is_expected_there() {
        for (name, text, path, expected) in SET {
            let mut merged = file();
            let overrides = apply(&mut merged, &Schema::new(), &[variable(name, text)]);
            assert_eq!(overrides.problems, [], "{name}");
            assert_eq!(
                place::find(&merged, path).map(Value::to_string).as_deref(),
                Some(expected),
                "{name}: {merged}"
            );
            assert_eq!(
                overrides.name(path),
                Some(format!("environment TIDEGATE__{name}"))
            );
        }
    }

    #[test]
    fn a_variable_that_cannot_be_used_changes_nothing_and_is_named_with_what_would_be_right() {
        for (name, text, said) in [
            (
                "GATEWAY__SIET",
                "x",
                "unknown key `gateway.siet`; did you mean `site`?",
            ),
            (
                "GATWAY__ID",
                "x",
                "unknown key `gatway`; did you mean `gateway`?",
            ),
            (
                "GATEWAY__SITE__NAME",
                "x",
                "`gateway.site` has no keys below it",
            ),
            (
                "MQTT__2__HOST",
                "x",
                "`mqtt` has no element `2`, or several; use 0 to 1, or the name of one: plant, pack-2__b",
            ),
            ("MQTT__PRESS__HOST", "x", "no element `press`"),
            (
                "MODBUS__0__NAME",
                "x",
                "`modbus` has no element `0`; the file has none of it",
            ),
            (
                "UPLINK__BROKERS__2",
                "x",
                "no element `2`, or several; use 0 to 1",
            ),
            (
                "UPLINK__BROKERS",
                "[a:9092]",
                "`[a:9092]` is no list; write one like [\"a\", \"b\"], or a,b",
            ),
            ("MQTT__0__PASSWORD", "{ secret", "`the text` is no table"),
        ] {
            let mut merged = file();
            let overrides = apply(&mut merged, &Schema::new(), &[variable(name, text)]);
            let problem = overrides.problems.first().unwrap();
            assert_eq!(problem.key, format!("environment TIDEGATE__{name}"));
            assert!(
                problem.message.contains(said),
                "{name}: {}",
                problem.message
            );
            assert_eq!(merged, file(), "{name}");
        }
    }
}
