//! Register maps, of which is said what is wrong as of the configuration.

use adapters::modbus::MapSection;
use serde_json::Value;
use toml::de::DeTable;

use super::expected::Schema;
use super::lines::{line, line_of};
use super::words;

/// The map that `text` is, or a line of it and what is wrong there.
pub(super) fn read(text: &str) -> Result<MapSection, (usize, String)> {
    let spans = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        (line, error.message().to_owned())
    })?;
    let value: Value = toml::from_str(text).map_err(|error| (1, error.message().to_owned()))?;
    serde_path_to_error::deserialize(&value).map_err(|error| {
        let path = error.path().to_string();
        let schema = Schema::of::<MapSection>();
        let one = words::explain(&path, &error.inner().to_string(), &value, &schema);
        let line = line(text, spans.get_ref(), &one.key).unwrap_or(1);
        (line, format!("{}: {}", one.key, one.message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_map_is_said_by_line_and_key_and_in_words() {
        let group = "interval = \"1s\"\n[[group]]\nname = \"g\"\n[[group.field]]\nname = \"x\"\n";
        assert!(read(&format!("{group}address = 1\n")).is_ok());
        for (text, line, said) in [
            ("nonsense", 1, ""),
            (
                "group = 5\n",
                1,
                "group: `5` is a number where tables are needed",
            ),
            (
                "max_gap = 70000\n",
                1,
                "max_gap: `70000` is out of range; use a whole number from 0 to 65535",
            ),
            (
                "interval = 5\n",
                1,
                "interval: `5` is a number where a duration is needed",
            ),
            (
                "intervall = \"5s\"\n",
                1,
                "intervall: unknown key; did you mean `interval`?",
            ),
            (
                &format!("{group}addres = 1\n"),
                6,
                "group[0].field[0].addres: unknown key; did you mean `address`?",
            ),
        ] {
            let (at, what) = read(text).unwrap_err();
            assert!(at == line && what.contains(said), "{text}{at} {what}");
        }
    }
}
