//! What a configuration that cannot be used still says: where the state is, and how the gateway reports.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml::de::DeTable;

use super::environment;
use super::load::{load, load_merged};
use super::loaded::Loaded;
use super::merge::merge;
use super::parts::written;
use super::problem::Problem;
use super::texts::Texts;
use super::trust::{Trust, signer};

/// What an agent without sources takes of a configuration: what reports, what brings away that waits on disk, and where a
/// better configuration may come from.
const REPORTS: [&str; 10] = [
    "gateway", "log", "status", "uplink", "link", "replay", "buffer", "memory", "intent", "fleet",
];
/// The least of it, by section.
const LEAST: [(&str, &[&str]); 2] = [
    ("gateway", &["id", "site", "region", "state_dir"]),
    ("uplink", &["brokers", "client_id", "tls", "sasl"]),
];

/// As much of a configuration that cannot be used as an agent needs that only reports; nothing where the uplink is not in it, or where it
/// must be signed and is not: an agent reports to nobody, and brings nothing there, by a file that anybody may have sent.
pub(crate) fn minimum(texts: &Texts, path: &Path) -> Option<Loaded> {
    let (signer, _) = signer(path, path, &texts.file).ok()?;
    let trust = Trust {
        signer,
        sealed: false,
    };
    let beside = path.parent().unwrap_or(Path::new(""));
    let own = Texts::of(&texts.file);
    let whole = readable(if trust.signer.is_some() { &own } else { texts })?;
    let reports = only(&whole, &REPORTS);
    let mut least = Map::new();
    for (section, keys) in LEAST {
        if let Some(found) = whole.get(section) {
            least.insert(section.to_owned(), only(found, keys));
        }
    }
    let mut variables = environment::variables();
    trust.refuse(&mut variables);
    let nowhere = |_: &str| (None, None);
    let load = |one: &Value, variables| load_merged(one.clone(), nowhere, beside, variables);
    let mut pulls = least.clone();
    if let Some(fleet) = whole.get("fleet") {
        pulls.insert("fleet".to_owned(), fleet.clone());
    }
    let tries = [reports, Value::Object(pulls), Value::Object(least)];
    // What the environment says may be of a part that is left out.
    let all = [&variables[..], &[]];
    let mut all = all
        .iter()
        .flat_map(|some| tries.iter().map(move |one| (one, *some)));
    let found = all.find_map(|(one, some)| load(one, some).ok());
    found.map(|found| found.of(texts.clone(), trust.clone()))
}

fn only(table: &Value, keys: &[&str]) -> Value {
    let all = table.as_object().into_iter().flatten();
    let kept = all.filter(|(key, _)| keys.contains(&key.as_str()));
    let kept = kept.map(|(key, value)| (key.clone(), value.clone()));
    Value::Object(kept.collect())
}

/// The state directory that it names.
pub(crate) fn state_dir(texts: &Texts) -> Option<PathBuf> {
    let from_environment = std::env::var_os("TIDEGATE__GATEWAY__STATE_DIR").map(PathBuf::from);
    let said = || {
        let whole = readable(texts)?;
        let said = whole.get("gateway")?.get("state_dir")?.as_str()?;
        Some(PathBuf::from(said))
    };
    // The first table may be the one with the error: then the line alone says it.
    let line = || texts.file.lines().find_map(state_dir_of_line);
    from_environment
        .or_else(said)
        .or_else(line)
        .filter(|path| path.is_absolute())
}

fn state_dir_of_line(line: &str) -> Option<PathBuf> {
    let said = written(line).ok()?;
    Some(PathBuf::from(said.get("state_dir")?.as_str()?))
}

/// The state directory of the agent that has this file, also where the file cannot be used: the agent runs with another one then.
///
/// # Errors
/// What is wrong with the file, where it does not say.
pub(crate) fn state_of(path: &Path) -> Result<PathBuf, Vec<Problem>> {
    load(path).map_or_else(
        |problems| state_dir(&Texts::readable(path, path)).ok_or(problems),
        |loaded| Ok(loaded.settings.store.state),
    )
}

/// What the texts say, of each all of it, or what stands before the table with its first error.
fn readable(texts: &Texts) -> Option<Value> {
    let layers = texts.layers.iter().map(|one| one.text.as_str());
    let all = std::iter::once(texts.file.as_str()).chain(layers);
    all.filter_map(readable_of).reduce(|mut whole, one| {
        merge(&mut whole, one);
        whole
    })
}

fn readable_of(text: &str) -> Option<Value> {
    let Err(error) = DeTable::parse(text) else {
        return written(text).ok();
    };
    let before = text.get(..error.span()?.start)?;
    let header = before.rfind("\n[")?;
    written(before.get(..=header)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_texts;

    const GOOD: &str =
        "[gateway]\nid = \"a\"\nstate_dir = \"/s\"\n[uplink]\nbrokers = [\"h:9092\"]\n";

    #[test]
    fn what_reports_is_found_in_files_with_any_mistake_behind_it() {
        for mistake in [
            "[[mqtt]]\nname = \"plant\"\nport = \"x\"\n",
            "[[mqtt]]\nname = \"pla",
            "[[mqtt]\n",
            "[nothing]\nkey = 1\n",
            "[replay]\ncatch_up = -1\n",
            "[log]\nlevel = \"loud\"\n",
            "[gateway]\nid = \"again\"\n",
            "[uplink.nothing]\nkey = 1\n",
            "[[intent]]\nname = \"a b\"\n= =",
        ] {
            let text = format!("{GOOD}{mistake}");
            assert!(
                load_texts(Texts::of(&text), Path::new("/"), Trust::default()).is_err(),
                "{mistake}"
            );
            let least =
                minimum(&Texts::of(&text), Path::new("/nowhere/gateway.toml")).expect(mistake);
            assert_eq!(least.settings.cluster().section.brokers, ["h:9092"]);
            assert!(least.settings.sources.is_empty());
            assert_eq!(state_dir(&Texts::of(&text)), Some("/s".into()), "{mistake}");
        }
    }

    #[test]
    fn what_is_cut_off_reports_and_what_should_be_signed_and_is_not_does_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("gateway.toml");
        let cut = crate::config::sealed(GOOD)
            .unwrap()
            .replace("h:9092", "i:9092");
        std::fs::write(&path, &cut).unwrap();
        assert!(load(&path).is_err());
        assert!(minimum(&Texts::of(&cut), &path).is_some());
        std::fs::write(directory.path().join("allowed_signers"), "ops@a").unwrap();
        assert!(minimum(&Texts::of(&cut), &path).is_none());
    }

    #[test]
    fn where_the_state_is_is_found_also_where_the_first_table_has_the_error() {
        for text in [
            "[gateway]\nid = \"a\"\nid = \"a\"\nstate_dir = \"/s\"\n",
            "[gateway\nstate_dir = \"/s\" # here\n",
            "= =\n[gateway]\nstate_dir = '/s'\n",
        ] {
            assert_eq!(state_dir(&Texts::of(text)), Some("/s".into()), "{text}");
        }
        assert_eq!(state_dir(&Texts::of("= =\nstate_dir = 5\n")), None);
    }

    #[test]
    fn without_an_uplink_there_is_nothing_to_report_to() {
        for text in [
            "",
            "[gateway]\nid = \"a\"\n",
            "[uplink]\nbrokers = 5\n",
            "= =",
        ] {
            assert!(
                minimum(&Texts::of(text), Path::new("/nowhere/gateway.toml")).is_none(),
                "{text}"
            );
        }
    }
}
