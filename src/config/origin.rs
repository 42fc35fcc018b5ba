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
    let texts = Texts::of_path(path)?;
    let parts = Parts::read(&texts)?;
    let (mut merged, mut taken) = (parts.merged.clone(), TakenOut::default());
    let variables = environment::variables();
    let overrides = environment::apply(&mut merged, &Schema::new(), &variables);
    if !overrides.problems.is_empty() {
        return Err(overrides.problems);
    }
    mask(&mut merged, &mut taken);
    let mut leaves = Vec::new();
    collect(&merged, String::new(), &mut leaves);
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let settings = leaves.into_iter().map(|(key, value)| {
        let written = taken.written(&key);
        let origin = overrides.name(&written).unwrap_or_else(|| {
            let (layer, line) = parts.place(&written);
            let layer = layer.map_or(file.to_string(), |name| format!("{file}.d/{name}"));
            line.map_or(layer.clone(), |line| format!("{layer}:{line}"))
        });
        let key = written;
        Setting { key, value, origin }
    });
    Ok(settings.collect())
}

/// Lists of values are one value, and so is what is empty.
fn collect(value: &Value, key: String, leaves: &mut Vec<(String, String)>) {
    let dot = if key.is_empty() { "" } else { "." };
    let table = value.as_object().into_iter().flatten();
    let inner = table.map(|(name, value)| (format!("{key}{dot}{name}"), value));
    let list = value.as_array().into_iter().flatten().enumerate();
    let list = list.filter(|(_, one)| one.is_object());
    let elements = list.map(|(index, value)| (format!("{key}[{index}]"), value));
    let inner: Vec<(String, &Value)> = inner.chain(elements).collect();
    if inner.is_empty() {
        // JSON's texts, numbers and lists are TOML's as well.
        leaves.push((key, value.to_string()));
    }
    for (key, value) in inner {
        collect(value, key, leaves);
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
