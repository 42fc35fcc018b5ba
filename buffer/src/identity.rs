//! Which buffer a state directory holds.
//!
//! The identity is made when a directory is first written. It is in the marks, and in each block, so that a block of another
//! buffer is not taken for one of this. Where the marks are lost, the blocks say it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::block::{BufferId, Header, Owner};
use crate::generation;
use crate::keys;
use crate::layout;
use crate::log::Log;

pub(crate) fn random() -> io::Result<BufferId> {
    keys::random().map(BufferId)
}

/// What most blocks in the state directory `root` say. `None` where none says it.
pub(crate) fn of_blocks(root: &Path) -> io::Result<Option<BufferId>> {
    let mut votes: BTreeMap<BufferId, usize> = BTreeMap::new();
    for name in layout::lane_names(root)? {
        let lane = layout::lane(root, &name);
        let owner = Owner::of_lane(layout::tag(&name), None);
        for path in layout::generations(&lane)? {
            let sealed = generation::read_seal(&path).and_then(|seal| seal.buffer);
            if let Some(buffer) = sealed {
                *votes.entry(buffer).or_default() += 1;
                continue;
            }
            let log = Log::open_if_there(&path, owner)?;
            let headers = log.iter().flat_map(Log::headers);
            // A block of formats 1 and 2 says nothing.
            if let Some(buffer) = headers.filter_map(Header::buffer).last() {
                *votes.entry(buffer).or_default() += 1;
            }
        }
    }
    let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
    Ok(most.map(|(buffer, _)| buffer))
}
