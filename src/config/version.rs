//! Which configuration it is.

use std::io::Read;
use std::path::{Path, PathBuf};

use adapters::SecretRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment;
use super::hash::{Hash, sha256};
use super::texts::Texts;
use super::trust::Trust;

/// More of a file that a configuration refers to is not looked at: passwords, certificates and keys are smaller.
const REFERRED_MAX: u64 = 1 << 20;

/// Two are the same by their hashes: who vouches for one does not make it another.
#[derive(Debug, Clone, Default, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Version {
    /// SHA-256 of the file in hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
    /// The same of its layers, if it has any.
    pub layers: String,
    /// The same of the register maps and of what comes from the environment.
    pub beside: String,
    /// The same of the passwords, certificates and keys that it refers to.
    pub secrets: String,
    /// `fleet.serial` of it.
    pub serial: Option<u64>,
    /// Who signed it, where that was asked for.
    pub signer: Option<String>,
    /// Whether it ends with a seal.
    pub sealed: bool,
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.is_same(other) && self.secrets == other.secrets
    }
}

impl Version {
    /// Of a file that cannot be read, what it refers to is not known.
    pub(crate) fn of_texts(texts: &Texts) -> Version {
        Version {
            sha256: sha256(&texts.file),
            layers: texts.mark_of_layers(),
            ..Version::default()
        }
    }

    /// Of texts with their register maps, and the files of its passwords, certificates and keys.
    pub(super) fn of(texts: &Texts, maps: &[(PathBuf, String)], referred: &[PathBuf]) -> Version {
        Version {
            beside: beside(maps),
            secrets: secrets(referred),
            ..Version::of_texts(texts)
        }
    }

    /// The same configuration; a password in another file may be another.
    pub(crate) fn is_same(&self, other: &Version) -> bool {
        (&self.sha256, &self.layers, &self.beside) == (&other.sha256, &other.layers, &other.beside)
    }

    /// What was delivered is the same; what it refers to may be another.
    pub(crate) fn has_texts_of(&self, other: &Version) -> bool {
        (&self.sha256, &self.layers) == (&other.sha256, &other.layers)
    }

    /// What vouched for it.
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            signer: self.signer.clone(),
            sealed: self.sealed,
        }
    }

    /// Enough of it to tell two apart in a line of the log.
    pub(crate) fn short(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }
}

/// The files that hold what a configuration keeps out of itself.
pub(super) fn referred(value: &Value) -> Vec<PathBuf> {
    match value {
        Value::Object(map) => {
            let found = map.iter().flat_map(|(key, value)| match value.as_str() {
                Some(path) if key == "file" || key.ends_with("_file") => {
                    vec![PathBuf::from(path)]
                }
                Some(name) if key == "credential" => {
                    let secret = SecretRef::Credential(name.to_owned());
                    secret.path().into_iter().collect()
                }
                Some(_) | None => referred(value),
            });
            found.collect()
        }
        Value::Array(list) => list.iter().flat_map(referred).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn beside(maps: &[(PathBuf, String)]) -> String {
    let mut all = Hash::new();
    for (name, text) in maps {
        all.add(name.as_os_str().as_encoded_bytes());
        all.add(text.as_bytes());
    }
    for variable in environment::variables() {
        all.add(variable.name.as_bytes());
        all.add(variable.value.as_encoded_bytes());
    }
    all.finish()
}

/// SHA-256 of these files, as they are now.
pub(super) fn secrets(referred: &[PathBuf]) -> String {
    let mut all = Hash::new();
    for path in referred {
        all.add(path.as_os_str().as_encoded_bytes());
        all.add(&content(path));
    }
    all.finish()
}

/// Nothing of a file that is not there, or that is no file.
fn content(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    if is_file
        && let Ok(file) = std::fs::File::open(path)
        && file.take(REFERRED_MAX).read_to_end(&mut content).is_err()
    {
        content.clear();
    }
    content
}
