//! Who calls sled: this process, or a process of its own, the *disk writer*.
//!
//! sled's destructors and its pool of threads end the whole process when the disk fails at the wrong moment, and no
//! `catch_unwind` helps against an abort. So the agent has a child process call sled
//! (`docs/decisions/0011-disk-writer.md`): when that ends, what was synced is in its files, the head is abandoned like
//! after any error, and the next write starts another. Tests and benches, which have no such program, call sled here.

mod child;

mod frames;

mod serve;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use child::{Host, Place};
use frames::Entry as Framed;

pub use serve::serve;

use crate::codec::Encoded;
use crate::database::{Database, DiskError};

/// What calls sled. A clone means the same one.
#[derive(Debug, Clone)]
pub enum Writer {
    /// This process, for tests and benches: sled may end it.
    InProcess,
    /// A process that is started when something is to be written, and ends when no database is open.
    Process(WriterProcess),
}

/// See [`Writer::process`].
#[derive(Debug, Clone)]
pub struct WriterProcess(Arc<Mutex<Host>>);

impl Writer {
    /// This program, started again with these arguments: it is to call [`serve`] and nothing else.
    #[must_use]
    pub fn process(arguments: &[&str]) -> Writer {
        let arguments = arguments.iter().map(Into::into).collect();
        Writer::Process(WriterProcess(Arc::new(Mutex::new(Host::new(arguments)))))
    }
}

impl WriterProcess {
    fn host(&self) -> MutexGuard<'_, Host> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written to a database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a>(Framed<'a>);

impl<'a> Entry<'a> {
    pub(crate) fn block(block: &'a Encoded) -> Entry<'a> {
        Entry(Framed::Block {
            first: block.header.first,
            encoded: &block.bytes,
        })
    }

    pub(crate) fn value(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry(Framed::Value { key, value })
    }
}

/// One new database, made with its first commit and closed with this.
pub(crate) struct Handle {
    path: PathBuf,
    at: At,
}

enum At {
    Here(Option<Database>),
    There(WriterProcess, Option<Place>),
}

impl Handle {
    /// A database in the directory `path`, which must not exist.
    pub(crate) fn new(writer: &Writer, path: &Path) -> Handle {
        let at = match writer {
            Writer::InProcess => At::Here(None),
            Writer::Process(process) => At::There(process.clone(), None),
        };
        Handle {
            path: path.to_owned(),
            at,
        }
    }

    /// Writes `entries` and makes them durable. After an error the database is to be given up.
    pub(crate) fn commit<'a>(
        &mut self,
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> Result<(), DiskError> {
        let mut entries = entries.map(|entry| entry.0);
        match &mut self.at {
            At::Here(database) => {
                let database = match database {
                    Some(database) => database,
                    None => database.insert(Database::create(&self.path)?),
                };
                entries.try_for_each(|entry| serve::write(database, entry))?;
                database.sync()
            }
            At::There(process, place) => process.host().commit(place, &self.path, entries),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let At::There(process, place) = &mut self.at
            && let Some(place) = place.take()
        {
            process.host().close(&place);
        }
    }
}
