//! Opening the buffer, and what to do while it cannot be opened.

use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use adapters::{SecretError, SecretRef};
use buffer::{Disk, DiskError, KeyError, Keys, OpenError, Opened, Writer};

use crate::ingest::Record;

/// The disk under all lanes, as meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreSettings {
    /// The state directory.
    pub state: PathBuf,
    pub lanes: Vec<buffer::LaneDisk>,
    /// Bytes that are left to others.
    pub floor: u64,
    pub keys: Vec<SecretRef>,
    /// The gateway's id, which what is encrypted is bound to.
    pub gateway: String,
    pub require_mount: bool,
}

/// What opening the buffer takes, to do it again.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    settings: StoreSettings,
    writer: Writer,
}

/// The hidden subcommand that makes this program the disk writer.
pub(crate) const DISK_WRITER: &str = "disk-writer";

/// sled is called by a process of its own, so that it cannot end this one.
pub(crate) fn disk_writer() -> Writer {
    Writer::process(&[DISK_WRITER])
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The agent must not start: what is there is not to be touched.
    #[error("cannot open the buffer in {path}")]
    Refused { path: PathBuf, source: OpenError },
    #[error("buffer.keys")]
    Secret(#[from] SecretError),
    #[error("buffer.keys")]
    Key(#[from] KeyError),
    /// The agent goes on from memory.
    #[error("the state directory {path} cannot be used")]
    Unusable { path: PathBuf, source: DiskError },
    #[error(
        "nothing is mounted at the state directory {path}, and buffer.require_mount is set; mount the data partition"
    )]
    NotMounted { path: PathBuf },
}

impl StoreError {
    /// The disk may come back, and the agent go on from memory until then.
    #[must_use]
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            StoreError::Unusable { .. } | StoreError::NotMounted { .. }
        )
    }

    /// What is there cannot be read with the keys that are given, or they cannot be had. The agent goes on from memory and touches
    /// nothing, unless there is another configuration to go back to.
    #[must_use]
    pub(crate) fn is_of_keys(&self) -> bool {
        match self {
            StoreError::Secret(_) | StoreError::Key(_) => true,
            StoreError::Refused { source, .. } => matches!(
                source,
                OpenError::NoKey { .. } | OpenError::OtherGateway { .. }
            ),
            StoreError::Unusable { .. } | StoreError::NotMounted { .. } => false,
        }
    }

    /// An earlier agent of this process still has `ours`, on a disk that hangs.
    #[must_use]
    pub(crate) fn is_in_use(&self, ours: Option<&Path>) -> bool {
        matches!(self, StoreError::Refused { path, source: OpenError::InUse { .. } } if Some(path.as_path()) == ours)
    }
}

/// The keys of `[buffer]`, read from where they are.
pub(crate) fn keys(references: &[SecretRef]) -> Result<Keys, StoreError> {
    let texts: Result<Vec<String>, SecretError> = references.iter().map(SecretRef::read).collect();
    Ok(Keys::parse(&texts?)?)
}

impl Store {
    pub(crate) fn new(settings: &StoreSettings) -> Store {
        Store {
            settings: settings.clone(),
            writer: disk_writer(),
        }
    }

    /// The keys as they are on disk now.
    pub(crate) fn keys(&self) -> Result<Keys, StoreError> {
        Ok(keys(&self.settings.keys)?.for_gateway(&self.settings.gateway))
    }

    /// Whether the keys can be had and are those of what is there, as far as that is known without opening it.
    pub(crate) fn check_keys(&self) -> Result<(), StoreError> {
        let StoreSettings { state, lanes, .. } = &self.settings;
        let checked = buffer::check_sealed(state, lanes, &self.keys()?);
        checked.map_err(|source| StoreError::Refused {
            path: state.clone(),
            source,
        })
    }

    /// One without a lane, for tests, which have no disk writer.
    #[cfg(test)]
    pub(crate) fn in_process(state: &Path) -> Store {
        let settings = StoreSettings {
            state: state.to_owned(),
            lanes: Vec::new(),
            floor: 0,
            keys: Vec::new(),
            gateway: "gw-1".into(),
            require_mount: false,
        };
        Store {
            settings,
            writer: Writer::InProcess,
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.settings.lanes.len()
    }

    pub(crate) fn open(&self) -> Result<(Disk<Record>, Opened), StoreError> {
        let StoreSettings {
            state,
            lanes,
            floor,
            require_mount,
            ..
        } = &self.settings;
        let path = || state.clone();
        if *require_mount && is_on_root(state) {
            return Err(StoreError::NotMounted { path: path() });
        }
        let opened = Disk::open_with(state, lanes, *floor, &self.keys()?, &self.writer);
        opened.map_err(|error| match error {
            OpenError::Disk(source) => StoreError::Unusable {
                path: path(),
                source,
            },
            source @ (OpenError::InUse { .. }
            | OpenError::Newer { .. }
            | OpenError::NoKey { .. }
            | OpenError::OtherGateway { .. }) => StoreError::Refused {
                path: path(),
                source,
            },
        })
    }

    /// Warns of budgets that the file system could never hold.
    pub(crate) fn tell_room(&self) {
        let StoreSettings { state, floor, .. } = &self.settings;
        let Ok(stat) = rustix::fs::statvfs(state) else {
            return;
        };
        let size = stat.f_blocks.saturating_mul(stat.f_frsize);
        let budgets: u64 = self.settings.lanes.iter().map(|lane| lane.budget).sum();
        if budgets + floor > size {
            tracing::warn!(state = %state.display(), budgets, size, floor,
                "the budgets of all intents together are more than the file system holds; lower them, or in a long outage the disk is full before they are");
        }
    }
}

fn is_on_root(path: &Path) -> bool {
    let device = |path: &Path| {
        std::fs::metadata(path)
            .ok()
            .map(|metadata| metadata.st_dev())
    };
    let nearest = path.ancestors().find_map(device);
    nearest == device(Path::new("/"))
}
