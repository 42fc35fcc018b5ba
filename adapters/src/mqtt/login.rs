//! What a login to a broker takes of files. They are looked at before each connection: what replaced them is used for it,
//! without a reload.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use tracing::{info, warn};

use super::MqttError;
use super::certificate::Pin;
use super::section::{MqttSection, MqttTlsSection};
use crate::tls::{self, TlsError};
use crate::{SecretRef, Watched, off_task};

/// What a broker is shown.
#[derive(Debug, Clone)]
pub(super) struct Login {
    /// User name and password.
    pub(super) user: Option<(String, String)>,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// Where it is from.
#[derive(Debug, Clone)]
struct Given {
    username: Option<String>,
    password: Option<SecretRef>,
    tls: Option<MqttTlsSection>,
}

/// A login that follows its files.
#[derive(Debug)]
pub(super) struct Logins {
    given: Given,
    files: Watched,
    now: Login,
    /// Why what is in the files now cannot be used, as where only one half of a pair was replaced yet.
    unusable: Option<String>,
}

impl Logins {
    pub(super) fn new(section: &MqttSection) -> Result<Logins, MqttError> {
        let given = Given {
            username: section.username.clone(),
            password: section.password.clone(),
            tls: section.tls.clone(),
        };
        let tls = section.tls.as_ref().map(MqttTlsSection::files);
        let files = Watched::of_login(section.password.as_ref(), tls.as_ref());
        Ok(Logins {
            now: given.read()?,
            given,
            files,
            unusable: None,
        })
    }

    /// The login for the next connection to the broker of `source`: with what is in the files now, if that can be used.
    pub(super) async fn now(&mut self, source: &str) -> Login {
        if self.files.is_empty() {
            return self.now.clone();
        }
        let (mut files, given) = (self.files.clone(), self.given.clone());
        let again = self.unusable.is_some();
        let looked = off_task(move || {
            let changed = files.changed();
            let read = (changed.is_some() || again).then(|| given.read());
            Ok((changed, read, files))
        });
        match looked.await {
            Ok((changed, read, files)) => {
                self.files = files;
                if let Some(read) = read {
                    self.take(source, changed, read);
                }
            }
            Err(error) => {
                tracing::debug!(source, %error, "cannot look for a new password or certificate");
            }
        }
        self.now.clone()
    }

    fn take(&mut self, source: &str, changed: Option<PathBuf>, read: Result<Login, MqttError>) {
        let file = changed.unwrap_or_default();
        match read {
            Ok(login) => {
                info!(source, file = %file.display(), "a file that the login to the broker takes was replaced; this connection begins with it");
                self.now = login;
                self.unusable = None;
            }
            Err(error) => {
                let reason = error.to_string();
                if self.unusable.as_ref() != Some(&reason) {
                    warn!(source, file = %file.display(), reason, "a file that the login to the broker takes was replaced, and cannot be used; connections go on with the login from before; put a matching certificate and key there, or a password that can be read");
                }
                self.unusable = Some(reason);
            }
        }
    }
}

impl Given {
    fn read(&self) -> Result<Login, MqttError> {
        let password = self.password.as_ref().map(SecretRef::read).transpose()?;
        let password = password.unwrap_or_default();
        Ok(Login {
            user: self.username.clone().map(|user| (user, password)),
            tls: self.tls.as_ref().map(client).transpose()?,
        })
    }
}

fn client(section: &MqttTlsSection) -> Result<Arc<ClientConfig>, TlsError> {
    let pin = section.pin.as_deref().and_then(Pin::parse);
    match pin {
        Some(pin) => tls::client(&section.files(), Some(&|provider| pin.verifier(provider))),
        None => tls::client(&section.files(), None),
    }
}
