//! Secrets are referred to, never written in the configuration and never printed.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a secret is: `{ file = "/etc/tidegate/password" }` or `{ credential = "mqtt-password" }`,
/// a systemd credential (`LoadCredential=`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    File(PathBuf),
    Credential(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret in {path}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "credential `{name}` is asked for, but CREDENTIALS_DIRECTORY is not set: add LoadCredential={name}: to the unit"
    )]
    NoCredentials { name: String },
}

impl SecretRef {
    /// The secret, without the line end that editors leave.
    pub fn read(&self) -> Result<String, SecretError> {
        let path = self.path().ok_or_else(|| SecretError::NoCredentials {
            name: self.name().to_owned(),
        })?;
        let text = std::fs::read_to_string(&path)
            .map_err(|source| SecretError::Unreadable { path, source })?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The file that holds it; `None` for a credential where systemd gave none.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            SecretRef::File(path) => Some(path.clone()),
            SecretRef::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
                Some(PathBuf::from(directory).join(name))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            SecretRef::File(_) => "",
            SecretRef::Credential(name) => name,
        }
    }
}
