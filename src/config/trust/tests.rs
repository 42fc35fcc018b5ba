use std::fs;

use tempfile::TempDir;

use super::*;
use crate::process::mutate::mutants;

const TEXT: &str = include_str!("../../../tests/data/signatures/gateway.toml");
const ALLOWED: &str = include_str!("../../../tests/data/signatures/allowed_signers");
const ED25519: &str = include_str!("../../../tests/data/signatures/ed25519.sig");
const STRANGER: &str = include_str!("../../../tests/data/signatures/stranger.sig");
const ELSEWHERE: &str = include_str!("../../../tests/data/signatures/other-namespace.sig");
const P521: &str = include_str!("../../../tests/data/signatures/nistp521.sig");

/// A directory with these files, and the path of the configuration in it.
fn beside(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let path = directory.path().join("gateway.toml");
    (directory, path)
}

/// What is said of the text, with these files beside it.
fn refused(text: &str, signers: &[u8], signature: &[u8]) -> String {
    let (_directory, path) = beside(&[(SIGNERS, signers), ("gateway.toml.sig", signature)]);
    verify(&path, &path, text).unwrap_err().to_string()
}

#[test]
fn without_allowed_signers_nothing_is_asked_for_and_with_it_a_signature_of_one_of_them() {
    let (_directory, path) = beside(&[("gateway.toml.sig", STRANGER.as_bytes())]);
    assert_eq!(
        verify(&path, &path, TEXT),
        Ok((Trust::default(), Vec::new()))
    );
    let signers = format!("ops@a cert-authority ssh-rsa AAAA\n{ALLOWED}");
    let (_directory, path) = beside(&[
        (SIGNERS, signers.as_bytes()),
        ("gateway.toml.sig", ED25519.as_bytes()),
    ]);
    let (trust, warnings) = verify(&path, &path, TEXT).unwrap();
    assert_eq!(trust.signer.as_deref(), Some("ed25519@example.com"));
    let said = warnings.first().unwrap().to_string();
    assert!(
        said.contains("allowed_signers: line 1 is not used"),
        "{said}"
    );
}

#[test]
fn what_is_refused_is_named_with_its_file_and_a_reason_of_its_own() {
    let over = |most: u64| vec![b'#'; usize::try_from(most).unwrap() + 1];
    let (long, many) = (over(SIGNATURE_MAX), over(SIGNERS_MAX));
    let allowed = ALLOWED.as_bytes();
    for (said, (text, signers, signature)) in [
        (
            "gateway.toml.sig: its signer is not allowed",
            (TEXT, allowed, STRANGER.as_bytes()),
        ),
        (
            "gateway.toml.sig: was made for the namespace `git`",
            (TEXT, allowed, ELSEWHERE.as_bytes()),
        ),
        (
            "gateway.toml.sig: is by a key of type `ecdsa-sha2-nistp521`",
            (TEXT, allowed, P521.as_bytes()),
        ),
        (
            "gateway.toml.sig: is not for this text: the text is another",
            ("", allowed, ED25519.as_bytes()),
        ),
        (
            "gateway.toml.sig: is no SSHSIG signature",
            (TEXT, allowed, b""),
        ),
        (
            "gateway.toml.sig: cannot be read: it has over 16 KiB",
            (TEXT, allowed, &long),
        ),
        (
            "allowed_signers: cannot be read: it has over 256 KiB",
            (TEXT, &many, ED25519.as_bytes()),
        ),
        (
            "allowed_signers: names nobody who may sign",
            (TEXT, b"", ED25519.as_bytes()),
        ),
    ] {
        let why = refused(text, signers, signature);
        assert!(why.contains(said), "{why}");
    }
}

#[test]
fn a_signature_that_is_not_there_or_no_file_is_none_and_so_are_signers() {
    let (directory, path) = beside(&[(SIGNERS, ALLOWED.as_bytes())]);
    let why = || verify(&path, &path, TEXT).unwrap_err().to_string();
    assert!(
        why().starts_with("gateway.toml.sig: no signature"),
        "{}",
        why()
    );
    fs::create_dir(directory.path().join("gateway.toml.sig")).unwrap();
    assert!(why().contains("cannot be read: it is no file"), "{}", why());
    fs::remove_file(directory.path().join(SIGNERS)).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join(SIGNERS)).unwrap();
    assert!(
        why().starts_with("allowed_signers: cannot be read"),
        "{}",
        why()
    );
}

#[test]
fn whoever_signs_decides_all_but_which_gateway_it_is() {
    let variable = |name: &str| Variable {
        name: format!("TIDEGATE__{name}"),
        value: "x".into(),
    };
    let names = [
        "GATEWAY__ID",
        "gateway__site",
        "GATEWAY__REGION",
        "GATEWAY__STATE_DIR",
    ];
    let others = [
        "UPLINK__BROKERS",
        "GATEWAY",
        "GATEWAY__TAGS__SITE",
        "GATEWAY__ID__X",
        "MQTT__0__HOST",
        "",
    ];
    let mut variables: Vec<_> = names
        .iter()
        .chain(&others)
        .map(|name| variable(name))
        .collect();
    let all = variables.len();
    assert_eq!(Trust::default().refuse(&mut variables), []);
    assert_eq!(variables.len(), all, "nobody must sign");
    let signed = Trust {
        signer: Some("ops@a".into()),
        sealed: false,
    };
    let refused = signed.refuse(&mut variables);
    let kept: Vec<&str> = variables.iter().map(|one| &one.name[10..]).collect();
    assert_eq!(kept, names);
    for (problem, name) in refused.iter().zip(others) {
        assert_eq!(problem.key, format!("environment TIDEGATE__{name}"));
    }
    assert_eq!(refused.len(), others.len());
}

#[test]
fn fuzz_whatever_is_beside_a_configuration_it_is_refused_in_words_that_can_be_printed() {
    let seeds = [ALLOWED.as_bytes(), ED25519.as_bytes(), STRANGER.as_bytes()];
    let (directory, path) = beside(&[]);
    mutants(&seeds, |input| {
        let halves = input.split_at(input.len() / 2);
        for (signers, signature) in [
            (input, ED25519.as_bytes()),
            (ALLOWED.as_bytes(), input),
            halves,
        ] {
            fs::write(directory.path().join(SIGNERS), signers).unwrap();
            fs::write(directory.path().join("gateway.toml.sig"), signature).unwrap();
            if let Err(problem) = verify(&path, &path, TEXT) {
                let shown = problem.to_string();
                assert!(!shown.chars().any(adapters::is_dangerous), "{shown:?}");
            }
            vouchers(&path, &path);
        }
    });
}

#[test]
fn beside_a_signed_file_a_layer_says_only_what_an_installation_may() {
    let (directory, path) = beside(&[
        (SIGNERS, ALLOWED.as_bytes()),
        ("gateway.toml.sig", ED25519.as_bytes()),
        ("gateway.toml", TEXT.as_bytes()),
    ]);
    let layers = directory.path().join("gateway.toml.d");
    fs::create_dir(&layers).unwrap();
    let layer = |text: &str| fs::write(layers.join("10-site.toml"), text).unwrap();
    layer("[gateway]\nid = \"gw-7\"\nsite = \"hall\"\n");
    assert_eq!(
        super::super::load(&path)
            .unwrap()
            .file
            .gateway
            .id
            .as_deref(),
        Some("gw-7")
    );
    for (text, said) in [
        (
            "[gateway]\nid = \"gw-7\"\n[uplink]\nbrokers = [\"evil:9092\"]\n",
            "10-site.toml: line 4: uplink.brokers: the configuration must be signed here, and this layer",
        ),
        (
            "[[mqtt]]\nname = \"a\"\nhost = \"h\"\n",
            "10-site.toml: line 1: mqtt: the configuration must be signed here",
        ),
        (
            "[gateway]\ntags = {}\n",
            "line 2: gateway.tags: the configuration must be signed here",
        ),
    ] {
        layer(text);
        let problems = super::super::load(&path).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().contains(said), "{}", problems[0]);
    }
}

#[test]
fn a_file_that_is_to_be_put_in_the_place_of_another_is_judged_by_the_signature_beside_that() {
    let (directory, place) = beside(&[
        (SIGNERS, ALLOWED.as_bytes()),
        ("gateway.toml.sig", ED25519.as_bytes()),
        ("gateway.toml.new", TEXT.as_bytes()),
        ("gateway.toml.cut", b"[uplink]\n"),
    ]);
    let put = |name: &str| super::super::load_for(&directory.path().join(name), &place);
    let signer = put("gateway.toml.new").unwrap().trust.signer;
    assert_eq!(signer.as_deref(), Some("ed25519@example.com"));
    let problems = put("gateway.toml.cut").unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .contains("is another than what was signed"),
        "{problems:?}"
    );
}
