//! What the text of a variable is.

use serde_json::Value;

use super::super::expected::Expected;

/// What `text` is where this is expected; a text that is nothing of the kind stays one, and is refused as such.
pub(super) fn value(text: &str, expected: &Expected<'_>) -> Result<Value, String> {
    if let Some(element) = expected.element() {
        return list(text, &element);
    }
    if text.trim_start().starts_with('{') && expected.takes("object") {
        return toml(text).ok_or_else(|| {
            let shown = if expected.is_named("SecretRef") {
                "the text"
            } else {
                text
            };
            format!("`{shown}` is no table; write one like {{ key = \"value\" }}")
        });
    }
    if expected.takes("string") && !expected.takes("integer") && !expected.takes("number") {
        return Ok(text.into());
    }
    let bare = text.trim();
    if expected.takes("boolean")
        && let Ok(is) = bare.to_lowercase().parse::<bool>()
    {
        return Ok(is.into());
    }
    if expected.takes("integer") || expected.takes("number") {
        if let Ok(number) = bare.parse::<i64>() {
            return Ok(number.into());
        }
        if let Ok(number) = bare.parse::<u64>() {
            return Ok(number.into());
        }
    }
    let number = bare
        .parse::<f64>()
        .ok()
        .filter(|_| expected.takes("number"));
    let number = number.and_then(serde_json::Number::from_f64);
    Ok(number.map_or_else(|| text.into(), Value::Number))
}

/// `a,b`, or `["a", "b"]` as in the file.
fn list(text: &str, element: &Expected<'_>) -> Result<Value, String> {
    let bare = text.trim();
    if bare.starts_with('[') {
        if let Some(list @ Value::Array(_)) = toml(bare) {
            return Ok(list);
        }
        // An IPv6 address begins so too.
        if bare.ends_with(']') || element.takes("object") {
            return Err(format!(
                "`{text}` is no list; write one like [\"a\", \"b\"], or a,b"
            ));
        }
    }
    let parts = bare
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let values: Result<Vec<Value>, String> = parts.map(|part| value(part, element)).collect();
    values.map(Value::Array)
}

/// What `text` is as a value of the file.
fn toml(text: &str) -> Option<Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    let value = table.remove("value").filter(|_| table.is_empty())?;
    serde_json::to_value(value).ok()
}
