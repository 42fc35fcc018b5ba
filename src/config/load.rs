//! Putting the layers together, and finding everything that is wrong, not just the first thing.

use std::cell::LazyCell;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::check;
use super::environment::{self, Variable};
use super::expected::Schema;
use super::file::File;
use super::loaded::Loaded;
use super::map;
use super::merge::mask;
use super::parts::Parts;
use super::place::{self, Step, TakenOut};
use super::problem::{Problem, Weight};
use super::texts::Texts;
use super::trust::{self, Trust};
use super::version::referred;
use super::words;

/// More problems than this are not worth reading at once.
const PROBLEMS_MAX: usize = 100;

/// Made only where it is needed: most files are good, and nothing of the environment is for us.
type Lazily = LazyCell<Schema>;

/// Reads the file at `path`, if what must vouch for it does, and its layers, then `TIDEGATE__SECTION__KEY` from the environment.
pub(crate) fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    load_for(path, path)
}

/// The same of a file that is to be put in the place of another: with the layers, the register maps and the signature that are beside that.
pub(crate) fn load_for(path: &Path, place: &Path) -> Result<Loaded, Vec<Problem>> {
    let texts = Texts::of_path(path, place)?;
    load_signed(texts, place, place)
}

/// The same of texts of which the first was read from `file`, beside which its signature is.
pub(super) fn load_signed(texts: Texts, place: &Path, file: &Path) -> Result<Loaded, Vec<Problem>> {
    let verified = trust::verify(place, file, &texts.file);
    let (trust, told) = verified.map_err(|problem| vec![problem])?;
    let mut variables = environment::variables();
    let refused = trust.refuse(&mut variables);
    let beside = place.parent().unwrap_or(Path::new(""));
    match load_with(texts, beside, &variables, trust) {
        Ok(mut loaded) if refused.is_empty() => {
            loaded.warnings.extend(told);
            Ok(loaded)
        }
        Ok(_) => Err(refused),
        Err(problems) => Err([refused, problems].concat()),
    }
}

/// The same of texts for which `trust` vouched before; `beside` is the directory of the file that they are from, for those that it names.
pub(crate) fn load_texts(
    texts: Texts,
    beside: &Path,
    trust: Trust,
) -> Result<Loaded, Vec<Problem>> {
    let mut variables = environment::variables();
    trust.refuse(&mut variables);
    load_with(texts, beside, &variables, trust)
}

fn load_with(
    texts: Texts,
    beside: &Path,
    variables: &[Variable],
    trust: Trust,
) -> Result<Loaded, Vec<Problem>> {
    let parts = Parts::read(&texts)?;
    if trust.signer.is_some() {
        parts.only_installations()?;
    }
    let place = |key: &str| parts.place(key);
    let merged = parts.merged.clone();
    let found = load_merged(merged, place, beside, variables)?;
    drop(parts);
    Ok(found.of(texts, trust))
}

/// Of what the texts say together, and the environment; `place` says in which layer and line a key stands.
pub(super) fn load_merged(
    mut merged: Value,
    place: impl Fn(&str) -> (Option<String>, Option<usize>),
    beside: &Path,
    variables: &[Variable],
) -> Result<Loaded, Vec<Problem>> {
    let schema = Lazily::new(Schema::new);
    let overrides = if variables.is_empty() {
        environment::Overrides::default()
    } else {
        environment::apply(&mut merged, &schema, variables)
    };
    let mut taken = TakenOut::default();
    mask(&mut merged, &mut taken);
    let referred = referred(&merged);
    let (mut file, mut problems) = read(merged, &schema, &mut taken);
    let (mut maps, mut found) = (Vec::new(), Vec::new());
    if let Some(file) = &mut file {
        found.extend(resolve_maps(file, beside, &mut maps));
    }
    found.extend(file.iter().flat_map(|file| check::problems(file, &taken)));
    for problem in &mut found {
        problem.key = taken.written(&problem.key);
    }
    // What lacks something that is there and cannot be read is reported once.
    problems.extend(found.into_iter().filter(|one| !taken.is_of(&one.key)));
    for problem in &mut problems {
        if let Some(name) = overrides.name(&problem.key) {
            problem.key = name;
        } else {
            (problem.layer, problem.line) = place(&problem.key);
        }
    }
    problems.extend(overrides.problems);
    problems.sort_by_key(|one| (one.weight, one.layer.clone(), one.line));
    match file {
        Some(file) if problems.iter().all(|one| one.weight != Weight::Error) => {
            Ok(Loaded::new(file, problems, maps, referred))
        }
        _ => Err(problems),
    }
}

/// Puts register maps in their place, and their texts, by the names that they are given, into `texts`.
fn resolve_maps(
    file: &mut File,
    beside: &Path,
    texts: &mut Vec<(PathBuf, String)>,
) -> Vec<Problem> {
    let buses = file.modbus.iter_mut().enumerate();
    let problems = buses.flat_map(|(index, bus)| {
        let problem = move |(key, message): (String, _)| {
            Problem::whole(&format!("modbus[{index}].{key}"), message)
        };
        let problems = bus.resolve(beside, &map::read, texts);
        problems.into_iter().map(problem)
    });
    problems.collect()
}

/// Reads the merged values; what cannot be read is noted, taken out, and the rest is tried again.
fn read(mut merged: Value, schema: &Lazily, taken: &mut TakenOut) -> (Option<File>, Vec<Problem>) {
    let mut problems: Vec<Problem> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match serde_path_to_error::deserialize::<_, File>(&merged) {
            Ok(file) => return (Some(file), problems),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let text = error.inner().to_string();
        let one = words::explain(&path, &text, &merged, schema);
        let key = taken.written(&one.key);
        // It may be missing because it was taken out.
        if !taken.has(&key) {
            problems.push(Problem::whole(&key, one.message));
        }
        if place::remove(&mut merged, &one.place) {
            taken.add(&one.place);
        } else if !stand_in(&mut merged, taken) {
            break;
        }
    }
    (None, problems)
}

/// Puts something in place of the uplink, without which nothing else could be read. Once.
fn stand_in(merged: &mut Value, taken: &mut TakenOut) -> bool {
    let steps = [Step::Key("uplink".into()), Step::Key("brokers".into())];
    let is_missing = place::find(merged, "uplink.brokers").is_none();
    if is_missing {
        place::put(merged, &steps, Value::Array(Vec::new()));
        taken.add("uplink.brokers");
    }
    is_missing
}

/// All that is said of a text, line by line.
#[cfg(test)]
pub(super) fn problems_of(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let variable = |(name, value): &(&str, &str)| Variable {
        name: (*name).to_owned(),
        value: value.into(),
    };
    let variables: Vec<Variable> = variables.iter().map(variable).collect();
    let said = match load_with(
        Texts::of(text),
        Path::new("/nowhere"),
        &variables,
        Trust::default(),
    ) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    said.iter().map(Problem::to_string).collect()
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
        mutants(&seeds.map(str::as_bytes), |input| {
            let text = String::from_utf8_lossy(input);
            let said = match load_with(
                Texts::of(&text),
                Path::new("/nowhere"),
                &[],
                Trust::default(),
            ) {
                Ok(loaded) => loaded.warnings,
                Err(problems) => problems,
            };
            for problem in said {
                let shown = problem.to_string();
                assert!(!shown.chars().any(adapters::is_dangerous), "{shown:?}");
            }
        });
    }

    #[test]
    fn fuzz_no_variable_makes_the_loader_panic_and_all_that_it_says_is_printable() {
        let seeds = [
            "MQTT__PLANT__SUBSCRIBE__0__QOS=1",
            "UPLINK__BROKERS=[\"a:1\",\"b:2\"]",
            "UPLINK__KAFKA__SOCKET_TIMEOUT_MS=10",
            "MQTT__0__PASSWORD={ file = \"/p\" }",
        ];
        let file = include_str!("../../configs/gateway.toml");
        mutants(&seeds.map(str::as_bytes), |input| {
            let text = String::from_utf8_lossy(input);
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            let name = format!("TIDEGATE__{name}");
            for shown in problems_of(file, &[(&name, value)]) {
                assert!(!shown.chars().any(adapters::is_dangerous), "{shown:?}");
            }
        });
    }

    const UPLINK: &str = "[uplink]\nbrokers = [\"a:1\"]\n";

    #[test]
    fn an_element_that_cannot_be_read_leaves_the_others_their_numbers_and_is_not_missed() {
        let one = "[[mqtt]]\nhost = \"h\"\n[[mqtt.subscribe]]\ntopic = \"a\"\n";
        let said = problems_of(&format!("{UPLINK}{one}{one}"), &[]);
        let missing = "missing; it has no default";
        assert_eq!(
            said,
            [
                format!("line 3: mqtt[0].name: {missing}"),
                format!("line 7: mqtt[1].name: {missing}")
            ]
        );
        let third = one.replace(
            "[[mqtt]]\n",
            "[[mqtt]]\nname = \"m\"\nkeep_alive = \"1s\"\n",
        );
        let said = problems_of(&format!("{UPLINK}{one}{one}{third}"), &[]);
        assert!(
            said.iter()
                .any(|one| one.contains("mqtt[2].keep_alive: `1s`")),
            "{said:?}"
        );
    }

    #[test]
    fn what_was_taken_out_is_not_called_missing_and_all_the_rest_is_looked_at() {
        for (text, said) in [
            (
                "[[intent]]\nname = \"x\"\nweight = -1\n[[route]]\nintent = \"x\"\n",
                &["intent[0].weight: `-1`"][..],
            ),
            (
                "[gateway]\nsite = 5\n[[intent]]\nname = \"x\"\ntopic = \"{site}\"\n",
                &["gateway.site: `5`"],
            ),
            (
                "[[intent]]\nname = 5\n[[intent]]\nname = \"a b\"\n",
                &["intent[0].name: `5`", "intent[1].name: `a b`"],
            ),
            (
                "[[intent]]\n[[route]]\nintent = \"x\"\n",
                &["intent[0].name: missing"],
            ),
        ] {
            let source = "[[inference]]\nname = \"v\"\nsocket = \"/s\"\n";
            let found = problems_of(&format!("{UPLINK}{source}{text}"), &[]);
            let all = found.iter().zip(said).all(|(one, said)| one.contains(said));
            assert!(all && found.len() == said.len(), "{text}{found:?}");
        }
        let found = problems_of("[uplink]\nbrokers = 5\n[gateway]\nstate_dir = \"x\"\n", &[]);
        let found = found.join("\n");
        assert!(
            found.contains("uplink.brokers: `5`") && found.contains("`x` is relative"),
            "{found}"
        );
        assert!(!found.contains("`[]`"), "{found}");
    }

    #[test]
    fn a_variable_is_named_where_what_it_says_is_wrong_and_a_line_of_the_file_is_not() {
        let file = format!(
            "{UPLINK}[[mqtt]]\nname = \"m\"\nport = 1883\n[[mqtt.subscribe]]\ntopic = \"a\"\n"
        );
        for (name, value, said) in [
            (
                "TIDEGATE__MQTT__M__PORT",
                "abc",
                "environment TIDEGATE__MQTT__M__PORT: `abc` is no port; use 1 to 65535",
            ),
            (
                "TIDEGATE__MQTT__0__PORT",
                "0",
                "environment TIDEGATE__MQTT__0__PORT: `0` is no port; use 1 to 65535; it is never connected so",
            ),
            (
                "TIDEGATE__UPLINK__BROKERS",
                "a:1,b",
                "environment TIDEGATE__UPLINK__BROKERS (uplink.brokers[1]): `b` is not \"host:port\"",
            ),
            (
                "TIDEGATE__STATUS__HTTP",
                "yes",
                "environment TIDEGATE__STATUS__HTTP: `yes` is not true or false; use one of them, without quotes",
            ),
            (
                "TIDEGATE__GATEWAY__STOP_GRACE",
                "soon",
                "environment TIDEGATE__GATEWAY__STOP_GRACE: `soon` is not a duration; write one like \"500ms\", \"2s\", \"1m 30s\", \"24h\" or \"7d\"",
            ),
            (
                "TIDEGATE__MQTT__X__PORT",
                "1",
                "environment TIDEGATE__MQTT__X__PORT: `mqtt` has no element `x`, or several; use 0, or the name of one: m",
            ),
        ] {
            assert_eq!(problems_of(&file, &[(name, value)]), [said]);
        }
        let good = [
            ("TIDEGATE__GATEWAY__SITE", "0412"),
            ("TIDEGATE__GATEWAY__ID", "1e5"),
        ];
        assert_eq!(problems_of(&file, &good), [""; 0]);
    }
}
