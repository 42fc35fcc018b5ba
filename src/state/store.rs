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
    pub require_mount: bool,
}

/// What opening the buffer takes, to do it again.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    state: PathBuf,
    lanes: Vec<buffer::LaneDisk>,
    floor: u64,
    keys: Keys,
    require_mount: bool,
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
    pub(crate) fn new(settings: &StoreSettings) -> Result<Store, StoreError> {
        Ok(Store {
            state: settings.state.clone(),
            lanes: settings.lanes.clone(),
            floor: settings.floor,
            keys: keys(&settings.keys)?,
            require_mount: settings.require_mount,
            writer: disk_writer(),
        })
    }

    /// One without a lane, for tests, which have no disk writer.
    #[cfg(test)]
    pub(crate) fn in_process(state: &Path) -> Store {
        Store {
            state: state.to_owned(),
            lanes: Vec::new(),
            floor: 0,
            keys: Keys::default(),
            require_mount: false,
            writer: Writer::InProcess,
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn open(&self) -> Result<(Disk<Record>, Opened), StoreError> {
        let path = || self.state.clone();
        if self.require_mount && is_on_root(&self.state) {
            return Err(StoreError::NotMounted { path: path() });
        }
        let opened = Disk::open_with(
            &self.state,
            &self.lanes,
            self.floor,
            &self.keys,
            &self.writer,
        );
        opened.map_err(|error| match error {
            OpenError::Disk(source) => StoreError::Unusable {
                path: path(),
                source,
            },
            source @ (OpenError::InUse { .. }
            | OpenError::Newer { .. }
            | OpenError::NoKey { .. }) => StoreError::Refused {
                path: path(),
                source,
            },
        })
    }

    /// Warns of budgets that the file system could never hold.
    pub(crate) fn tell_room(&self) {
        let Ok(stat) = rustix::fs::statvfs(&self.state) else {
            return;
        };
        let size = stat.f_blocks.saturating_mul(stat.f_frsize);
        let budgets: u64 = self.lanes.iter().map(|lane| lane.budget).sum();
        if budgets + self.floor > size {
            tracing::warn!(state = %self.state.display(), budgets, size, floor = self.floor,
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
