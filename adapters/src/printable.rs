//! Texts from elsewhere, as a log or a terminal may show them: cut, and with every character written out that could end a line,
//! move a cursor, change the order of what is read, or hide.

use std::fmt::{self, Write};

/// Characters of a text from elsewhere that are shown.
const PRINTED_MAX: usize = 400;

/// The beginning of `text`, with its control characters written out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printed = String::new();
    // Writing to a String cannot fail.
    let mut escaped = Escaped::new(&mut printed, PRINTED_MAX);
    escaped.write_str(text).ok();
    printed
}

/// Writes on what it is given, up to so many characters, with control characters written out.
#[derive(Debug)]
pub struct Escaped<'a, W: ?Sized> {
    to: &'a mut W,
    left: usize,
    is_cut: bool,
}

impl<'a, W: Write + ?Sized> Escaped<'a, W> {
    pub fn new(to: &'a mut W, most: usize) -> Escaped<'a, W> {
        Escaped {
            to,
            left: most,
            is_cut: false,
        }
    }
}

impl<W: Write + ?Sized> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Most texts are short and harmless.
        if text.len() <= self.left && !text.chars().any(is_dangerous) {
            self.left -= text.len();
            return self.to.write_str(text);
        }
        for one in text.chars() {
            let shown = if is_dangerous(one) {
                one.escape_default().count()
            } else {
                1
            };
            if self.is_cut || shown > self.left {
                let cut = std::mem::replace(&mut self.is_cut, true);
                self.left = 0;
                return if cut {
                    Ok(())
                } else {
                    self.to.write_str("…")
                };
            }
            self.left -= shown;
            if is_dangerous(one) {
                write!(self.to, "{}", one.escape_default())?;
            } else {
                self.to.write_char(one)?;
            }
        }
        Ok(())
    }
}

/// Control characters, and those that separate lines, change the direction of a text or have no width (Unicode categories Cc, Zl,
/// Zp and the most of Cf).
#[must_use]
pub fn is_dangerous(one: char) -> bool {
    one.is_control()
        || matches!(one, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_written_out_and_the_rest_is_left_alone() {
        for (text, shown) in [
            ("press-3 °C ü 温度", "press-3 °C ü 温度"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("a\r\tb\0", "a\\r\\tb\\u{0}"),
            (
                "\u{1b}[2Jclear\u{9b}1m\u{7f}",
                "\\u{1b}[2Jclear\\u{9b}1m\\u{7f}",
            ),
            (
                "a\u{202e}b\u{2066}c\u{200b}d",
                "a\\u{202e}b\\u{2066}c\\u{200b}d",
            ),
            ("a\u{2028}b\u{85}c", "a\\u{2028}b\\u{85}c"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn it_is_cut_where_it_is_too_long_and_no_escape_is_cut_in_two() {
        for filler in ["x", "ü", "\n", "\u{202e}"] {
            let printed = printable(&filler.repeat(60_000));
            let count = printed.chars().count();
            assert!(
                (PRINTED_MAX - 8..=PRINTED_MAX + 1).contains(&count),
                "{count}"
            );
            assert!(printed.ends_with('…'));
            assert!(!printed.chars().any(is_dangerous));
        }
        assert_eq!(printable(&"x".repeat(PRINTED_MAX)).len(), PRINTED_MAX);
    }
}
