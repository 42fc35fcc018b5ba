use super::*;
use crate::process::mutate::mutants;

const FILE: &str = include_str!("../../../../tests/data/signatures/allowed_signers");
const NAMESPACE: &str = "tidegate-config";

fn first_key() -> (&'static str, Vec<u8>) {
    let text = FILE.split_once("ssh-ed25519 ").unwrap().1;
    let encoded = text.lines().next().unwrap();
    (encoded, STANDARD.decode(encoded).unwrap())
}

/// Who may sign with the first key where `line` stands, with `KEY` for it; or why nobody.
fn found(line: &str) -> Result<String, String> {
    let (encoded, key) = first_key();
    let line = line.replace("KEY", &format!("ssh-ed25519 {encoded}"));
    let signers = Signers::read(line.as_bytes())?;
    signers.find(&key, NAMESPACE).map(ToOwned::to_owned)
}

#[test]
fn all_that_is_in_a_file_of_ssh_keygen_may_sign() {
    let signers = Signers::read(FILE.as_bytes()).unwrap();
    assert_eq!((signers.all.len(), &signers.flaws[..]), (5, &[][..]));
    let (_, key) = first_key();
    assert_eq!(signers.find(&key, NAMESPACE), Ok("ed25519@example.com"));
}

#[test]
fn a_line_is_read_as_ssh_keygen_reads_it() {
    for (line, who) in [
        ("ops@a KEY", "ops@a"),
        ("  ops@a,*@b \t KEY a comment, with = and \"", "ops@a,*@b"),
        ("\"ops at a\" KEY", "ops at a"),
        ("ops@a namespaces=\"git,tidegate-config\" KEY", "ops@a"),
        ("ops@a NAMESPACES=\"tide*\" KEY", "ops@a"),
        ("ops@a namespaces=\"!git,*\" KEY\r", "ops@a"),
        ("# ops@b KEY\n\nops@a KEY\nops@c KEY", "ops@a"),
        ("ops@a namespaces=\"git\" KEY\nops@b KEY", "ops@b"),
        ("ops@a cert-authority KEY\nops@b KEY", "ops@b"),
    ] {
        assert_eq!(found(line), Ok(who.to_owned()), "{line}");
    }
}

#[test]
fn a_line_that_cannot_be_used_is_named_with_its_reason() {
    for (line, said) in [
        ("", "names nobody who may sign"),
        ("# KEY", "names nobody who may sign"),
        ("ops@a", "line 1 is not used"),
        ("\"ops@a KEY", "a quote does not end"),
        ("ops@a ssh-ed25519 AAAA!", "no key in base64"),
        (
            "ops@a ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA",
            "is none of type `ssh-rsa`",
        ),
        (
            "ops@a cert-authority KEY",
            "`cert-authority` is not supported",
        ),
        (
            "ops@a valid-after=\"20300101\" KEY",
            "`valid-after` is not supported",
        ),
        (
            "ops@a namespaces=\"git\",valid-before=\"2030\" KEY",
            "`valid-before` is not",
        ),
        ("ops@a namespaces=git KEY", "not in quotes"),
        ("ops@a verify-required KEY", "`verify-required` is neither"),
        ("ops@\u{202e}a KEY", "no names of at most"),
        (
            "ops@a namespaces=\"git\" KEY",
            "for other namespaces than `tidegate-config`",
        ),
        (
            "ops@a namespaces=\"*,!tidegate-*\" KEY",
            "for other namespaces",
        ),
    ] {
        let why = found(line).unwrap_err();
        assert!(why.contains(said), "{line}: {why}");
    }
    // Whose key is in no line that can be used learns of the others.
    let (encoded, _) = first_key();
    let lines = FILE.replace(encoded, "AAAA");
    let why = found(&lines).unwrap_err();
    assert!(
        why.contains("SHA256:") && why.contains("line 1 is not used"),
        "{why}"
    );
}

#[test]
fn a_pattern_matches_as_ssh_has_it() {
    for (name, pattern, is) in [
        ("abc", "abc", true),
        ("abc", "a?c", true),
        ("abc", "*", true),
        ("abc", "a*", true),
        ("abc", "*b*", true),
        ("abcbd", "*b?", true),
        ("", "*", true),
        ("abc", "ab", false),
        ("abc", "*b", false),
        ("abc", "abc?", false),
        ("", "?", false),
    ] {
        assert_eq!(
            matches(name.as_bytes(), pattern.as_bytes()),
            is,
            "{name} {pattern}"
        );
    }
    let (name, pattern) = ("a".repeat(2000), "*a".repeat(1000) + "b");
    assert!(!matches(name.as_bytes(), pattern.as_bytes()));
}

#[test]
fn fuzz_no_list_of_signers_makes_the_reader_panic_and_all_that_it_says_is_bounded() {
    let more = "ops@a namespaces=\"!git,*\",valid-after=\"20300101\" ssh-rsa AAAA\n\"a b\" cert-authority sk-x y";
    mutants(&[FILE.as_bytes(), more.as_bytes()], |input| {
        let (_, key) = first_key();
        match Signers::read(input) {
            Ok(signers) => {
                assert!(signers.flaws.len() <= FLAWS_MAX);
                signers.find(&key, NAMESPACE).map(drop).ok();
            }
            Err(why) => assert!(!why.is_empty()),
        }
    });
}
