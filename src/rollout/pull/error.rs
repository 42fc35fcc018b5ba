//! Why there is no configuration of a pull, by what would be right.

use std::time::Duration;

/// Each leaves what runs as it is; the next pull comes by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the secret of `fleet.bearer` cannot be used: {0}")]
    Bearer(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("it took longer than `fleet.timeout` ({0:?}); where the link is that slow, allow more")]
    Slow(Duration),
    #[error("the server answered {status}{}", hint(*status))]
    Refused {
        status: u16,
        /// As it asked for.
        wait: Option<Duration>,
    },
    #[error(
        "the server answered {status} and points to {host}; no redirect is followed: put the place where the file is into `fleet.url`"
    )]
    Elsewhere { status: u16, host: String },
    #[error("the file is larger than `fleet.max_size` ({0} bytes); it is not taken")]
    TooLarge(usize),
    #[error("what came is not all of what was sent: {0}")]
    Incomplete(String),
    #[error("the server sent the file with the content encoding `{0}`, which was not asked for")]
    Encoded(String),
    #[error("the file is not UTF-8, so that it is no TOML")]
    NotText,
    #[error(
        "there is no signature beside it, and `allowed_signers` asks for one: put it to the same place as `URL.sig`, from `ssh-keygen -Y sign -n tidegate-config -f KEY FILE` ({0})"
    )]
    Unsigned(Box<PullError>),
    #[error("the file cannot be kept in the state directory: {0}")]
    Kept(std::io::Error),
}

impl PullError {
    /// How long the server asked to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            PullError::Refused { wait, .. } => *wait,
            PullError::Unsigned(why) => why.wait(),
            PullError::Connect(_)
            | PullError::Tls(_)
            | PullError::Bearer(_)
            | PullError::Broken(_)
            | PullError::Slow(_)
            | PullError::Elsewhere { .. }
            | PullError::TooLarge(_)
            | PullError::Incomplete(_)
            | PullError::Encoded(_)
            | PullError::NotText
            | PullError::Kept(_) => None,
        }
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            " (it does not let this gateway in): look at `fleet.bearer` or the certificate in `fleet.tls`"
        }
        404 | 410 => " (there is no such file): look at `fleet.url`",
        _ => "",
    }
}
