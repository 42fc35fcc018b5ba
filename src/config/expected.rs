//! What may stand at a place of the configuration, as its JSON schema says it.

use schemars::JsonSchema;
use serde_json::Value;

use super::file::File;

/// The schema of the whole file.
pub(super) struct Schema(Value);

/// What may stand at a place: one of these.
#[derive(Clone)]
pub(super) struct Expected<'a> {
    root: &'a Value,
    one_of: Vec<&'a Value>,
    /// Types of ours that it goes by, such as `Span`.
    names: Vec<&'a str>,
    /// An example, if there is one.
    pub(super) example: Option<&'a str>,
}

impl Schema {
    pub(super) fn new() -> Schema {
        Schema::of::<File>()
    }

    /// Of what stands in a file of its own.
    pub(super) fn of<T: JsonSchema>() -> Schema {
        Schema(schemars::schema_for!(T).to_value())
    }

    pub(super) fn root(&self) -> Expected<'_> {
        Expected::of(&self.0, &self.0)
    }

    /// What may stand at `path`; none where nothing may.
    pub(super) fn at(&self, path: &str) -> Option<Expected<'_>> {
        let mut here = self.root();
        for step in super::place::steps(path) {
            here = match step {
                super::place::Step::Key(key) => match here.key(&key) {
                    Some((_, below)) => below,
                    // What is behind a dot belongs to the key before it.
                    None => here.free().unwrap_or(here),
                },
                super::place::Step::Index(_) => here.element()?,
            };
        }
        Some(here)
    }
}

impl<'a> Expected<'a> {
    fn of(root: &'a Value, schema: &'a Value) -> Expected<'a> {
        let (one_of, names) = (Vec::new(), Vec::new());
        let mut all = Expected {
            root,
            one_of,
            names,
            example: None,
        };
        all.add(schema);
        all
    }

    fn add(&mut self, schema: &'a Value) {
        self.example = self.example.or_else(|| example(schema));
        if let Some(name) = text(schema, "$ref").and_then(|to| to.strip_prefix("#/$defs/")) {
            self.names.push(name);
            if let Some(named) = self.root.get("$defs").and_then(|all| all.get(name)) {
                self.add(named);
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for one in schema
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.add(one);
            }
        }
        let says = |key| schema.get(key).is_some();
        if ["type", "enum", "const"].into_iter().any(says) {
            self.one_of.push(schema);
        }
    }

    /// Whether a value of this JSON type may stand there.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.one_of.iter().any(|one| match one.get("type") {
            Some(Value::String(is)) => is == name,
            Some(Value::Array(all)) => all.iter().any(|is| is == name),
            _ => false,
        })
    }

    /// Whether it goes by this type of ours.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// What `name` stands for, as the key is written, and what may stand there.
    pub(super) fn key(&self, name: &str) -> Option<(&'a str, Expected<'a>)> {
        let mut all = self.properties();
        all.find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(key, schema)| (key, Expected::of(self.root, schema)))
    }

    fn properties(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let all = self.one_of.iter().filter_map(|one| one.get("properties"));
        let all = all.filter_map(Value::as_object).flatten();
        all.map(|(key, schema)| (key.as_str(), schema))
    }

    /// The keys that may stand there.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        self.properties().map(|(key, _)| key).collect()
    }

    /// What stands behind keys that whoever writes the file chooses.
    pub(super) fn free(&self) -> Option<Expected<'a>> {
        let mut all = self.one_of.iter();
        let free = all.find_map(|one| one.get("additionalProperties").filter(|it| it.is_object()));
        free.map(|schema| Expected::of(self.root, schema))
    }

    /// What stands in the list.
    pub(super) fn element(&self) -> Option<Expected<'a>> {
        let items = self.one_of.iter().find_map(|one| one.get("items"));
        items.map(|schema| Expected::of(self.root, schema))
    }

    /// The texts that may stand there, where these are few.
    pub(super) fn values(&self) -> Vec<&'a str> {
        let values = self.one_of.iter().flat_map(|one| {
            let few = one
                .get("enum")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            few.chain(one.get("const"))
        });
        values.filter_map(Value::as_str).collect()
    }

    /// The least and the most that a whole number may be, as far as that is said.
    pub(super) fn range(&self) -> (Option<i64>, Option<u64>) {
        let is_whole =
            |one: &&&Value| text(one, "type") == Some("integer") || one["type"].is_array();
        let Some(one) = self.one_of.iter().find(is_whole) else {
            return (None, None);
        };
        let most = match text(one, "format") {
            Some("uint32") => Some(u64::from(u32::MAX)),
            _ => one.get("maximum").and_then(Value::as_u64),
        };
        (one.get("minimum").and_then(Value::as_i64), most)
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key)?.as_str()
}

/// Of a type's examples, or of its documentation.
fn example(schema: &Value) -> Option<&str> {
    let examples = schema.get("examples").and_then(Value::as_array);
    let first = examples.and_then(|all| all.first()?.as_str());
    let told = || {
        let (_, told) = text(schema, "description")?.split_once("Example: `")?;
        told.split('`').next()
    };
    first.or_else(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_says_what_may_stand_at_a_place() {
        let schema = Schema::new();
        for (path, kind) in [
            ("gateway.site", "string"),
            ("gateway.tags.customer", "string"),
            ("gateway.stop_grace", "string"),
            ("mqtt", "array"),
            ("mqtt[3].port", "integer"),
            ("mqtt[0].tls", "object"),
            ("uplink.kafka.socket.timeout.ms", "string"),
            ("replay.catch_up", "number"),
            ("status.http", "boolean"),
            ("mqtt[0].subscribe[2].tags.line", "string"),
        ] {
            assert!(schema.at(path).unwrap().takes(kind), "{path}");
        }
        assert_eq!(
            schema.at("mqtt[0].port").unwrap().range(),
            (Some(0), Some(65535))
        );
        assert!(schema.at("gateway.stop_grace").unwrap().is_named("Span"));
        assert_eq!(
            schema.at("mqtt[0].version").unwrap().values(),
            ["3.1.1", "5"]
        );
        assert!(
            schema
                .at("mqtt[0].password")
                .unwrap()
                .keys()
                .contains(&"file")
        );
    }
}
