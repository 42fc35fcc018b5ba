//! The texts of a configuration as they are written, and where in them something stands.

use adapters::printable;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::DeTable;

use super::installation;
use super::lines::{line, line_of};
use super::merge::{merge, place_in};
use super::problem::Problem;
use super::texts::{KEPT, Texts};

/// What one text says.
struct Part<'a> {
    /// Of a layer, its name.
    layer: Option<&'a str>,
    text: &'a str,
    spans: Spanned<DeTable<'a>>,
    written: Value,
}

/// What all of them say, and where.
pub(super) struct Parts<'a> {
    all: Vec<Part<'a>>,
    pub(super) merged: Value,
}

impl<'a> Parts<'a> {
    /// # Errors
    /// What is no TOML.
    pub(super) fn read(texts: &'a Texts) -> Result<Parts<'a>, Vec<Problem>> {
        let layers = texts.layers.iter();
        let layers = layers.map(|one| (Some(one.name.as_str()), one.text.as_str()));
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        for (layer, text) in std::iter::once((None, texts.file.as_str())).chain(layers) {
            match Part::read(layer, text) {
                Ok(part) => all.push(part),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut merged = Value::Object(Map::new());
        for part in &all {
            merge(&mut merged, part.written.clone());
        }
        Ok(Parts { all, merged })
    }

    /// Beside a file that is signed, and so not of the layers' author, they say only what an installation may.
    ///
    /// # Errors
    /// What else they say.
    pub(super) fn only_installations(&self) -> Result<(), Vec<Problem>> {
        let of_installation = |part: &&Part| part.layer.is_some_and(|layer| layer != KEPT);
        let layers = self.all.iter().filter(of_installation);
        let problems = layers.flat_map(|part| {
            let keys = leaves(&part.written, "").into_iter();
            let others = keys.filter(|key| !installation::may_set(key));
            others.map(|key| {
                let keys = installation::KEYS.join(", ");
                let message = format!("the configuration must be signed here, and this layer, which is not, would change it; only {keys} may stand in a layer then: have it in the signed file");
                Problem {
                    layer: part.layer.map(ToOwned::to_owned),
                    line: line(part.text, part.spans.get_ref(), &key),
                    ..Problem::whole(&key, message)
                }
            })
        });
        let problems: Vec<Problem> = problems.collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// The layer and the line where `key` stands, as far as it does: in the text that has the most of it, and of those the last.
    pub(super) fn place(&self, key: &str) -> (Option<String>, Option<usize>) {
        let found = self.all.iter().filter_map(|part| {
            let (place, whole) = place_in(&part.written, &self.merged, key)?;
            Some(((whole, place.len()), part, place))
        });
        match found.max_by_key(|(much, ..)| *much) {
            None => (None, None),
            Some((_, part, place)) => (
                part.layer.map(ToOwned::to_owned),
                line(part.text, part.spans.get_ref(), &place),
            ),
        }
    }
}

impl<'a> Part<'a> {
    fn read(layer: Option<&'a str>, text: &'a str) -> Result<Part<'a>, Problem> {
        let failed = |line, message| Problem {
            layer: layer.map(ToOwned::to_owned),
            line,
            ..Problem::whole("syntax", message)
        };
        let spans = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            failed(line, with_key(text, &error))
        })?;
        let written = written(text).map_err(|message| failed(None, message))?;
        Ok(Part {
            layer,
            text,
            spans,
            written,
        })
    }
}

/// What the reader of TOML says, and of which key, where it does not say that.
fn with_key(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let key = error.span().and_then(|span| text.get(span));
    let key = key.filter(|key| !key.is_empty() && !key.contains('\n'));
    match key {
        Some(key) if message == "duplicate key" => {
            let key = printable(key);
            format!("duplicate key `{key}`; keep one of them, or put both tables together")
        }
        Some(_) | None => message.to_owned(),
    }
}

/// The keys that are set in tables; what a list has is one.
fn leaves(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Object(table) if !table.is_empty() => {
            let dot = if key.is_empty() { "" } else { "." };
            let inner = table.iter();
            let inner = inner.flat_map(|(name, value)| leaves(value, &format!("{key}{dot}{name}")));
            inner.collect()
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => vec![key.to_owned()],
    }
}

/// What a text says.
pub(super) fn written(text: &str) -> Result<Value, String> {
    let file = config::File::from_str(text, config::FileFormat::Toml);
    let read = config::Config::builder().add_source(file).build();
    let read = read.and_then(config::Config::try_deserialize);
    read.map_err(|error| error.to_string())
}
