//! What must be remembered between starts: the epoch, and for each lane what still waits.
//!
//! A lost mark is a repeat, never a loss: the blocks themselves are the truth about what is stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cbor;
use crate::database::{Database, DiskError};
use crate::generation;
use crate::ranges::Ranges;

// Persisted: never rename.
const KEY: &[u8] = b"marks";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) epoch: u32,
    pub(crate) lanes: BTreeMap<String, LaneMark>,
}

/// Where a lane stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneMark {
    /// The first sequence that the mark knows nothing of.
    pub stored_to: u64,
    /// Of the sequences before it, those neither delivered nor dropped.
    pub waiting: Ranges,
}

pub(crate) struct MarksFile {
    database: Database,
    pub(crate) marks: Marks,
}

impl MarksFile {
    /// Opens the marks; damaged ones are set aside and begun anew. Returns where they were put.
    pub(crate) fn open(
        path: &Path,
        set_aside: &Path,
    ) -> Result<(MarksFile, Option<PathBuf>), DiskError> {
        match MarksFile::read(path) {
            Ok(file) => Ok((file, None)),
            Err(DiskError::Damaged { .. }) => {
                let kept_at = generation::move_aside(path, set_aside)?;
                Ok((MarksFile::read(path)?, Some(kept_at)))
            }
            Err(other @ (DiskError::Io { .. } | DiskError::Full { .. })) => Err(other),
        }
    }

    fn read(path: &Path) -> Result<MarksFile, DiskError> {
        let database = Database::open(path)?;
        let marks = match database.get(KEY)? {
            None => Marks::default(),
            Some(encoded) => cbor::decode(&encoded).map_err(|error| DiskError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            })?,
        };
        Ok(MarksFile { database, marks })
    }

    pub(crate) fn write(&mut self) -> Result<(), DiskError> {
        let encoded = cbor::encode(&self.marks).map_err(|error| DiskError::Damaged {
            path: "marks".into(),
            reason: error.to_string(),
        })?;
        self.database.put(KEY, encoded)?;
        self.database.sync()
    }
}
