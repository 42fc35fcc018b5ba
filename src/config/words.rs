//! What serde says of a value, in an operator's words: what is there, and what would be right.

use serde_json::Value;

use super::expected::{Expected, Schema};
use super::place;

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 60;

/// Something that cannot be read.
pub(super) struct Unreadable {
    pub(super) key: String,
    pub(super) message: String,
    /// What has to go so that the rest can be read.
    pub(super) place: String,
}

/// serde's `text` about `path` of `root`.
pub(super) fn explain(path: &str, text: &str, root: &Value, schema: &Schema) -> Unreadable {
    let join = |name: &str| {
        if path == "." {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    if let Some((unknown, known)) = named(text, "unknown field `") {
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let key = if path.ends_with(unknown) {
            path.to_owned()
        } else {
            join(unknown)
        };
        return Unreadable {
            message: format!("unknown key; {}", hint(unknown, &known)),
            place: key.clone(),
            key,
        };
    }
    if let Some((missing, _)) = named(text, "missing field `") {
        return Unreadable {
            key: join(missing),
            message: "missing; it has no default".into(),
            place: path.to_owned(),
        };
    }
    let value = place::find(root, path);
    let expected = schema.at(path);
    Unreadable {
        key: path.to_owned(),
        message: match (value, &expected) {
            (Some(value), Some(expected)) if is_of_serde(text) => {
                wrong(path, value, expected, text)
            }
            _ => plain(text),
        },
        place: path.to_owned(),
    }
}

/// What is between `begin` and the next backtick, and what follows.
fn named<'a>(text: &'a str, begin: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(begin)?.split_once('`')
}

/// The key that is meant, or those that there are.
pub(super) fn hint(unknown: &str, known: &[&str]) -> String {
    let like = |known: &str| strsim::jaro_winkler(known, unknown);
    let nearest = known.iter().max_by(|a, b| like(a).total_cmp(&like(b)));
    match nearest {
        Some(near) if like(near) > 0.7 => format!("did you mean `{near}`?"),
        Some(_) => format!("known here: {}", known.join(", ")),
        None => "there are none here".into(),
    }
}

/// Whether these are serde's words, and not those of a type of ours.
fn is_of_serde(text: &str) -> bool {
    let begins = [
        "invalid type",
        "invalid value",
        "invalid length",
        "unknown variant",
        "duplicate",
    ];
    begins.iter().any(|begin| text.starts_with(begin))
}

/// Where nothing better is known.
fn plain(text: &str) -> String {
    if is_of_serde(text) {
        "cannot be used as it is written; `tidegate schema` says what may stand here".into()
    } else {
        text.to_owned()
    }
}

/// What is wrong with `value`, where something else is expected.
fn wrong(path: &str, value: &Value, expected: &Expected<'_>, text: &str) -> String {
    if expected.is_named("SecretRef") {
        return "is no place of a secret, which is never written here; use { file = \"/etc/tidegate/password\" } or { credential = \"password\" }".into();
    }
    let key = path.rsplit('.').next().unwrap_or(path);
    let values = expected.values();
    if !values.is_empty() {
        return no_value(value, &values);
    }
    if let (Value::Array(list), Some((_, length))) = (value, text.split_once("array of length ")) {
        return format!(
            "`{}` has {} values; it takes {length}",
            shown(value),
            list.len()
        );
    }
    if expected.takes("array") {
        return no_list(key, value, expected);
    }
    if expected.takes("integer") {
        return no_whole(key, value, expected);
    }
    if expected.takes("number") {
        return no_number(value, "a number, such as 0.5");
    }
    if expected.takes("boolean") {
        let value = shown(value);
        return format!("`{value}` is not true or false; use one of them, without quotes");
    }
    if expected.takes("string") {
        return no_text(value, expected);
    }
    if expected.takes("object") {
        let keys = expected.keys();
        let with = if keys.is_empty() {
            String::new()
        } else {
            format!(", with the keys {}", keys.join(", "))
        };
        return format!(
            "`{}` is {} where a table is needed{with}",
            shown(value),
            kind(value)
        );
    }
    plain(text)
}

/// One of few texts is needed.
fn no_value(value: &Value, values: &[&str]) -> String {
    let (text, all) = (shown(value), values.join(", "));
    if value.is_string() {
        return format!("unknown value `{text}`; use one of {all}");
    }
    let needed = format!("`{text}` is {} where a text is needed", kind(value));
    if values.contains(&text.as_str()) {
        format!("{needed}; put it in quotes: \"{text}\"")
    } else {
        format!("{needed}; use one of {all}, in quotes")
    }
}

fn no_list(key: &str, value: &Value, expected: &Expected<'_>) -> String {
    let (text, of) = (shown(value), kind(value));
    let of_tables = |one: Expected<'_>| one.takes("object") && !one.takes("string");
    if expected.element().is_some_and(of_tables) {
        return if value.is_object() {
            format!(
                "is one table where a list of tables is needed; write [[{key}]] in place of [{key}]"
            )
        } else {
            format!("`{text}` is {of} where tables are needed; write each below [[{key}]]")
        };
    }
    if value.is_string() {
        return format!("`{text}` is {of} where a list is needed; use [\"{text}\"]");
    }
    let example = expected.example.unwrap_or("[\"a\", \"b\"]");
    format!("`{text}` is {of} where a list is needed, such as {example}")
}

fn no_whole(key: &str, value: &Value, expected: &Expected<'_>) -> String {
    let text = shown(value);
    if key == "port" {
        let is_port = text.parse::<u16>().is_ok_and(|port| port > 0);
        return if value.is_string() && is_port {
            format!("`{text}` is a text where a port is needed; leave out the quotes")
        } else {
            format!("`{text}` is no port; use 1 to 65535")
        };
    }
    let right = match expected.range() {
        (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
        (Some(0), None) => "a whole number, 0 or more".to_owned(),
        _ => "a whole number".to_owned(),
    };
    if value.is_f64() {
        format!("`{text}` is no whole number; use {right}")
    } else if value.is_number() {
        format!("`{text}` is out of range; use {right}")
    } else {
        no_number(value, &right)
    }
}

fn no_number(value: &Value, right: &str) -> String {
    let text = shown(value);
    if !value.is_string() {
        let of = kind(value);
        return format!("`{text}` is {of} where a number is needed; use {right}");
    }
    if text.parse::<f64>().is_ok() {
        format!("`{text}` is a text where a number is needed; leave out the quotes")
    } else {
        format!("`{text}` is no number; use {right}")
    }
}

fn no_text(value: &Value, expected: &Expected<'_>) -> String {
    let (text, of) = (shown(value), kind(value));
    let such = expected.example.map(|one| format!(", such as \"{one}\""));
    let such = such.unwrap_or_default();
    for (name, what) in [("Span", "a duration"), ("Size", "a size")] {
        if expected.is_named(name) {
            return format!(
                "`{text}` is {of} where {what} is needed; write it in quotes and with its unit{such}"
            );
        }
    }
    if value.is_number() || value.is_boolean() {
        format!("`{text}` is {of} where a text is needed; put it in quotes: \"{text}\"")
    } else {
        format!("`{text}` is {of} where a text in quotes is needed")
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn shown(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= SHOWN_MAX {
        return text;
    }
    text.chars().take(SHOWN_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::load::problems_of;

    /// What is written, and what is said of it.
    const SAID: [(&str, &str); 24] = [
        (
            "[[mqtt]]\nname = \"m\"\nport = 70000\n",
            "mqtt[0].port: `70000` is no port; use 1 to 65535",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nport = \"1883\"\n",
            "`1883` is a text where a port is needed; leave out the quotes",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nport = \"abc\"\n",
            "`abc` is no port; use 1 to 65535",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nwindow = -5\n",
            "`-5` is out of range; use a whole number from 0 to 65535",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nwindow = 1.5\n",
            "`1.5` is no whole number; use a whole number from 0 to 65535",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nversion = 5\n",
            "`5` is a number where a text is needed; put it in quotes: \"5\"",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nversion = \"4\"\n",
            "unknown value `4`; use one of 3.1.1, 5",
        ),
        (
            "[[mqtt]]\nname = \"m\"\npassword = \"s3cret\"\n",
            "is no place of a secret, which is never written here; use { file =",
        ),
        (
            "[[mqtt]]\nname = \"m\"\ntls = true\n",
            "`true` is true or false where a table is needed, with the keys ca_file",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nsubscribe = \"a/b\"\n",
            "is a text where tables are needed; write each below [[subscribe]]",
        ),
        (
            "[mqtt]\nname = \"m\"\n",
            "mqtt: is one table where a list of tables is needed; write [[mqtt]] in place of [mqtt]",
        ),
        (
            "[gateway]\nsite = 412\n",
            "gateway.site: `412` is a number where a text is needed; put it in quotes: \"412\"",
        ),
        (
            "[gateway]\nstop_grace = 5\n",
            "`5` is a number where a duration is needed; write it in quotes and with its unit, such as \"500ms\"",
        ),
        (
            "[gateway]\nfree_floor = 5\n",
            "`5` is a number where a size is needed; write it in quotes and with its unit, such as \"64 MiB\"",
        ),
        (
            "[gateway]\nstop_grace = \"fast\"\n",
            "`fast` is not a duration; write one like",
        ),
        (
            "[gateway]\nid = [\"a\"]\n",
            "is a list where a text in quotes is needed",
        ),
        (
            "[status]\nhttp = \"yes\"\n",
            "`yes` is not true or false; use one of them, without quotes",
        ),
        ("[status]\nhttp = 1\n", "`1` is not true or false"),
        (
            "[status]\nhosts = \"h\"\n",
            "`h` is a text where a list is needed; use [\"h\"]",
        ),
        (
            "[replay]\ncatch_up = \"0.4\"\n",
            "`0.4` is a text where a number is needed; leave out the quotes",
        ),
        (
            "[replay]\ncatch_up = \"much\"\n",
            "`much` is no number; use a number",
        ),
        (
            "[[intent]]\nname = \"state\"\nwhen_full = \"block\"\n",
            "unknown value `block`; use one of refuse, drop_oldest",
        ),
        (
            "[uplink.kafka]\n\"socket.timeout.ms\" = 10000\n",
            "uplink.kafka.socket.timeout.ms: `10000` is a number where a text is needed",
        ),
        (
            "[gatway]\nid = \"x\"\n",
            "gatway: unknown key; did you mean `gateway`?",
        ),
    ];

    #[test]
    fn what_is_wrong_with_a_value_is_said_in_words_and_with_what_would_be_right() {
        for (more, says) in SAID {
            let said = problems_of(&format!("[uplink]\nbrokers = [\"a:1\"]\n{more}"), &[]);
            let said = said.join("\n");
            assert!(said.contains(says), "{more}{said}");
            for word in ["expected", "u16", "invalid", "sequence", "string", "struct"] {
                assert!(!said.contains(word), "{more}{said}");
            }
        }
        let said = problems_of("[uplink]\nbrokers = 5\n", &[]).join("\n");
        assert_eq!(
            said,
            "line 2: uplink.brokers: `5` is a number where a list is needed, such as [\"kafka-1:9092\"]\nwarning: mqtt: there is no source; add an [[mqtt]], [[modbus]] or [[inference]] section"
        );
    }
}
