use super::*;
use crate::process::mutate::mutants;

const TEXT: &str = include_str!("../../../../tests/data/signatures/gateway.toml");
const NAMESPACE: &str = "tidegate-config";

/// What ssh-keygen wrote, by the name of its file.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/data/signatures/", $name, ".sig"))
    };
}

const GOOD: [&str; 6] = [
    vector!("ed25519"),
    vector!("ed25519-sha256"),
    vector!("nistp256"),
    vector!("nistp384"),
    vector!("rsa"),
    vector!("rsa-sha256"),
];

fn check(file: &[u8], text: &str) -> Result<(), Flaw> {
    let signature = Signature::read(file)?;
    signature.is_for(NAMESPACE)?;
    signature.verify(&signature.key()?, text.as_bytes())
}

#[test]
fn what_ssh_keygen_signs_with_a_key_of_each_type_is_taken_and_another_text_is_not() {
    for file in GOOD {
        assert_eq!(check(file.as_bytes(), TEXT), Ok(()), "{file}");
        // As a mail program or a clipboard leaves it.
        let moved = format!("\n{}", file.replace('\n', "\r\n"));
        assert_eq!(check(moved.as_bytes(), TEXT), Ok(()), "{file}");
        for other in [&TEXT[1..], TEXT.trim_end(), &TEXT.replace('e', "E"), ""] {
            assert_eq!(check(file.as_bytes(), other), Err(Flaw::OtherText));
        }
    }
}

#[test]
fn what_is_not_taken_is_told_with_its_reason() {
    let flaw = |file: &str| check(file.as_bytes(), TEXT).unwrap_err().to_string();
    for (file, said) in [
        (vector!("other-namespace"), "namespace `git`"),
        (
            vector!("nistp521"),
            "`ecdsa-sha2-nistp521`, which is not supported",
        ),
        (vector!("rsa-1024"), "`ssh-rsa of 1024 bits`"),
        ("", "is no SSHSIG signature"),
        (TEXT, "it does not begin as one"),
        (&GOOD[0][..200], "it does not end as one"),
        (&GOOD[0].replace('\n', "\n*"), "is no SSHSIG signature"),
        (&format!("{BEGIN}\nAAAA\n{END}\n"), "cut or damaged"),
        (&format!("{}{}", GOOD[0], GOOD[1]), "it is no base64"),
    ] {
        assert!(flaw(file).contains(said), "{file}: {}", flaw(file));
    }
}

#[test]
fn a_number_that_is_short_or_has_a_zero_before_it_is_padded_and_one_that_is_too_long_is_none() {
    let of = |r: &[u8], s: &[u8]| {
        let mut signature = Vec::new();
        put(r, &mut signature);
        put(s, &mut signature);
        let mut one = Signature::read(GOOD[2].as_bytes()).unwrap();
        one.value = signature;
        one.fixed(4)
    };
    assert_eq!(
        of(&[7], &[0, 0x80, 1, 2, 3]),
        Some(vec![0, 0, 0, 7, 0x80, 1, 2, 3])
    );
    assert_eq!(of(&[1, 2, 3, 4, 5], &[1]), None);
    assert_eq!(of(&[0x80], &[1]), None);
}

/// A signature whose parts are these, in the lines around it.
fn forged(key: &[u8], hash: &[u8], algorithm: &[u8], signature: &[u8]) -> String {
    let mut inner = Vec::new();
    put(algorithm, &mut inner);
    put(signature, &mut inner);
    let mut blob = MAGIC.to_vec();
    blob.extend(VERSION.to_be_bytes());
    for part in [key, NAMESPACE.as_bytes(), b"", hash, &inner] {
        put(part, &mut blob);
    }
    format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(blob))
}

#[test]
fn an_algorithm_that_is_weak_or_of_another_key_is_not_taken() {
    for (file, hash, algorithm) in [
        (vector!("rsa"), "sha512", "ssh-rsa"),
        (vector!("rsa"), "sha1", "rsa-sha2-512"),
        (vector!("rsa"), "sha512", "ssh-ed25519"),
        (vector!("nistp256"), "sha512", "ecdsa-sha2-nistp384"),
    ] {
        let one = Signature::read(file.as_bytes()).unwrap();
        let file = forged(&one.key, hash.as_bytes(), algorithm.as_bytes(), &one.value);
        let said = check(file.as_bytes(), TEXT);
        assert!(matches!(said, Err(Flaw::Algorithm(_))), "{said:?}");
    }
}

#[test]
fn fuzz_no_signature_makes_the_reader_panic_and_none_but_the_same_passes() {
    let seeds: Vec<&[u8]> = GOOD.iter().map(|one| one.as_bytes()).collect();
    let good: Vec<_> = GOOD.iter().map(|one| parts_of(one.as_bytes())).collect();
    mutants(&seeds, |input| {
        if check(input, TEXT).is_ok() {
            assert!(good.contains(&parts_of(input)));
        }
    });
    // The same below the base64, which hides most changes.
    let blobs: Vec<Vec<u8>> = seeds.iter().map(|one| dearmoured(one).unwrap()).collect();
    let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    mutants(&blobs, |input| {
        let file = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(input));
        if check(file.as_bytes(), TEXT).is_ok() {
            assert!(good.contains(&parts_of(file.as_bytes())));
        }
    });
}

fn parts_of(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let one = Signature::read(file).unwrap();
    (one.key, one.hash)
}
