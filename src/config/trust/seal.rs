//! The seal: a last line with the hash of all that is before it, by which a text that was cut or changed on its way is known.

use thiserror::Error;

use super::super::hash::sha256;

const BEGIN: &str = "# tidegate-seal:";
const HASH: &str = " sha256:";

/// Why a seal is none for its text.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Flaw {
    #[error(
        "the text is another than the one that was sealed: it was cut or changed; push it again as it was, or seal it with `tidegate config seal FILE`"
    )]
    OtherText,
    #[error("the last line is no whole seal: the text was cut or changed; push it again as it was")]
    Cut,
    #[error(
        "there is text after the line with the seal; if it belongs there, seal the file with `tidegate config seal FILE`"
    )]
    TextAfter,
}

/// Whether the text has a seal.
///
/// # Errors
/// It has one that is not for it.
pub(super) fn verify(text: &str) -> Result<bool, Flaw> {
    let Some(at) = begin(text) else {
        return Ok(false);
    };
    let (before, seal) = text.split_at(at);
    let seal = match seal.split_once('\n') {
        None => seal,
        Some((seal, "")) => seal,
        Some(_) => return Err(Flaw::TextAfter),
    };
    let hash = seal
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_prefix(HASH));
    let is_hash = |hash: &&str| hash.len() == 64 && hash.bytes().all(|one| one.is_ascii_hexdigit());
    let hash = hash.filter(is_hash).ok_or(Flaw::Cut)?;
    if hash == sha256(before) {
        Ok(true)
    } else {
        Err(Flaw::OtherText)
    }
}

/// The text with a seal, in place of the last line if that is one.
///
/// # Errors
/// There is text after a seal, in words.
pub(crate) fn sealed(text: &str) -> Result<String, String> {
    let before = match begin(text) {
        None => text,
        Some(at) => {
            let (before, seal) = text.split_at(at);
            let more = seal
                .split_once('\n')
                .is_some_and(|(_, more)| !more.is_empty());
            if more {
                return Err(
                    "there is text after the line with the seal: remove that line first".into(),
                );
            }
            before
        }
    };
    let end = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let whole = format!("{before}{end}");
    let hash = sha256(&whole);
    Ok(format!("{whole}{BEGIN}{HASH}{hash}\n"))
}

/// Where the first line stands that begins as a seal.
fn begin(text: &str) -> Option<usize> {
    if text.starts_with(BEGIN) {
        return Some(0);
    }
    text.match_indices(BEGIN)
        .map(|(at, _)| at)
        .find(|at| text.get(..*at).is_some_and(|before| before.ends_with('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::mutate::mutants;

    const TEXT: &str = "[uplink]\nbrokers = [\"a:1\"]\n";

    #[test]
    fn what_is_sealed_is_known_to_be_whole_and_sealing_it_again_changes_nothing() {
        assert_eq!(verify(TEXT), Ok(false));
        let whole = sealed(TEXT).unwrap();
        assert_eq!(
            whole,
            format!("{TEXT}# tidegate-seal: sha256:{}\n", sha256(TEXT))
        );
        assert_eq!(verify(&whole), Ok(true));
        assert_eq!(sealed(&whole).unwrap(), whole);
        // An editor that leaves out the last end of a line takes nothing of what counts.
        assert_eq!(verify(whole.trim_end()), Ok(true));
        let no_end = sealed(TEXT.trim_end()).unwrap();
        assert_eq!(no_end, whole);
    }

    #[test]
    fn a_seal_is_renewed_where_the_text_was_changed() {
        let changed = sealed(TEXT).unwrap().replace("a:1", "b:2");
        assert_eq!(verify(&changed), Err(Flaw::OtherText));
        let renewed = sealed(&changed).unwrap();
        assert_eq!(verify(&renewed), Ok(true));
        assert_eq!(renewed.matches(BEGIN).count(), 1);
    }

    #[test]
    fn text_after_a_seal_and_a_seal_that_was_cut_are_told_apart() {
        let whole = sealed(TEXT).unwrap();
        for more in ["\n", "[log]\n", " "] {
            assert_eq!(verify(&format!("{whole}{more}")), Err(Flaw::TextAfter));
            assert!(sealed(&format!("{whole}{more}")).is_err());
        }
        let seal = TEXT.len() + BEGIN.len();
        for length in seal..whole.len() - 1 {
            assert_eq!(verify(&whole[..length]), Err(Flaw::Cut), "{length}");
        }
    }

    #[test]
    fn fuzz_no_other_text_with_a_seal_passes_and_all_can_be_sealed() {
        let whole = sealed(TEXT).unwrap();
        mutants(&[whole.as_bytes(), TEXT.as_bytes()], |input| {
            let text = String::from_utf8_lossy(input);
            if verify(&text) == Ok(true) {
                let again = sealed(&text).unwrap();
                assert_eq!(again.trim_end(), text.trim_end());
            }
            if let Ok(sealed) = sealed(&text) {
                assert_eq!(verify(&sealed), Ok(true), "{text:?}");
            }
        });
    }
}
