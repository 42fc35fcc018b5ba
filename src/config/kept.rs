//! Where configurations come from stays, also where one that came from there does not say it: what was so far is as a layer beneath all others.

use std::path::Path;

use serde_json::{Value, json};

use super::fleet::FleetSection;
use super::load::load_signed;
use super::loaded::Loaded;
use super::parts::written;
use super::problem::Problem;
use super::texts::{KEPT, Layer, Texts};

/// What of `[fleet]` says where from: it stays where a text that was pulled names no `url`.
const SOURCE: [&str; 6] = ["url", "every", "tls", "bearer", "max_size", "timeout"];
/// What is said of one text alone.
const OWN: [&str; 3] = ["serial", "replaces", "may_remove_sources"];

/// Reads what was pulled to `pulled`, for the file at `place`; `kept` is the section `[fleet]` of before.
pub(crate) fn load_pulled(
    pulled: &Path,
    place: &Path,
    kept: Option<&Value>,
) -> Result<Loaded, Vec<Problem>> {
    let mut texts = Texts::of_path(pulled, place)?;
    keep(&mut texts, kept);
    load_signed(texts, place, pulled)
}

/// The texts of that, as much of them as can be read.
pub(crate) fn pulled_texts(pulled: &Path, place: &Path, kept: Option<&Value>) -> Texts {
    let mut texts = Texts::readable(pulled, place);
    keep(&mut texts, kept);
    texts
}

/// What is remembered of a section that says where configurations are pulled from.
pub(crate) fn kept_fleet(fleet: &FleetSection) -> Option<Value> {
    fleet.url.as_ref()?;
    let mut kept = serde_json::to_value(fleet).ok()?;
    leave_out_nothing(&mut kept);
    let keys = kept.as_object_mut()?;
    keys.retain(|key, _| !OWN.contains(&key.as_str()));
    Some(kept)
}

/// TOML has no word for nothing.
fn leave_out_nothing(value: &mut Value) {
    if let Some(table) = value.as_object_mut() {
        table.retain(|_, value| !value.is_null());
        table.values_mut().for_each(leave_out_nothing);
    }
}

/// A text cannot cut the gateway off from where it came from by leaving that out: without `[fleet]` all of the section stays that was
/// `kept`, without `url` in it what says where from.
fn keep(texts: &mut Texts, kept: Option<&Value>) {
    let (Some(kept), Ok(said)) = (kept, written(&texts.file)) else {
        return;
    };
    let stays = match said.get("fleet") {
        None => kept.clone(),
        Some(fleet) if fleet.get("url").is_some() => return,
        Some(fleet) => {
            let keys = kept.as_object().into_iter().flatten();
            let source = keys.filter(|(key, _)| SOURCE.contains(&key.as_str()));
            let missing = source.filter(|(key, _)| fleet.get(key.as_str()).is_none());
            missing
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        }
    };
    if let Ok(text) = toml::to_string(&json!({ "fleet": stays })) {
        let name = KEPT.to_owned();
        texts.layers.insert(0, Layer { name, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "[fleet]\nurl = \"https://a/b\"\nevery = \"1m\"\nserial = 4\nspread = \"6h\"\n\
                       bearer = { file = \"/token\" }\n";

    /// What `[fleet]` is in the end of a text that was pulled with `kept` of [`URL`].
    fn fleet(text: &str) -> FleetSection {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("gateway.toml");
        let read = |text: &str| {
            let pulled = directory.path().join("pulled.toml");
            let uplink = "[uplink]\nbrokers = [\"a:1\"]\n";
            std::fs::write(&pulled, format!("{uplink}{text}")).unwrap();
            pulled
        };
        let first = load_pulled(&read(URL), &place, None).unwrap();
        let kept = kept_fleet(&first.file.fleet);
        let loaded = load_pulled(&read(text), &place, kept.as_ref()).unwrap();
        loaded.file.fleet
    }

    #[test]
    fn where_it_comes_from_stays_unless_the_text_says_another_place() {
        let whole = fleet("");
        assert_eq!(whole.url.as_deref(), Some("https://a/b"));
        assert_eq!(whole.spread, fleet(URL).spread);
        assert!(whole.bearer.is_some());
        assert_eq!(whole.serial, None, "a number is of one text alone");
        let some = fleet("[fleet]\nserial = 9\nevery = \"5m\"\n");
        assert_eq!(some.url, whole.url);
        assert_eq!(
            (some.serial, some.every),
            (Some(9), fleet("[fleet]\nevery = \"5m\"\n").every)
        );
        assert_ne!(some.spread, whole.spread, "it has a [fleet] of its own");
        let other = fleet("[fleet]\nurl = \"https://c/d\"\n");
        assert_eq!(other.url.as_deref(), Some("https://c/d"));
        assert!(other.bearer.is_none(), "a token is not sent elsewhere");
    }
}
