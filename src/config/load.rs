//! Putting the layers together, and finding everything that is wrong, not just the first thing.

use std::path::{Path, PathBuf};

use adapters::SecretRef;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::check;
use super::file::File;
use super::problem::{Problem, Weight};
use super::settings::Settings;

/// More problems than this are not worth reading at once.
const PROBLEMS_MAX: usize = 100;

/// A configuration without errors; there may be settings that are left out, and warnings.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// As written ...
    pub file: File,
    /// ... and as meant.
    pub settings: Settings,
    pub warnings: Vec<Problem>,
    /// The text that it was read from, and those of the register maps that it names.
    pub text: String,
    pub maps: Vec<(PathBuf, String)>,
    /// The files of passwords, certificates and keys.
    pub referred: Vec<PathBuf>,
}

/// Reads the file at `path`, then `TIDEGATE__SECTION__KEY` from the environment.
pub(crate) fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Problem {
            key: path.display().to_string(),
            line: None,
            message: format!("cannot be read: {error}"),
            weight: Weight::Error,
        }]
    })?;
    load_text(&text, path.parent().unwrap_or(Path::new("")))
}

/// The same of a text; `beside` is the directory of the file that it is from, for those that it names.
pub(crate) fn load_text(text: &str, beside: &Path) -> Result<Loaded, Vec<Problem>> {
    let spans = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        vec![Problem {
            key: "syntax".into(),
            line,
            message: error.message().to_owned(),
            weight: Weight::Error,
        }]
    })?;
    let merged = merge(text).map_err(|message| {
        vec![Problem {
            key: "environment".into(),
            line: None,
            message,
            weight: Weight::Error,
        }]
    })?;
    load_merged(merged, text, spans.get_ref(), beside)
}

/// From all layers; `spans` are of the text that problems are looked up in.
pub(super) fn load_merged(
    merged: Value,
    text: &str,
    spans: &DeTable,
    beside: &Path,
) -> Result<Loaded, Vec<Problem>> {
    let referred = referred(&merged);
    let (mut file, mut problems) = read(merged);
    let named = file.iter().flat_map(|file| named_maps(file, beside));
    let named: Vec<_> = named.collect();
    problems.extend(file.iter_mut().flat_map(|file| maps(file, beside)));
    problems.extend(file.iter().flat_map(check::problems));
    for problem in &mut problems {
        problem.line = line(text, spans, &problem.key);
    }
    problems.sort_by_key(|problem| (problem.weight, problem.line));
    match file {
        Some(file) if problems.iter().all(|one| one.weight != Weight::Error) => Ok(Loaded {
            settings: Settings::new(&file),
            file,
            warnings: problems,
            text: text.to_owned(),
            maps: named,
            referred,
        }),
        _ => Err(problems),
    }
}

/// The texts of register maps, by the names that they are given; what cannot be read is said when it is put in its place.
fn named_maps(file: &File, beside: &Path) -> Vec<(PathBuf, String)> {
    let maps = file.modbus.iter().flat_map(|bus| bus.maps(beside));
    let texts = maps.filter_map(|(name, path)| Some((name, std::fs::read_to_string(path).ok()?)));
    texts.collect()
}

/// Puts register maps in their place.
fn maps(file: &mut File, beside: &Path) -> Vec<Problem> {
    let buses = file.modbus.iter_mut().enumerate();
    let problems = buses.flat_map(|(index, bus)| {
        let problem = move |(key, message)| Problem {
            key: format!("modbus[{index}].{key}"),
            line: None,
            message,
            weight: Weight::Error,
        };
        bus.resolve(beside).into_iter().map(problem)
    });
    problems.collect()
}

/// The files that hold what a configuration keeps out of itself.
fn referred(value: &Value) -> Vec<PathBuf> {
    match value {
        Value::Object(map) => {
            let found = map.iter().flat_map(|(key, value)| match value.as_str() {
                Some(path) if key == "file" || key.ends_with("_file") => {
                    vec![PathBuf::from(path)]
                }
                Some(name) if key == "credential" => {
                    let secret = SecretRef::Credential(name.to_owned());
                    secret.path().into_iter().collect()
                }
                Some(_) | None => referred(value),
            });
            found.collect()
        }
        Value::Array(list) => list.iter().flat_map(referred).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

pub(super) fn merge(text: &str) -> Result<Value, String> {
    let environment = config::Environment::with_prefix("TIDEGATE")
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true);
    let merged = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(environment)
        .build()
        .map_err(|error| error.to_string())?;
    merged.try_deserialize().map_err(|error| error.to_string())
}

/// Reads the merged values; what cannot be read is noted, taken out, and the rest is tried again.
fn read(mut merged: Value) -> (Option<File>, Vec<Problem>) {
    let mut problems: Vec<Problem> = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match serde_path_to_error::deserialize::<_, File>(&merged) {
            Ok(file) => return (Some(file), problems),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let (key, message, unreadable) = explain(&path, &error.inner().to_string());
        if taken.contains(&key) {
            break; // it is missing because it was taken out
        }
        problems.push(Problem {
            key,
            line: None,
            message,
            weight: Weight::Error,
        });
        if !take_out(&mut merged, &unreadable) {
            break;
        }
        taken.push(unreadable);
    }
    (None, problems)
}

/// serde's words, as an operator needs them: the key, what is wrong, and what cannot be read.
fn explain(path: &str, text: &str) -> (String, String, String) {
    let join = |name: &str| {
        if path == "." {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    if let Some((unknown, known)) = text
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
    {
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let nearest = known.iter().max_by(|a, b| {
            strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown))
        });
        let hint = match nearest {
            Some(near) if strsim::jaro_winkler(near, unknown) > 0.7 => {
                format!("did you mean `{near}`?")
            }
            _ => format!("known here: {}", known.join(", ")),
        };
        let key = if path.ends_with(unknown) {
            path.to_owned()
        } else {
            join(unknown)
        };
        return (key.clone(), format!("unknown key; {hint}"), key);
    }
    if let Some(missing) = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
    {
        return (
            join(missing.0),
            "missing; it has no default".into(),
            path.to_owned(),
        );
    }
    let text = text
        .replace("invalid type: ", "wrong type: ")
        .replace("unknown variant ", "unknown value ");
    (path.to_owned(), text, path.to_owned())
}

/// Removes what `path` names, or the nearest table or list around it that can go.
fn take_out(root: &mut Value, path: &str) -> bool {
    let steps = steps(path);
    let Some((last, parents)) = steps.split_last() else {
        return false;
    };
    let mut place = &mut *root;
    for step in parents {
        let next = match step {
            Step::Key(key) => place.get_mut(key.as_str()),
            Step::Index(index) => place.get_mut(index),
        };
        match next {
            Some(next) => place = next,
            None => return false,
        }
    }
    match (last, place) {
        (Step::Key(key), Value::Object(map)) => map.remove(key).is_some(),
        (Step::Index(index), Value::Array(list)) if *index < list.len() => {
            // The others keep their numbers: an empty table is reported as such at most once.
            list.remove(*index);
            true
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &str) -> Vec<Step> {
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

/// The line on which the deepest known part of `key` stands.
fn line(text: &str, root: &DeTable, key: &str) -> Option<usize> {
    let mut found = None;
    let mut table = Some(root);
    let mut list: Option<&toml::de::DeArray> = None;
    for step in steps(key) {
        match step {
            Step::Key(name) => {
                let (key, value) = table?
                    .iter()
                    .find(|(key, _)| key.get_ref() == name.as_str())
                    .map_or((None, None), |(k, v)| (Some(k), Some(v)));
                let Some((key, value)) = key.zip(value) else {
                    return found;
                };
                found = Some(line_of(text, key.span().start));
                (table, list) = children(value.get_ref());
            }
            Step::Index(index) => {
                let Some(value) = list.and_then(|list| list.get(index)) else {
                    return found;
                };
                found = Some(line_of(text, value.span().start));
                (table, list) = children(value.get_ref());
            }
        }
    }
    found
}

fn children<'a, 'i>(
    value: &'a DeValue<'i>,
) -> (Option<&'a DeTable<'i>>, Option<&'a toml::de::DeArray<'i>>) {
    (value.as_table(), value.as_array())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset)
        .map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::mutate::mutants;

    #[test]
    fn fuzz_no_text_makes_the_loader_panic_and_all_that_it_says_is_printable() {
        let seeds = [
            include_str!("../../configs/gateway.toml"),
            include_str!("../../configs/minimal.toml"),
            include_str!("../../configs/fleet-secure.toml"),
            "[uplink]\nbrokers = [\"a:1\"]\n[uplink.kafka]\n\"socket.timeout.ms\" = \"10\"\n[[link.window]]\nopen = \"* 25 * * *\"\n",
        ];
        let tried = mutants(&seeds.map(str::as_bytes), |input| {
            let text = String::from_utf8_lossy(input);
            let said = match load_text(&text, Path::new("/nowhere")) {
                Ok(loaded) => loaded.warnings,
                Err(problems) => problems,
            };
            for problem in said {
                let shown = problem.to_string();
                assert!(!shown.chars().any(adapters::is_dangerous), "{shown:?}");
            }
        });
        assert!(tried > 10, "{tried}");
    }
}
