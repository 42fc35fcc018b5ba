//! The disk writer: a loop that does to sled what it is ordered to.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::frames::{Entry, Order, next_order, send_answer};
use crate::database::{Database, DiskError};

/// Does what the orders on `input` say until there are no more, or until one fails, and ends the process. sled's
/// destructors do not run then: they write, and abort when that fails, and all that has a receipt is synced.
pub fn serve(mut input: impl Read, mut output: impl Write) -> ! {
    let mut open = BTreeMap::new();
    let ended = send_answer(&mut output, &Ok(()))
        .and_then(|()| work(&mut open, &mut input, &mut output))
        .is_ok();
    std::process::exit(i32::from(!ended));
}

/// After an error the databases are not to be trusted, and not to be dropped.
fn work(
    open: &mut BTreeMap<u32, Database>,
    input: &mut impl Read,
    output: &mut impl Write,
) -> io::Result<()> {
    let (mut buffer, mut failed) = (Vec::new(), None);
    while let Some((id, order)) = next_order(input, &mut buffer)? {
        let outcome = match order {
            _ if failed.is_some() && order != Order::Sync => Ok(()),
            Order::Create(path) => Database::create(path).map(|database| {
                open.insert(id, database);
            }),
            Order::Write(entry) => with(open, id, |database| write(database, entry)),
            Order::Sync => {
                let outcome = match failed.take() {
                    Some(error) => Err(error),
                    None => with(open, id, Database::sync),
                };
                send_answer(output, &outcome)?;
                if outcome.is_err() {
                    return Ok(());
                }
                outcome
            }
            Order::Close => {
                let database = open.remove(&id);
                let closed = catch_unwind(AssertUnwindSafe(|| drop(database)));
                send_answer(output, &Ok(()))?;
                if closed.is_err() {
                    return Ok(());
                }
                Ok(())
            }
        };
        failed = failed.or(outcome.err());
    }
    Ok(())
}

fn with(
    open: &mut BTreeMap<u32, Database>,
    id: u32,
    call: impl FnOnce(&mut Database) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    match open.get_mut(&id) {
        Some(database) => call(database),
        None => Err(DiskError::Damaged {
            path: Path::new("the disk writer").to_owned(),
            reason: "it was to write to a database that it does not have".into(),
        }),
    }
}

pub(super) fn write(database: &mut Database, entry: Entry<'_>) -> Result<(), DiskError> {
    match entry {
        Entry::Block { first, encoded } => database.insert(first, encoded),
        Entry::Value { key, value } => database.put(key, value),
    }
}
