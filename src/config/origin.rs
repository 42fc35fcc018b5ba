//! What is set in a configuration, and where.

use std::path::Path;

use serde_json::Value;

use super::environment;
use super::expected::Schema;
use super::merge::mask;
use super::parts::Parts;
use super::place::TakenOut;
use super::problem::Problem;
use super::texts::Texts;

/// A key that is set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As messages name it: `mqtt[0].host`.
    pub(crate) key: String,
    /// The same with the names of elements in place of their numbers: `mqtt[plant].host`.
    pub(crate) name: String,
    /// As it is written in TOML.
    pub(crate) value: String,
    /// `gateway.toml:12`, `gateway.toml.d/50-site.toml:3` or `environment TIDEGATE__GATEWAY__ID`.
    pub(crate) origin: String,
}

/// All that is set by the file at `path`, its layers and the environment, in the order of the keys; elements of lists that are left out
/// keep their numbers.
///
/// # Errors
/// What is no TOML, or cannot be read.
pub(crate) fn settings(path: &Path) -> Result<Vec<Setting>, Vec<Problem>> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    settings_of(&Texts::of_path(path, path)?, &file)
}

/// The same of texts, of which the first is called so.
pub(crate) fn settings_of(texts: &Texts, file: &str) -> Result<Vec<Setting>, Vec<Problem>> {
    let parts = Parts::read(texts)?;
    let (mut merged, mut taken) = (parts.merged.clone(), TakenOut::default());
    let variables = environment::variables();
    let overrides = environment::apply(&mut merged, &Schema::new(), &variables);
    if !overrides.problems.is_empty() {
        return Err(overrides.problems);
    }
    mask(&mut merged, &mut taken);
    let mut leaves = Vec::new();
    collect(&merged, String::new(), String::new(), &mut leaves);
    for one in &mut leaves {
        one.key = taken.written(&one.key);
        one.origin = overrides.name(&one.key).unwrap_or_else(|| {
            let (layer, line) = parts.place(&one.key);
            let layer = layer.map_or(file.to_owned(), |name| format!("{file}.d/{name}"));
            line.map_or(layer.clone(), |line| format!("{layer}:{line}"))
        });
    }
    Ok(leaves)
}

/// Lists of values are one value, and so is what is empty.
fn collect(value: &Value, key: String, name: String, leaves: &mut Vec<Setting>) {
    let dot = if key.is_empty() { "" } else { "." };
    let table = value.as_object().into_iter().flatten();
    let inner = table.map(|(one, value)| {
        let (key, name) = (format!("{key}{dot}{one}"), format!("{name}{dot}{one}"));
        (key, name, value)
    });
    let list = value.as_array().into_iter().flatten().enumerate();
    let list = list.filter(|(_, one)| one.is_object());
    let elements = list.map(|(index, value)| {
        let named = value.get("name").and_then(Value::as_str);
        let named = named.map_or(index.to_string(), ToOwned::to_owned);
        (format!("{key}[{index}]"), format!("{name}[{named}]"), value)
    });
    let inner: Vec<(String, String, &Value)> = inner.chain(elements).collect();
    if inner.is_empty() {
        leaves.push(Setting {
            key,
            name,
            // JSON's texts, numbers and lists are TOML's as well.
            value: value.to_string(),
            origin: String::new(),
        });
        return;
    }
    for (key, name, value) in inner {
        collect(value, key, name, leaves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_names_the_layer_and_line_that_it_has_last_been_set_in() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.toml");
        let file = "[uplink]\nbrokers = [\"a:1\"]\n[[mqtt]]\nname = \"off\"\n[[mqtt]]\nname = \"plant\"\nhost = \"h\"\n";
        std::fs::write(&path, file).unwrap();
        std::fs::create_dir(super::super::texts::directory(&path)).unwrap();
        let layer =
            "[[mqtt]]\nname = \"off\"\nenabled = false\n[[mqtt]]\nname = \"plant\"\nport = 1884\n";
        std::fs::write(path.with_file_name("gateway.toml.d/50-site.toml"), layer).unwrap();
        let said: Vec<String> = settings(&path)
            .unwrap()
            .into_iter()
            .map(|one| format!("{} = {} # {}", one.key, one.value, one.origin))
            .collect();
        assert_eq!(
            said,
            [
                "mqtt[1].host = \"h\" # gateway.toml:7",
                "mqtt[1].name = \"plant\" # gateway.toml.d/50-site.toml:5",
                "mqtt[1].port = 1884 # gateway.toml.d/50-site.toml:6",
                "uplink.brokers = [\"a:1\"] # gateway.toml:2",
            ]
        );
    }
}
