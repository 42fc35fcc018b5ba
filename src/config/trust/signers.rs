//! Who may sign: `allowed_signers` as ssh-keygen reads it (ssh-keygen(1), ALLOWED SIGNERS).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};

use super::wire::string;

/// Lines that cannot be used and are named.
const FLAWS_MAX: usize = 10;
/// Characters of the principals of a line, which status and heartbeats show.
const PRINCIPALS_MAX: usize = 256;

/// Those who may sign.
#[derive(Debug, Default)]
pub(super) struct Signers {
    all: Vec<Signer>,
    /// What is wrong with lines that cannot be used.
    pub(super) flaws: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Signer {
    line: usize,
    principals: String,
    /// What the key may sign: patterns; all where there are none.
    namespaces: Option<String>,
    /// As SSH writes it.
    key: Vec<u8>,
}

impl Signers {
    /// # Errors
    /// Nobody is in it.
    pub(super) fn read(file: &[u8]) -> Result<Signers, String> {
        let mut signers = Signers::default();
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            match str::from_utf8(line)
                .map_err(|_| "it is no UTF-8 text".to_owned())
                .and_then(|line| signer(line, number))
            {
                Ok(Some(signer)) => signers.all.push(signer),
                Ok(None) => {}
                Err(why) if signers.flaws.len() < FLAWS_MAX => {
                    let flaw = format!("line {number} is not used: {why}");
                    signers.flaws.push(flaw);
                }
                Err(_) => {}
            }
        }
        if signers.all.is_empty() {
            let flaws = signers.said();
            return Err(format!(
                "names nobody who may sign, and while it is there, no configuration is taken that is not signed{flaws}; write lines like `ops@example.com namespaces=\"tidegate-config\" ssh-ed25519 AAAA...`"
            ));
        }
        Ok(signers)
    }

    /// The principals of the line that lets `key` sign for `namespace`.
    ///
    /// # Errors
    /// There is none, in words.
    pub(super) fn find(&self, key: &[u8], namespace: &str) -> Result<&str, String> {
        let allows = |one: &Signer| {
            let patterns = one.namespaces.as_deref();
            patterns.is_none_or(|patterns| is_in(namespace, patterns))
        };
        let theirs = || self.all.iter().filter(|one| one.key == key);
        if let Some(signer) = theirs().find(|one| allows(one)) {
            return Ok(&signer.principals);
        }
        let fingerprint = fingerprint(key);
        if let Some(Signer { line, .. }) = theirs().next() {
            return Err(format!(
                "its signer is not allowed: line {line} of allowed_signers has the key {fingerprint} for other namespaces than `{namespace}`"
            ));
        }
        let flaws = self.said();
        Err(format!(
            "its signer is not allowed: no line of allowed_signers has the key {fingerprint}{flaws}"
        ))
    }

    fn said(&self) -> String {
        if self.flaws.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.flaws.join("; "))
        }
    }
}

/// As `ssh-keygen -l` prints it.
fn fingerprint(key: &[u8]) -> String {
    let hash = digest(&SHA256, key);
    format!("SHA256:{}", STANDARD_NO_PAD.encode(hash))
}

/// None where the line says nothing.
fn signer(line: &str, number: usize) -> Result<Option<Signer>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (principals, rest) = principals(line)?;
    let is_shown = |one: char| !adapters::is_dangerous(one);
    if principals.len() > PRINCIPALS_MAX || !principals.chars().all(is_shown) {
        return Err(format!(
            "its principals are no names of at most {PRINCIPALS_MAX} characters"
        ));
    }
    let (first, after) = field(rest);
    let (namespaces, rest) = if is_key_type(first) {
        (None, rest)
    } else {
        (options(first)?, after)
    };
    Ok(Some(Signer {
        line: number,
        principals: principals.to_owned(),
        namespaces,
        key: key(rest)?,
    }))
}

fn principals(line: &str) -> Result<(&str, &str), String> {
    let (principals, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("a quote does not end")?,
        None => field(line),
    };
    if principals.is_empty() {
        return Err("it names no principals".into());
    }
    Ok((principals, rest.trim_start()))
}

/// What stands before the first blank that is not quoted, and what after it.
fn field(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let ends = |one: char| {
        quoted ^= one == '"';
        !quoted && one.is_ascii_whitespace()
    };
    let (field, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
    (field, rest.trim_start())
}

fn is_key_type(field: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|begin| field.starts_with(begin))
}

/// The namespaces, if the options name some.
fn options(text: &str) -> Result<Option<String>, String> {
    let mut namespaces = None;
    let mut quoted = false;
    let separate = |one: char| {
        quoted ^= one == '"';
        !quoted && one == ','
    };
    for option in text.split(separate) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name.to_ascii_lowercase().as_str() {
            "namespaces" if namespaces.is_none() => {
                let inner = value
                    .strip_prefix('"')
                    .and_then(|one| one.strip_suffix('"'));
                let inner = inner.ok_or("the value of `namespaces` is not in quotes")?;
                namespaces = Some(inner.to_owned());
            }
            "namespaces" => return Err("it has `namespaces` twice".into()),
            "valid-after" | "valid-before" => {
                return Err(format!(
                    "`{name}` is not supported, since the clock of a gateway may be wrong; remove the line when the key must not sign any more"
                ));
            }
            "cert-authority" => {
                return Err("`cert-authority` is not supported; name each key".into());
            }
            _ => {
                return Err(format!(
                    "`{name}` is neither an option that is known nor a type of a key"
                ));
            }
        }
    }
    Ok(namespaces)
}

fn key(text: &str) -> Result<Vec<u8>, String> {
    let (name, rest) = field(text);
    let (encoded, _comment) = field(rest);
    let key = STANDARD.decode(encoded);
    let key = key.map_err(|_| format!("after `{name}` stands no key in base64"))?;
    // A key says its type once more.
    if name.is_empty() || string(&mut &key[..]) != Some(name.as_bytes()) {
        return Err(format!("its key is none of type `{name}`"));
    }
    Ok(key)
}

/// Whether `name` matches a list of patterns as `ssh_config(5)` has them: `*`, `?`, and `!` before one that must not match.
fn is_in(name: &str, patterns: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches(name.as_bytes(), not.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(name.as_bytes(), pattern.as_bytes()),
        }
    }
    found
}

/// Goes back to the last `*` only, and so takes at most the product of both lengths.
fn matches(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut here, mut last) = (0, 0, None);
    while let Some(byte) = name.get(at) {
        match (pattern.get(here), last) {
            (Some(b'*'), _) => {
                last = Some((at, here));
                here += 1;
            }
            (Some(one), _) if *one == b'?' || one == byte => {
                at += 1;
                here += 1;
            }
            (_, Some((from, star))) => {
                last = Some((from + 1, star));
                (at, here) = (from + 1, star + 1);
            }
            (_, None) => return false,
        }
    }
    let left = pattern.get(here..).unwrap_or_default();
    left.iter().all(|one| *one == b'*')
}

#[cfg(test)]
mod tests;
