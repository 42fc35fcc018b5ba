//! Which names of user properties may become headers of a record.

/// Names that may become headers: each costs a look at what a message has.
const NAMES_MAX: usize = 16;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// The name that stands for the message's content type, and the header that it becomes.
pub(super) const CONTENT_TYPE: &str = "content-type";
/// Names that Tidegate gives to headers of its own begin so.
const OWN: [&str; 2] = ["ce_", "tg-"];

/// What is wrong with `headers` in the configuration: the key below the section, and what would be right.
pub(super) fn problems(names: &[String]) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if names.len() > NAMES_MAX {
        let count = names.len();
        let what = format!("{count} names are too many; use at most {NAMES_MAX}");
        problems.push(("headers".into(), what));
    }
    for (index, name) in names.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let is_text = name.bytes().all(|byte| byte.is_ascii_graphic());
        let what = if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_text {
            format!(
                "`{name}` is no name of a header; use 1 to {NAME_BYTES_MAX} printable ASCII characters without spaces"
            )
        } else if OWN.iter().any(|own| lower.starts_with(own)) {
            format!(
                "`{name}` would stand for a header of Tidegate's own; publish it under a name that does not begin with `ce_` or `tg-`"
            )
        } else if lower == CONTENT_TYPE && name != CONTENT_TYPE {
            format!(
                "`{name}` differs from the header `{CONTENT_TYPE}` in case only; use `{CONTENT_TYPE}`"
            )
        } else if names.iter().take(index).any(|before| before == name) {
            format!("`{name}` stands twice; leave one of them out")
        } else {
            continue;
        };
        problems.push((format!("headers[{index}]"), what));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_no_header_or_are_our_own_are_refused() {
        let many: Vec<String> = (0..=NAMES_MAX).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (names, keys) in [
            (&[][..], &[][..]),
            (&["trace-id", "content-type"], &[]),
            (&many[..], &["headers"]),
            (
                &["", "a b", "\0"],
                &["headers[0]", "headers[1]", "headers[2]"],
            ),
            (&["ce_id", "TG-lane"], &["headers[0]", "headers[1]"]),
            (&["a", "Content-Type", "a"], &["headers[1]", "headers[2]"]),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let problems = problems(&names);
            let found = problems.iter().map(|(key, _)| key.as_str());
            assert!(found.eq(keys.iter().copied()), "{problems:?}");
        }
    }
}
