//! What the project promises about its own shape.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rig::{project, tidegate};

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(project(), "rs", &mut found);
    found
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn no_source_file_is_over_400_lines_and_none_is_called_mod() {
    for (path, text) in sources() {
        assert!(
            text.lines().count() <= 400,
            "{} has {} lines",
            path.display(),
            text.lines().count()
        );
        assert!(!path.ends_with("mod.rs"), "{}", path.display());
    }
}

#[test]
fn each_library_is_named_where_it_belongs() {
    let allowed = [
        ("rdkafka::", &["src/uplink/", "tests/load/"][..]),
        ("sled::", &["buffer/src/database.rs"]),
        (
            "ring::",
            &[
                "buffer/src/keys.rs",
                "src/config/trust",
                "src/config/hash.rs",
            ],
        ),
        ("serde_cbor::", &["buffer/src/cbor.rs"]),
        ("zstd::", &["buffer/src/codec.rs"]),
        (
            "tokio_serial::",
            &["adapters/src/modbus/port.rs", "tests/load/"][..],
        ),
        ("serial2::", &["adapters/src/modbus/port.rs"]),
        ("rumqttc::", &["adapters/src/mqtt/", "tests/load/"][..]),
    ];
    for (path, text) in sources() {
        let path = path
            .strip_prefix(project())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for (name, places) in allowed {
            let named = |line: &str| {
                let mut before = line
                    .match_indices(name)
                    .map(|(at, _)| line[..at].chars().last());
                before.any(|last| last.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':'))
            };
            let code = text
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && named(line));
            let here =
                places.iter().any(|place| path.starts_with(place)) || path.ends_with("tidy.rs");
            assert!(!code || here, "{path} names {name}");
        }
    }
    for leaf in ["adapters", "buffer"] {
        let manifest = fs::read_to_string(project().join(leaf).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("= { path ="), "{leaf} is a leaf");
    }
}

#[test]
fn every_key_of_the_configuration_is_shown_in_gateway_toml() {
    let output = tidegate().arg("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown = fs::read_to_string(project().join("configs/gateway.toml")).unwrap();
    let mut keys = Vec::new();
    collect(&schema, &mut keys);
    assert!(keys.len() > 80, "{}", keys.len());
    for key in keys {
        let names = |line: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                .any(|word| word == key)
        };
        assert!(
            shown.lines().any(names),
            "configs/gateway.toml does not show `{key}`"
        );
    }
}

/// Names of all properties in a JSON schema.
fn collect(schema: &Value, keys: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        keys.extend(properties.keys().cloned());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| collect(value, keys)),
        Value::Array(list) => list.iter().for_each(|value| collect(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
