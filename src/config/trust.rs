//! Whether the text of a configuration may be believed. Two things vouch for it:
//!
//! - a signature (`sshsig`) of one of those whom the installation allows (`signers`): required where a file `allowed_signers` is beside
//!   the configuration's;
//! - a seal (`seal`), its last line: not who wrote it, but that it is whole and as it was written.
//!
//! All that is read here comes from outside, and is bounded.

mod seal;

mod signers;

mod sshsig;

mod wire;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::environment::Variable;
use super::hash::Hash;
use super::installation;
use super::problem::{Problem, Weight};
pub(crate) use seal::sealed;
use signers::Signers;
use sshsig::Signature;

/// The file beside the configuration's that says who may sign it.
const SIGNERS: &str = "allowed_signers";
/// A signature by the longest key that is taken (RSA, 8192 bits) has less than 5 KiB.
const SIGNATURE_MAX: u64 = 16 << 10;
/// Some hundred of the longest keys.
const SIGNERS_MAX: u64 = 256 << 10;
/// What a signature must have been made for, so that none of another file, or for another program, is taken.
const NAMESPACE: &str = "tidegate-config";

/// What vouches for a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Who signed it: the principals of the line in `allowed_signers`.
    pub signer: Option<String>,
    /// It ends with its own hash.
    pub sealed: bool,
}

impl Trust {
    pub(crate) fn is_any(&self) -> bool {
        self.sealed || self.signer.is_some()
    }

    /// Takes out of `variables` those that must not change what was signed, and says of each why.
    pub(super) fn refuse(&self, variables: &mut Vec<Variable>) -> Vec<Problem> {
        if self.signer.is_none() {
            return Vec::new();
        }
        let refused = variables.extract_if(.., |one| !installation::may_set(&one.key()));
        let problem = |one: Variable| {
            let (key, keys) = (one.key(), installation::KEYS.join(", "));
            let message = format!(
                "the configuration must be signed here, and `{key}` from the environment would change it; only {keys} may come from there: unset it, or have it in the signed file"
            );
            problem(&format!("environment {}", one.name), message)
        };
        refused.map(problem).collect()
    }
}

/// What vouches for `text`, which was read from `file` and stands for the one at `place`, and what is wrong with `allowed_signers` there that
/// does not matter to that.
///
/// # Errors
/// It must be signed and is not, or it is not what was signed or sealed.
pub(super) fn verify(
    place: &Path,
    file: &Path,
    text: &str,
) -> Result<(Trust, Vec<Problem>), Problem> {
    let sealed = seal::verify(text).map_err(|flaw| problem("seal", flaw.to_string()))?;
    let (signer, warnings) = signer(place, file, text)?;
    Ok((Trust { signer, sealed }, warnings))
}

/// Who signed `text`, where that is asked for, whether it is whole or not.
///
/// # Errors
/// It must be signed and is not, or it is not what was signed.
pub(super) fn signer(
    place: &Path,
    file: &Path,
    text: &str,
) -> Result<(Option<String>, Vec<Problem>), Problem> {
    let Some(signers) = signers(place)? else {
        return Ok((None, Vec::new()));
    };
    let name = signature_of(file);
    let name = name.file_name().unwrap_or_default().display();
    let refuse = |why: &dyn Display| problem(&name.to_string(), why.to_string());
    let signature = signature(file).map_err(|why| refuse(&why))?;
    signature.is_for(NAMESPACE).map_err(|flaw| refuse(&flaw))?;
    let key = signature.key().map_err(|flaw| refuse(&flaw))?;
    let signer = signers.find(signature.blob(), NAMESPACE);
    let signer = signer.map_err(|why| refuse(&why))?.to_owned();
    let signed = signature.verify(&key, text.as_bytes());
    signed.map_err(|flaw| refuse(&flaw))?;
    let warning = |message: &String| Problem {
        weight: Weight::Warning,
        ..problem(SIGNERS, message.clone())
    };
    let warnings = signers.flaws.iter().map(warning).collect();
    Ok((Some(signer), warnings))
}

/// Whether `text` is signed as is asked for, if that is.
pub(crate) fn may_be_believed(path: &Path, text: &str) -> bool {
    signer(path, path, text).is_ok()
}

/// Whether nothing is taken for the file at `place` that nobody has signed.
pub(crate) fn asks_for_signature(place: &Path) -> bool {
    !matches!(signers(place), Ok(None))
}

/// Tells apart what of the signature is beside `file`, and of those who may sign beside `place`.
pub(crate) fn vouchers(place: &Path, file: &Path) -> String {
    let mut all = Hash::new();
    for (path, most) in [
        (signature_of(file), SIGNATURE_MAX),
        (signers_of(place), SIGNERS_MAX),
    ] {
        let content = bounded(&path, most).unwrap_or_default();
        all.add(&content);
    }
    all.finish()
}

/// Who may sign; none where no signature is asked for.
fn signers(path: &Path) -> Result<Option<Signers>, Problem> {
    let path = signers_of(path);
    if let Err(error) = path.symlink_metadata()
        && error.kind() == ErrorKind::NotFound
    {
        return Ok(None);
    }
    let content = bounded(&path, SIGNERS_MAX);
    let content = content.map_err(|error| {
        let what = format!("cannot be read: {error}; while it is there, no configuration is taken that nobody in it has signed");
        problem(SIGNERS, what)
    })?;
    let signers = Signers::read(&content);
    let signers = signers.map_err(|why| problem(SIGNERS, why))?;
    Ok(Some(signers))
}

fn signature(path: &Path) -> Result<Signature, String> {
    let content = bounded(&signature_of(path), SIGNATURE_MAX);
    let content = content.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            format!(
                "no signature: it is not there, and `{SIGNERS}` asks for one; push it before the configuration, from `ssh-keygen -Y sign -n {NAMESPACE} -f KEY FILE`"
            )
        } else {
            format!("cannot be read: {error}")
        }
    })?;
    Signature::read(&content).map_err(|flaw| flaw.to_string())
}

fn problem(key: &str, message: String) -> Problem {
    Problem::whole(key, message)
}

/// Where the signature of a file is.
pub(crate) fn signature_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".sig");
    name.into()
}

fn signers_of(path: &Path) -> PathBuf {
    path.with_file_name(SIGNERS)
}

fn bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening what is no file may wait for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        let most = adapters::Size(most);
        return Err(io::Error::other(format!("it has over {most}")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
