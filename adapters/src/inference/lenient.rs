//! What is almost JSON, and is understood all the same.

use serde::de::IgnoredAny;

/// How deep values may lie in each other. The parser takes no more in a value that it looks into, and nor do most consumers.
pub(super) const DEPTH_MAX: usize = 128;

/// A line without what is around it: white space, CR of CRLF, a byte order mark, and NULs, which stand where a file was cut under a
/// program that goes on at its old place.
pub(super) fn bare(line: &[u8]) -> &[u8] {
    let mut line = line.trim_ascii_end();
    loop {
        line = match line {
            [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            [first, rest @ ..] if *first == 0 || first.is_ascii_whitespace() => rest,
            _ => return line,
        };
    }
}

/// Whether values lie in each other deeper than anyone should have to follow. Takes no stack.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    let mut depth = 0_usize;
    outside_of_texts(json, |_, byte| {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= DEPTH_MAX
    });
    depth > DEPTH_MAX
}

/// Whether a line that was not ended is one all the same: nothing but its end can follow an object.
pub(super) fn is_whole(line: &[u8]) -> bool {
    line.ends_with(b"}") && serde_json::from_slice::<IgnoredAny>(bare(line)).is_ok()
}

/// The same with `null` for numbers that JSON does not have (`NaN`, `Infinity`, `-inf`), if there are any: Python's `json.dumps`
/// and C's `printf` write them.
pub(super) fn with_finite_numbers(json: &str) -> Option<String> {
    let (mut finite, mut from) = (String::new(), 0);
    outside_of_texts(json.as_bytes(), |at, _| {
        let rest = json.get(at..).filter(|_| at >= from);
        if let Some(length) = rest.and_then(|rest| not_finite(rest.as_bytes())) {
            finite.push_str(json.get(from..at).unwrap_or_default());
            finite.push_str("null");
            from = at + length;
        }
        true
    });
    finite.push_str(json.get(from..)?);
    (from > 0).then_some(finite)
}

/// Bytes of such a number, if one begins here.
fn not_finite(json: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(json.first(), Some(b'-' | b'+')));
    let word = json.get(sign..)?;
    let names = ["nan", "infinity", "inf"].iter();
    let mut fit = names.filter(|name| {
        let begin = word.get(..name.len());
        let next = word.get(name.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()))
            && !next.is_some_and(u8::is_ascii_alphanumeric)
    });
    fit.next().map(|name| sign + name.len())
}

/// Calls `each` with each byte that is not within a text, until it says `false`.
fn outside_of_texts(json: &[u8], mut each: impl FnMut(usize, u8) -> bool) {
    let (mut inside, mut escaped) = (false, false);
    for (at, byte) in json.iter().enumerate() {
        if inside {
            inside = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else if *byte == b'"' {
            inside = true;
        } else if !each(at, *byte) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_a_line_is_left_out() {
        for line in ["{}", "{}\r\n", "\u{feff}{}", " \u{feff} {}\n", "\0\0\0{}\n"] {
            assert_eq!(bare(line.as_bytes()), b"{}", "{line:?}");
        }
        for blank in ["", "\r\n", "\u{feff}\n", " \t\n", "\0\0"] {
            assert!(bare(blank.as_bytes()).is_empty(), "{blank:?}");
        }
    }

    #[test]
    fn numbers_that_json_has_not_become_null_but_not_within_a_text() {
        for (json, finite) in [
            (r#"{"a":NaN}"#, Some(r#"{"a":null}"#)),
            (
                "[Infinity, -Infinity,+inf,-nan]",
                Some("[null, null,null,null]"),
            ),
            (r#"{"NaN":"NaN"}"#, None),
            (r#"{"a\"NaN":1}"#, None),
            (r#"{"a\\":NaN}"#, Some(r#"{"a\\":null}"#)),
            (r#"{"a":nano}"#, None),
            (r#"{"a":NaN,"ü":"NaN"}"#, Some(r#"{"a":null,"ü":"NaN"}"#)),
            ("", None),
        ] {
            assert_eq!(with_finite_numbers(json).as_deref(), finite, "{json}");
        }
    }

    #[test]
    fn an_object_without_an_end_of_line_is_whole() {
        for (line, whole) in [
            ("{}", true),
            ("\u{feff}{\"a\":{}}", true),
            ("{\"a\":{}", false),
            ("5", false),
            ("", false),
        ] {
            assert_eq!(is_whole(line.as_bytes()), whole, "{line}");
        }
    }

    #[test]
    fn depth_is_bounded_and_texts_have_none() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(!is_too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(is_too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(is_too_deep("[".repeat(1_000_000).as_bytes()));
        assert!(!is_too_deep("[],".repeat(1000).as_bytes()));
        assert!(!is_too_deep(format!("\"{}\"", "[".repeat(1000)).as_bytes()));
    }
}
